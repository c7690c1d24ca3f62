"""Images full of cells that nobody labelled: learned as they are, they would teach that cells are background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

USUAL = 0.8
"""A class counts as expected where at least this share of the images has it…"""
CROWD = 4
"""…and the median of them has at least this many."""
FEW = 1 / 3
"""An image is short of a class below this share of that median…"""
BARE = 0.5
"""…and looks unlabelled where more than this share of its stained area lies outside every box."""


def stain_outside(pixels: NDArray[np.uint8], boxes: NDArray[np.float32]) -> float:
    """Share of the stained area of an image (H, W, 3) that no box (N, 4) covers, in [0, 1].

    Stained is what is darker in green, which red cells and nuclei absorb alike, than Otsu's threshold (1979).
    """
    step = max(1, min(pixels.shape[:2]) // 120)
    green = pixels[::step, ::step, 1]
    if green.min() == green.max():
        return 0.0
    dark: float = threshold_otsu(green)  # type: ignore[no-untyped-call]
    stained = green <= dark
    outside = stained.copy()
    for x1, y1, x2, y2 in (boxes / step).tolist():
        outside[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1] = False
    return float(outside.sum() / stained.sum())


def unlabelled_classes(counts: NDArray[np.int64], outside: NDArray[np.float64]) -> list[int | None]:
    """The class that each image seems to lack boxes of, or None.

    counts: (images, classes) boxes; outside: (images,) as `stain_outside` gives it.
    """
    found: list[int | None] = [None] * len(counts)
    for index in range(counts.shape[1]):
        present = counts[:, index] > 0
        if present.mean() < USUAL:
            continue
        usual = float(np.median(counts[present, index]))
        if usual < CROWD:
            continue
        for image in np.flatnonzero((counts[:, index] < FEW * usual) & (outside > BARE)):
            found[image] = found[image] if found[image] is not None else index
    return found
