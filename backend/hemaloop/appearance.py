"""What a smear looks like in a few numbers, for when there is no model whose features could say it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.measure import regionprops_table

from hemaloop.plugin import Image
from hemaloop.points import usual_side
from hemaloop.stain import Cells, Mask, candidate_cells, stained

SIDE = 256
"""px: longest side of the picture that is looked at; larger ones are made smaller."""
_TONES = (5, 50, 95)
"""Percentiles of a colour: nuclei are the darkest of what is stained, pallor the brightest."""
_NOTICED = 2.3
"""CIELAB units: the smallest difference of colour that people notice (Mahy, Van Eycken and Oosterlinck 1994)."""
_SHARE, _NUMBER, _SIZE, _SHAPE = 0.05, 0.2, 0.1, 0.05
"""The smallest differences worth a thought: of an area's share, of the logarithms of a number and of areas, and of an
eccentricity."""
_CORE = 0.5
"""How deep in its cell a pixel lies, of the deepest one, from which it belongs to the middle."""


def appearance(image: Image) -> NDArray[np.float32]:
    """Colours, texture, number, size and shape of what is stained: float32 (F,), finite, each number in units of the
    smallest difference that means something.
    """
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Pillow.fromarray(image).resize(size, Pillow.Resampling.BOX))
    side = usual_side(size[1], size[0])
    mask = stained(small, side)
    lab = rgb2lab(small)
    found = [
        *_colours(lab, mask),
        *_colours(lab, ~mask),
        *_texture(lab[..., 0], mask),
        *_cells(lab[..., 0], candidate_cells(mask, side), side),
    ]
    return np.asarray(found, np.float32)


def _colours(lab: NDArray[np.float64], mask: Mask) -> list[float]:
    """Tones of L*, a* and b* where the mask is, nine numbers; 0 where it is nowhere."""
    if not mask.any():
        return [0.0] * 9
    tones: list[float] = (np.percentile(lab[mask], _TONES, axis=0) / _NOTICED).ravel().tolist()
    return tones


def _texture(lightness: NDArray[np.float64], mask: Mask) -> list[float]:
    """How much the lightness changes from pixel to pixel, in what is stained and beside it: out of focus, little."""
    edges = np.abs(ndimage.laplace(lightness))
    return [float(edges[where].mean()) / _NOTICED if where.any() else 0.0 for where in (mask, ~mask)]


def _cells(lightness: NDArray[np.float64], cells: Cells, side: float) -> list[float]:
    """Stained share, number (logarithm), sizes, shapes and pallor of the cells; 0 where there are none."""
    share = float((cells > 0).mean())
    if not share:
        return [0.0] * 8
    measured = regionprops_table(cells, properties=("label", "area", "eccentricity"))  # type: ignore[no-untyped-call]
    sizes = np.log(measured["area"] / side**2)
    shapes = measured["eccentricity"]
    depth = ndimage.distance_transform_edt(cells > 0)
    deepest = ndimage.maximum(depth, cells, measured["label"])
    depths = np.zeros(cells.max() + 1)
    depths[measured["label"]] = deepest
    core = (cells > 0) & (depth >= _CORE * depths[cells])
    rim = (cells > 0) & ~core
    pallor = float(lightness[core].mean() - lightness[rim].mean()) if rim.any() else 0.0
    return [
        share / _SHARE,
        float(np.log1p(len(sizes))) / _NUMBER,
        *(np.percentile(sizes, (10, 50, 90)) / _SIZE).tolist(),
        *(np.percentile(shapes, (50, 90)) / _SHAPE).tolist(),
        pallor / _NOTICED,
    ]
