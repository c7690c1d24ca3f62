"""A model of the family: a trained U-Net, or the classical segmentation alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from hemaloop.errors import PluginError
from hemaloop.networks.arithmetic import arithmetic_for
from hemaloop.networks.artifact import weights_of
from hemaloop.networks.pictures import checked_image, checked_images
from hemaloop.plugin import ClassMap, Image, Prompt, Scored
from hemaloop.prompts import INSIDE, inside_of, pixels_of
from hemaloop_overlap_unet import artifact
from hemaloop_overlap_unet.artifact import Description
from hemaloop_overlap_unet.cells import Cells, find_cells
from hemaloop_overlap_unet.classical import segment
from hemaloop_overlap_unet.features import image_features
from hemaloop_overlap_unet.inference import Finder, Look, most_likely
from hemaloop_overlap_unet.meaning import Meaning
from hemaloop_overlap_unet.options import OverlapUNetOptions
from hemaloop_overlap_unet.relevance import classical_worth, relevance
from hemaloop_overlap_unet.tidying import tidied


class Model:
    """Immutable once made, so that threads may share it."""

    def __init__(
        self,
        network: nn.Module | None,
        description: Description,
        meaning: Meaning,
        options: OverlapUNetOptions,
        device: str,
    ) -> None:
        self._weights = None if network is None else weights_of(network)
        self._description = description
        self._meaning = meaning
        self._options = options
        self._finder: Finder | None = None
        if network is not None:
            arithmetic = arithmetic_for(device, options.precision)
            self._finder = Finder(network, description.diameter, description.depth, arithmetic)

    @property
    def finder(self) -> Finder:
        """The network in use. Raises `PluginError` where there is none."""
        if self._finder is None:
            raise PluginError("overlap_unet: found the classical segmentation, expected a trained network")
        return self._finder

    def predict(self, image: Image, index: int = 0) -> ClassMap:
        """The three-class map of one image. Raises `ImageError` where it is not uint8 (H, W, 3)."""
        image = checked_image(image, index)
        return ClassMap(self._meaning.values(self._classes(image)[0]))

    def _classes(self, image: Image) -> tuple[NDArray[np.uint8], Look | None, NDArray[np.float32] | None]:
        """Classes at the image's size, and what they come from where a network was asked."""
        height, width = image.shape[:2]
        if self._finder is None:
            found = segment(image)
            return tidied(found.red.astype(np.uint8), found.diameter), None, None
        look = self._finder.look(image)
        probabilities = self._finder.probabilities(look)
        return tidied(most_likely(probabilities, height, width), look.diameter), look, probabilities

    def cells(self, classes: ClassMap) -> Cells:
        """The individual cells of a map of this project."""
        return find_cells(self._meaning.classes(classes.labels))

    def prepare(self, image: Image) -> Cells:
        """The map of an image and its cells, for prompts."""
        return find_cells(self._classes(checked_image(image, 0))[0])

    def prompt(self, cells: Cells, prompt: Prompt) -> ClassMap:
        """The cells that mostly lie in a drawn box, cut to it, and those under positive points, whole.

        Where two lie on one another, a point takes the one whose centre is nearer; on what is too small for a cell, all
        that hangs together.
        """
        shape = cells.classes.shape
        inside = inside_of(prompt.boxes, shape)
        boxed = [cell for cell in cells.cells if cell.area * INSIDE <= (cell.mask & inside[cell.window]).sum()]
        wanted, removed = (
            [found for pixel in pixels_of(prompt.points[prompt.positive == sign], shape) if (found := cells.at(*pixel))]
            for sign in (True, False)
        )
        kept = np.zeros(shape, bool)
        for cell in boxed:
            kept[cell.window] |= cell.mask & inside[cell.window]
        for cell in wanted:
            kept[cell.window] |= cell.mask
        for cell in removed:
            kept[cell.window] &= ~cell.mask
        return ClassMap(self._meaning.values(np.where(kept, cells.classes, 0).astype(np.uint8)))

    def score(self, image: Image, index: int = 0) -> Scored:
        """The map, its measurements, and how much the image is worth labelling."""
        image = checked_image(image, index)
        classes, look, probabilities = self._classes(image)
        cells = find_cells(classes)
        if look is None or probabilities is None:
            worth = classical_worth(classes, cells, self._meaning, self._options, image)
        else:
            mirrored = self.finder.probabilities(look, mirrored=True)
            worth = relevance(probabilities, mirrored, look, cells, self._meaning, self._options, image)
        return Scored(
            ClassMap(self._meaning.values(classes)),
            worth.value,
            worth.marks,
            worth.parts,
            image_features(image, cells),
            cells.measurements(),
        )

    def save(self, directory: Path) -> None:
        """Write the artifact into an existing directory."""
        artifact.write(directory, self._weights, self._description)

    @classmethod
    def load(
        cls, directory: Path, labels: tuple[str, ...], meaning: Meaning, options: OverlapUNetOptions, device: str
    ) -> Model:
        """Raises `StoreError` naming what does not fit."""
        description = artifact.read_description(directory, labels)
        network = None if description.kind == "classical" else artifact.read_network(directory, description)
        return cls(network, description, meaning, options, device)


def predict_all(model: Model, images: Sequence[Image]) -> list[ClassMap]:
    """One map an image, once all are known to be images."""
    return [model.predict(image, index) for index, image in enumerate(checked_images(images))]
