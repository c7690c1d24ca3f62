"""Faster R-CNN for blood cells: boxes of red cells, white cells and platelets on stained smears.

Source: "Blood cells detection and classification using Faster R-CNN model" (Capstone 2 final report), with a training
recipe of its own. Importing this package imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hemaloop.errors import NotFitted, OptionError
from hemaloop.plugin import (
    Detections,
    Example,
    FitReport,
    Image,
    Plugin,
    PluginOptions,
    Prediction,
    Preset,
    Progress,
    Scored,
)
from hemaloop_faster_rcnn.options import VERSION, FasterRCNNOptions, parse_thresholds

if TYPE_CHECKING:
    from hemaloop_faster_rcnn.model import Model

__all__ = ["FasterRCNN", "FasterRCNNOptions"]

STARTER = Path(__file__).parent / "starter" / "cbc"
CBC_LABELS = ("RBC", "WBC", "Platelets")


class FasterRCNN(Plugin):
    """Finds cells as boxes with a class and a score.

    `predict` shows the boxes that reach the operating threshold of their class; `predict_unfiltered` gives every box
    from `score_floor` on, which is what average precision is measured on. The relevance of an image is the expected
    number of its boxes that a person would overturn (see `relevance`), its parts that number for each class.
    """

    family: ClassVar[str] = "faster_rcnn"
    version: ClassVar[str] = VERSION
    description: ClassVar[str] = "Faster R-CNN: boxes of cells with class and score, for counting (CBC)"
    produces: ClassVar[type[Detections]] = Detections
    Options: ClassVar[type[PluginOptions]] = FasterRCNNOptions
    presets: ClassVar[Mapping[str, Preset]] = {
        "cbc": Preset(
            description="red cells, white cells and platelets of a complete blood count, with weights to start from",
            labels=CBC_LABELS,
            starter=STARTER,
        ),
        "cbc_quick": Preset(
            description="the same cells, learned from nothing in a few minutes: for demonstrations",
            labels=CBC_LABELS,
            options={"recipe": "quick"},
        ),
    }

    quick_options: ClassVar[Mapping[str, Any]] = {"recipe": "quick", "epochs": 2, "image_size": 96}

    def __init__(
        self,
        labels: Sequence[str],
        options: Mapping[str, Any] | PluginOptions | None = None,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        super().__init__(labels, options, device, seed)
        self._model: Model | None = None
        unknown = [name for name in self._named_thresholds() if name not in self.labels]
        if unknown:
            raise OptionError(
                f"options of 'faster_rcnn': thresholds: found labels {unknown}, expected some of {list(self.labels)}"
            )

    def _named_thresholds(self) -> Mapping[str, float]:
        text = self._options.thresholds
        return {} if text in ("paper", "fit", "none") else parse_thresholds(text)

    @property
    def _options(self) -> FasterRCNNOptions:
        if not isinstance(self.options, FasterRCNNOptions):
            raise OptionError(
                f"options of 'faster_rcnn': found {type(self.options).__name__}, expected FasterRCNNOptions"
            )
        return self.options

    @property
    def fitted(self) -> bool:
        """Whether `predict` can answer."""
        return self._model is not None

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Score from which boxes of each label are shown. Raises `NotFitted`."""
        return dict(zip(self.labels, self._fitted_model().thresholds, strict=True))

    def _fitted_model(self) -> Model:
        model = self._model
        if model is None:
            raise NotFitted("faster_rcnn has no model yet: call fit with labelled images, or load an artifact")
        return model

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """The boxes that reach their operating threshold, by falling score."""
        return [self._fitted_model().visible(found) for found in self._fitted_model().find(images)]

    def predict_unfiltered(self, images: Sequence[Image]) -> list[Prediction]:
        """Every box from `score_floor` on, after NMS: what average precision is measured on."""
        return list(self._fitted_model().find(images))

    def score(self, images: Sequence[Image]) -> list[Scored]:
        """`predict` with the expected number of boxes that a person would overturn, and marks on the likely ones."""
        return [self._fitted_model().scored(found) for found in self._fitted_model().find(images)]

    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        """Train a new network; the four losses of each epoch are reported."""
        from hemaloop_faster_rcnn.fitting import fit

        self._model, report = fit(self.labels, self._options, self.device, self.seed, train, tune, progress)
        return report

    def save(self, directory: Path) -> None:
        """Write `detector.safetensors` and `detector.json`."""
        self._fitted_model().save(directory)

    def load(self, directory: Path) -> None:
        """The artifact decides the architecture and image size, the options the thresholds and NMS."""
        from hemaloop_faster_rcnn.model import Model

        self._model = Model.load(directory, self.labels, self._options, self.device)

    def unload(self) -> None:
        """Give memory back."""
        self._model = None
