"""How well a cell is reconstructed, inside its contour: L1 and SSIM."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import rgb2hsv
from skimage.filters import threshold_otsu
from skimage.metrics import structural_similarity

from hemaloop.plugin import Image

LEAST = 0.01
"""Share of a patch below which what was found is no cell."""
USUAL = 0.3
"""Radius, in sides of the patch, of the disc that stands for a cell that was not found."""

Mask = NDArray[np.bool_]


def cell_mask(image: Image) -> Mask:
    """The cell in the middle, bool (H, W), its holes filled; a disc where none is found.

    It is what is stained deepest (Otsu's threshold on saturation minus brightness), the part nearest the middle.
    """
    hsv = rgb2hsv(image)
    depth = ndimage.gaussian_filter(hsv[..., 1] - hsv[..., 2], image.shape[0] / 64)
    height, width = image.shape[:2]
    rows, columns = np.ogrid[:height, :width]
    far = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    if np.ptp(depth) > 0:
        numbered, count = ndimage.label(ndimage.binary_opening(depth > threshold_otsu(depth)))  # type: ignore[no-untyped-call]
        for part in _nearest_first(numbered, count, far):
            found: Mask = ndimage.binary_fill_holes(numbered == part)
            if found.mean() >= LEAST:
                return found
    return np.asarray(far <= USUAL * min(height, width))


def _nearest_first(numbered: NDArray[np.int32], count: int, far: NDArray[np.float64]) -> list[int]:
    if not count:
        return []
    parts = np.arange(1, count + 1)
    return [int(one) for one in parts[np.argsort(ndimage.minimum(far, numbered, parts))]]


def l1_inside(image: Image, made: Image, mask: Mask) -> float:
    """Mean |difference| over the mask and the colours, of pixels in [0, 1]."""
    difference = np.abs(image.astype(np.float64) - made.astype(np.float64))[mask]
    return float(difference.mean() / 255)


def ssim_inside(image: Image, made: Image, mask: Mask) -> float:
    """Mean structural similarity over the mask (Wang et al. 2004, windows of 7 px), in [-1, 1]."""
    _, each = structural_similarity(image, made, channel_axis=2, full=True)  # type: ignore[no-untyped-call]
    return float(each[mask].mean())
