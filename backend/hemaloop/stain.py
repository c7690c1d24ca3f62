"""What is stained on a smear, and where one cell ends and the next begins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import reconstruction
from skimage.segmentation import watershed

from hemaloop.plugin import Image

Mask = NDArray[np.bool_]
Cells = NDArray[np.int32]
"""(H, W): number of the candidate cell that a pixel belongs to, from 1 on; 0 is background."""

_BLOCK = 4
"""Blocks to a cell's side in which the light that falls through the background is looked at."""
_LIGHT = 90
"""Percentile of the brightness round a place that is background: cells are darker."""
_FLAT = 0.04
"""Absorbance (natural logarithm) of what is stained, below which nothing is."""
_NUCLEUS = 2.0
"""Absorbance above which it says nothing of red cells, of the usual one of what is stained."""
_EDGE = 0.4
"""Part of the usual absorbance of what is stained, at which a cell ends."""
_HOLE = 0.5
"""Area up to which a hole is the pallor of a cell, of a usual cell's: a larger one is background among cells."""
_WAIST = 0.04
"""How much narrower than its cells a waist is, as half its width in usual sides, from which they are two."""


def stained(image: Image, side: float) -> Mask:
    """Which pixels are cells: (H, W), their pallor filled, dirt and edges finer than a sixth of a cell removed.

    side: of a usual cell in px. The green channel is looked at, which haemoglobin and Giemsa stain both absorb, against
    the light round each place, which is uneven on most microscopes.
    """
    green = ndimage.gaussian_filter(image[..., 1].astype(np.float32), side / 39)
    absorbed = np.log(light(green, side) / np.maximum(green, 1.0))  # (H, W)
    if absorbed.max() < _FLAT:
        return np.zeros(green.shape, bool)
    # a nucleus is so dark that Otsu's threshold would part it from the red cells, not these from the background
    most = _NUCLEUS * float(np.median(absorbed[absorbed >= _FLAT]))
    dark = absorbed > threshold_otsu(absorbed.clip(0, most))  # type: ignore[no-untyped-call]
    mask = absorbed > max(_EDGE * float(np.median(absorbed[dark])), _FLAT)
    holes, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    small = np.bincount(holes.ravel(), minlength=count + 1) <= _HOLE * np.pi / 4 * side**2
    small[0] = False
    thin = max(1, round(side / 13))
    return np.asarray(ndimage.binary_opening(mask | small[holes], iterations=thin))


def light(green: NDArray[np.float32], side: float) -> NDArray[np.float32]:
    """Brightness (H, W) of the background as it would be without cells."""
    height, width = green.shape
    size = max(1, round(width * _BLOCK / side)), max(1, round(height * _BLOCK / side))
    blocks = np.asarray(Pillow.fromarray(green).resize(size, Pillow.Resampling.BOX))
    bright = ndimage.percentile_filter(blocks, _LIGHT, 4 * _BLOCK)  # four cells wide
    smooth = ndimage.gaussian_filter(bright, _BLOCK)
    return np.asarray(Pillow.fromarray(smooth).resize((width, height), Pillow.Resampling.BILINEAR)).clip(1.0)


def middles(deep: NDArray[np.float32], waist: float) -> Mask:
    """Places from which every way to a deeper one leads through one shallower by `waist`: the middles of cells.

    deep: (H, W), distance to the background.
    """
    return np.asarray(deep - reconstruction(deep - waist, deep) > 0.999 * waist)  # type: ignore[no-untyped-call]


def candidate_cells(mask: Mask, side: float) -> Cells:
    """Cells of a stained area, parted where it has a waist, by a watershed of the distance to the background.

    mask: (H, W). side: of a usual cell in px.
    """
    height, width = mask.shape
    # every second pixel says where cells part, at a quarter of the time; the mask says where they end
    coarse = np.pad(mask, ((0, height % 2), (0, width % 2))).reshape(-(-height // 2), 2, -(-width // 2), 2).any((1, 3))
    deep = ndimage.distance_transform_edt(coarse).astype(np.float32)
    deep = ndimage.gaussian_filter(deep, side / 2 / 39)
    waist = _WAIST * side / 2
    markers, _ = ndimage.label(middles(deep, waist) & coarse)
    parted = watershed(-deep, markers, mask=coarse)  # type: ignore[no-untyped-call]
    cells = np.repeat(np.repeat(parted.astype(np.int32), 2, axis=0), 2, axis=1)[:height, :width]
    return np.asarray(np.where(mask, cells, 0))
