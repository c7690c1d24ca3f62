"""A model of the family: a trained U-Net, or the classical segmentation alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from hemaloop_overlap_unet.inference import Finder, Look, Seen, centres_of, most_likely
from hemaloop_overlap_unet.meaning import Meaning
from hemaloop_overlap_unet.options import OverlapUNetOptions
from hemaloop_overlap_unet.relevance import classical_worth, relevance
from hemaloop_overlap_unet.tidying import tidied


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """classes: uint8 (H, W), at the image's size. centres: (N, 2) px of the image.

    Where a network was asked: centres, and what both come from.
    """

    classes: NDArray[np.uint8]
    centres: NDArray[np.float32] | None = None
    look: Look | None = None
    seen: Seen | None = None


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
            self._finder = Finder(network, description.diameter, description.architecture, arithmetic)

    @property
    def finder(self) -> Finder:
        """The network in use. Raises `PluginError` where there is none."""
        if self._finder is None:
            raise PluginError("overlap_unet: found the classical segmentation, expected a trained network")
        return self._finder

    def predict(self, image: Image, index: int = 0) -> ClassMap:
        """The three-class map of one image. Raises `ImageError` where it is not uint8 (H, W, 3)."""
        return self._map(self._found(checked_image(image, index)))

    def _found(self, image: Image) -> _Found:
        height, width = image.shape[:2]
        if self._finder is None:
            found = segment(image)
            return _Found(tidied(found.red.astype(np.uint8), found.diameter))
        look = self._finder.look(image)
        seen = self._finder.see(look)
        classes = tidied(most_likely(seen.classes, height, width), look.diameter)
        return _Found(classes, centres_of(seen, look, height, width), look, seen)

    def _map(self, found: _Found) -> ClassMap:
        return ClassMap(self._meaning.values(found.classes), found.centres)

    def prepare(self, image: Image) -> Cells:
        """The map of an image and its cells, for prompts."""
        found = self._found(checked_image(image, 0))
        return find_cells(found.classes, found.centres)

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
        found = self._found(image)
        cells = find_cells(found.classes, found.centres)
        if found.look is None or found.seen is None:
            worth = classical_worth(found.classes, cells, self._meaning, self._options, image)
        else:
            mirrored = self.finder.see(found.look, mirrored=True)
            looks = found.seen.classes, mirrored.classes
            worth = relevance(*looks, found.look, cells, self._meaning, self._options, image)
        return Scored(
            self._map(found),
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
