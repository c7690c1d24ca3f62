"""The frame of a model family on torch: options of its own type, a model that is there or not, a fit that swaps it in.

This module imports no torch, so that a family's `__init__.py` may derive from it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

from hemaloop.errors import NotFitted, OptionError
from hemaloop.plugin import Example, FitReport, Plugin, PluginOptions, Progress


class Model(Protocol):
    """What a fit or a file gives: immutable once made, so that threads may share it."""

    def save(self, directory: Path) -> None:
        """Write the artifact into an existing directory."""


Fitted = TypeVar("Fitted", bound=Model)
Declared = TypeVar("Declared", bound=PluginOptions)


class NetworkPlugin(Plugin, Generic[Fitted, Declared]):
    """A family whose fitted state is one immutable model.

    ::

        class FasterRCNN(NetworkPlugin["Model", FasterRCNNOptions]):
            def _fit(self, train, tune, progress): ...   # a new model and what happened
            def _load(self, directory): ...              # the model that an artifact holds

    A model takes the place of the one before at the end of a fit or a load, whole; one that fails or is cancelled
    leaves the plugin as it was.
    """

    remedy: ClassVar[str] = "call fit with labelled images, or load an artifact"
    """What whoever asks too early is told to do."""

    def __init__(
        self,
        labels: Sequence[str],
        options: Mapping[str, Any] | PluginOptions | None = None,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        super().__init__(labels, options, device, seed)
        self._model: Fitted | None = None

    @property
    def _options(self) -> Declared:
        """Raises `OptionError` where options of another family were given."""
        if not isinstance(self.options, self.Options):
            raise OptionError(
                f"options of {self.family!r}: found {type(self.options).__name__}, expected {self.Options.__name__}"
            )
        return cast("Declared", self.options)

    @property
    def fitted(self) -> bool:
        """Whether `predict` can answer."""
        return self._model is not None

    def _fitted_model(self) -> Fitted:
        model = self._model
        if model is None:
            raise NotFitted(f"{self.family} has no model yet: {self.remedy}")
        return model

    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        """A new model takes the place of the one before, at the end."""
        self._model, report = self._fit(train, tune, progress)
        return report

    @abstractmethod
    def _fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> tuple[Fitted, FitReport]:
        """A new model, and what happened; see `Plugin.fit`."""

    def save(self, directory: Path) -> None:
        """Write the artifact."""
        self._fitted_model().save(directory)

    def load(self, directory: Path) -> None:
        """Take the model that an artifact holds."""
        self._model = self._load(directory)

    @abstractmethod
    def _load(self, directory: Path) -> Fitted:
        """The model that an artifact holds; see `Plugin.load`."""

    def unload(self) -> None:
        """Give memory back."""
        self._model = None
