"""Overlapping red cells as masks: a U-Net that learns from artificial overlaps, and a classical cold start.

Source: Brünggel, Vallotton and Conway, "Segmenting Overlapping Red Blood Cells With Classical Image Processing and Deep
Learning". Importing this package imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hemaloop.errors import PluginError
from hemaloop.networks.frame import NetworkPlugin
from hemaloop.plugin import (
    ClassMap,
    Example,
    FitReport,
    FoundCell,
    Image,
    PluginOptions,
    Prediction,
    Preset,
    Progress,
    Prompt,
    Scored,
)
from hemaloop_overlap_unet.meaning import Meaning, meaning_of
from hemaloop_overlap_unet.options import VERSION, OverlapUNetOptions

if TYPE_CHECKING:
    from hemaloop_overlap_unet.cells import Cells
    from hemaloop_overlap_unet.model import Model

__all__ = ["OverlapUNet", "OverlapUNetOptions"]

STARTER = Path(__file__).parent / "starter" / "rbc_overlap"
CLASSICAL = Path(__file__).parent / "starter" / "classical"
LABELS = ("RBC", "Overlap")


class OverlapUNet(NetworkPlugin["Model", OverlapUNetOptions]):
    """Masks red cells and their overlaps: value 0 is background, one label means one cell, the other two or more.

    Which is which is read from the labels' names (see `meaning`). A starter directory that says `classical` gives masks
    without any training. The relevance of an image is how much of its cells' area near overlaps is probably wrong.
    """

    family: ClassVar[str] = "overlap_unet"
    version: ClassVar[str] = VERSION
    description: ClassVar[str] = "U-Net: masks of red cells and of where they overlap, with counts and sizes"
    produces: ClassVar[type[ClassMap]] = ClassMap
    Options: ClassVar[type[PluginOptions]] = OverlapUNetOptions
    presets: ClassVar[Mapping[str, Preset]] = {
        "rbc_overlap": Preset(
            description="red cells and overlaps, with a U-Net trained on artificial overlaps to start from",
            labels=LABELS,
            starter=STARTER,
        ),
        "rbc_overlap_classical": Preset(
            description="the same, masked by classical image processing until there are labels to learn from",
            labels=LABELS,
            starter=CLASSICAL,
        ),
        "rbc_overlap_paper": Preset(
            description="the paper's network (ResNet-50, PixelShuffle, ImageNet weights); for a GPU",
            labels=LABELS,
            options={
                "encoder": "resnet50",
                "depth": 5,
                "decoder": "pixelshuffle",
                "weights": "imagenet",
                "dice": 0.0,
                "window": 288,
            },
        ),
    }
    remedy: ClassVar[str] = (
        "call fit with masked images, or load an artifact; the preset rbc_overlap_classical needs no training"
    )
    quick_options: ClassVar[Mapping[str, Any]] = {
        "pictures": 24,
        "window": 64,
        "batch_size": 4,
        "diameter": 16.0,
        "depth": 3,
    }
    overfit_options: ClassVar[Mapping[str, Any]] = {"pictures": 400}

    def __init__(
        self,
        labels: Sequence[str],
        options: Mapping[str, Any] | PluginOptions | None = None,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        super().__init__(labels, options, device, seed)
        self._meaning: Meaning = meaning_of(self.labels)

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """The three-class map of each image."""
        from hemaloop_overlap_unet.model import predict_all

        return list(predict_all(self._fitted_model(), images))

    def score(self, images: Sequence[Image]) -> list[Scored]:
        """The map with its relevance, its measurements, and a mark on the class with doubtful places."""
        model = self._fitted_model()
        return [model.score(image, index) for index, image in enumerate(images)]

    def cells(self, prediction: Prediction) -> tuple[FoundCell, ...]:
        """The cells of a map, by its centres if it has some; an overlap belongs to all cells that it joins."""
        from hemaloop_overlap_unet.cells import find_cells

        if not isinstance(prediction, ClassMap):
            raise PluginError(f"overlap_unet: found {type(prediction).__name__}, expected ClassMap")
        return find_cells(self._meaning.classes(prediction.labels), prediction.centres).found()

    def prepare(self, image: Image) -> Cells:
        """The map of an image and its cells."""
        return self._fitted_model().prepare(image)

    def prompt(self, prepared: Any, prompt: Prompt) -> Prediction:
        """Masks of the cells that mostly lie in a drawn box, cut to it, and of those under positive points."""
        return self._fitted_model().prompt(prepared, prompt)

    def _fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> tuple[Model, FitReport]:
        """Train a new network on artificial overlaps of the free-standing cells, and on the overlaps marked."""
        from hemaloop_overlap_unet.fitting import fit

        return fit(self.labels, self._meaning, self._options, self.device, self.seed, train, tune, progress)

    def _load(self, directory: Path) -> Model:
        """The artifact decides the architecture and the cells' size, the options precision and relevance."""
        from hemaloop_overlap_unet.model import Model

        return Model.load(directory, self.labels, self._meaning, self._options, self.device)
