"""Real overlaps outlined by eye: the polygons beside the tests as class maps.

A pixel that one polygon covers is one cell, a pixel that two or more cover is an overlap.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from skimage.draw import polygon2mask

FILE = Path(__file__).parent / "plugins" / "overlap_truth" / "outlines.json"
VALIDATION = FILE.with_name("validation.json")
"""Other crops, to choose by: those of `FILE` are to test on."""


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A part of a real image. image: path under the data folder. classes: uint8 (height, width), 0, 1 or 2.

    count: cells outlined. again: the same part drawn a second time, None where it was drawn once.
    """

    image: str
    x: int
    y: int
    classes: NDArray[np.uint8]
    count: int
    again: NDArray[np.uint8] | None

    def window(self) -> tuple[slice, slice]:
        """Where it lies in its image."""
        height, width = self.classes.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)

    def pixels(self, data: Path) -> NDArray[np.uint8]:
        """The whole image, uint8 (H, W, 3)."""
        return np.asarray(Pillow.open(data / self.image).convert("RGB"))


def classes_of(cells: list[list[list[float]]], x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
    """How many polygons cover each pixel's middle, two at most. cells: polygons, x and y in px of the image."""
    covered = np.zeros((height, width), np.int64)
    for cell in cells:
        corners = np.array(cell, np.float64)[:, ::-1] - (y + 0.5, x + 0.5)
        covered += polygon2mask((height, width), corners)  # type: ignore[no-untyped-call]
    return np.minimum(covered, 2).astype(np.uint8)


def read_crops(file: Path = FILE) -> list[Crop]:
    """Every crop that was outlined."""
    found = []
    for crop in json.loads(file.read_text("utf-8"))["crops"]:
        place = crop["x"], crop["y"], crop["width"], crop["height"]
        again = None if crop.get("again") is None else classes_of(crop["again"], *place)
        classes = classes_of(crop["cells"], *place)
        found.append(Crop(crop["image"], crop["x"], crop["y"], classes, len(crop["cells"]), again))
    return found
