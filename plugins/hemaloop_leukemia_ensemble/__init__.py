"""ALL or HEM: a two-stage bagging ensemble that tells leukaemic cells from healthy ones, one cell an image.

Source: Liu and Long, "Acute lymphoblastic leukemia cells image analysis with deep bagging ensemble learning" (2019). It
serves any choice about single cells, of two labels or more. Importing this package imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import OptionError
from hemaloop.networks.frame import NetworkPlugin
from hemaloop.plugin import (
    Classification,
    Example,
    FitReport,
    Image,
    PluginOptions,
    Prediction,
    Preset,
    Progress,
    Scored,
)
from hemaloop_leukemia_ensemble.options import VERSION, LeukemiaOptions

if TYPE_CHECKING:
    from hemaloop_leukemia_ensemble.model import Model

__all__ = ["LeukemiaEnsemble", "LeukemiaOptions"]

ALL_HEM = ("ALL", "HEM")


class LeukemiaEnsemble(NetworkPlugin["Model", LeukemiaOptions]):
    """Says which class the cell of an image is of, with a calibrated probability.

    The label is that of the largest probability among models A, B and combined (section 2.6 of the paper); the
    probabilities are those of the member that it comes from, softened by one temperature fitted on the tune images. The
    relevance is the expected cost of letting the label stand (see `relevance`).
    """

    family: ClassVar[str] = "leukemia_ensemble"
    version: ClassVar[str] = VERSION
    description: ClassVar[str] = "Two-stage bagging ensemble: ALL or HEM (or any choice) for single cells, calibrated"
    produces: ClassVar[type[Classification]] = Classification
    Options: ClassVar[type[PluginOptions]] = LeukemiaOptions
    presets: ClassVar[Mapping[str, Preset]] = {
        "all_hem": Preset(
            description="leukaemic (ALL) or healthy (HEM), with a light backbone that needs no GPU",
            labels=ALL_HEM,
            options={"epochs": 20, "reduce_after": 3, "stop_after": 8},
        ),
        "all_hem_paper": Preset(
            description="the same as in the paper: Inception-ResNet-v2 at 299 px from ImageNet's weights; wants a GPU",
            labels=ALL_HEM,
            options={
                "backbone": "inception_resnet_v2",
                "weights": "imagenet",
                "image_size": 299,
                "augment": "copies",
            },
        ),
    }
    quick_options: ClassVar[Mapping[str, Any]] = {
        "backbone": "resnet10t",
        "image_size": 32,
        "epochs": 2,
        "hidden": 32,
        "batch_size": 4,
    }

    def __init__(
        self,
        labels: Sequence[str],
        options: Mapping[str, Any] | PluginOptions | None = None,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        super().__init__(labels, options, device, seed)
        try:
            self._options.disease_label(self.labels)
        except ValueError as error:
            raise OptionError(f"options of 'leukemia_ensemble': {error}") from None

    @property
    def temperature(self) -> float:
        """Of the calibration. Raises `NotFitted`."""
        return self._fitted_model().description.temperature

    def logits(self, images: Sequence[Image]) -> NDArray[np.float64]:
        """Of each image, those of models A, B and combined, before calibration, (N, 3, C): to study the ensemble."""
        return self._fitted_model().logits(images)

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """The class of each image's cell."""
        return list(self._fitted_model().predict(images))

    def score(self, images: Sequence[Image]) -> list[Scored]:
        """`predict` with the expected cost of letting the label stand, and a mark where the members disagree."""
        return self._fitted_model().score(images)

    def explain(self, image: Image) -> NDArray[np.float32]:
        """Class activation map of the member that decided."""
        return self._fitted_model().explain(image)

    def _fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> tuple[Model, FitReport]:
        """Both stages from the start; losses of each epoch are reported, `model` 0 is A, 1 is B, 2 the combined one."""
        from hemaloop_leukemia_ensemble.fitting import fit

        return fit(self.labels, self._options, self.device, self.seed, train, tune, progress)

    def _load(self, directory: Path) -> Model:
        """The artifact decides the architecture and how cells are cut out, the options λ, marks and precision."""
        from hemaloop_leukemia_ensemble.model import Model

        return Model.load(directory, self.labels, self._options, self.device)
