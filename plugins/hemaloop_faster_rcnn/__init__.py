"""Faster R-CNN for blood cells: boxes of red cells, white cells and platelets on stained smears.

Source: "Blood cells detection and classification using Faster R-CNN model" (Capstone 2 final report), with a training
recipe of its own. Importing this package imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hemaloop.errors import OptionError, PluginError
from hemaloop.networks.frame import NetworkPlugin
from hemaloop.plugin import (
    Detections,
    Example,
    FitReport,
    Image,
    PluginOptions,
    Prediction,
    Preset,
    Progress,
    Scored,
)
from hemaloop_faster_rcnn.options import VERSION, FasterRCNNOptions

if TYPE_CHECKING:
    from hemaloop_faster_rcnn.model import Model

__all__ = ["FasterRCNN", "FasterRCNNOptions"]

STARTER = Path(__file__).parent / "starter" / "cbc"
CBC_LABELS = ("RBC", "WBC", "Platelets")
SUBTYPES = (
    "Dehydrated stomatocyte",
    "Stomatocyte",
    "Discocyte",
    "Echinocyte I",
    "Echinocyte II",
    "Echinocyte III",
    "Final echinocyte",
)
"""Of red cells, in the order of Sadafi et al. 2019: S.D., S.N, D, E.1, E.2, E.3, E.F."""
RBC12_LABELS = (
    "Normal cell",
    "Macrocyte",
    "Microcyte",
    "Spherocyte",
    "Target cell",
    "Stomatocyte",
    "Ovalocyte",
    "Teardrop",
    "Burr cell",
    "Schistocyte",
    "Hypochromia",
    "Elliptocyte",
)
"""Of the Chula RBC-12 data set, without its uncategorised cells."""
ACTIVE = {"dropout": 0.2, "relevance": "paper", "balance": 0.5}
"""What active learning as in Sadafi et al. 2019 needs, and rare classes to be met in training."""


class FasterRCNN(NetworkPlugin["Model", FasterRCNNOptions]):
    """Finds cells as boxes with a class and a score.

    `predict` shows the boxes that reach the operating threshold of their class; `predict_unfiltered` gives every box
    from `score_floor` on, which is what average precision is measured on. The relevance of an image is what the option
    of that name says, in its own unit (see `relevance`); the features are those of the backbone (see `features`).
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
        "rbc_subtypes": Preset(
            description="seven subtypes of red cells, uncertain and rare ones first",
            labels=SUBTYPES,
            options=ACTIVE,
        ),
        "rbc_subtypes_vgg16": Preset(
            description="the same with the paper's backbone, which is slower and wants pretrained weights",
            labels=SUBTYPES,
            options={**ACTIVE, "backbone": "vgg16"},
        ),
        "rbc12": Preset(
            description="twelve classes of red cells as in Chula RBC-12, uncertain and rare ones first",
            labels=RBC12_LABELS,
            options={**ACTIVE, "recipe": "head", "weights": "starter"},
        ),
    }

    quick_options: ClassVar[Mapping[str, Any]] = {"recipe": "quick", "epochs": 2, "image_size": 96, **ACTIVE}
    overfit_options: ClassVar[Mapping[str, Any]] = {
        "recipe": "head",
        "weights": "starter",
        "image_size": 160,
        "epochs": 60,
        "thresholds": "fit",
    }

    def __init__(
        self,
        labels: Sequence[str],
        options: Mapping[str, Any] | PluginOptions | None = None,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        super().__init__(labels, options, device, seed)
        chosen = self._options
        for option, named in (("thresholds", chosen.named_thresholds), ("rare_classes", chosen.named_rare_classes)):
            unknown = [name for name in named if name not in self.labels]
            if unknown:
                raise OptionError(
                    f"options of 'faster_rcnn': {option}: found labels {unknown}, expected some of {list(self.labels)}"
                )

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Score from which boxes of each label are shown. Raises `NotFitted`."""
        return dict(zip(self.labels, self._fitted_model().thresholds, strict=True))

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """The boxes that reach their operating threshold, by falling score."""
        return [self.visible(found) for found in self.predict_unfiltered(images)]

    def predict_unfiltered(self, images: Sequence[Image]) -> list[Prediction]:
        """Every box from `score_floor` on, after NMS: what average precision is measured on."""
        return list(self._fitted_model().find(images))

    def visible(self, prediction: Prediction) -> Prediction:
        """The boxes that reach their operating threshold."""
        if not isinstance(prediction, Detections):
            raise PluginError(f"faster_rcnn: found {type(prediction).__name__}, expected Detections")
        return self._fitted_model().visible(prediction)

    def score(self, images: Sequence[Image]) -> list[Scored]:
        """`predict` with the relevance that the options ask for, and marks on the cells to look at.

        Raises `OptionError` for a relevance that needs dropout where the model was trained without.
        """
        return self._fitted_model().score(images)

    def _fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> tuple[Model, FitReport]:
        """Train a new network; the four losses of each epoch are reported.

        Raises `OptionError` before any work where the relevance needs dropout and the options have none.
        """
        from hemaloop_faster_rcnn.fitting import fit

        return fit(self.labels, self._options, self.device, self.seed, train, tune, progress)

    def _load(self, directory: Path) -> Model:
        """The artifact decides the architecture and image size, the options the thresholds and NMS."""
        from hemaloop_faster_rcnn.model import Model

        return Model.load(directory, self.labels, self._options, self.device)
