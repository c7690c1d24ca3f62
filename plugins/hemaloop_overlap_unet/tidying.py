"""A three-class map without what cannot be: crumbs, pinholes, specks, overlaps in the middle of one cell.

Areas are shares of a usual cell's disc.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hemaloop.stain import Mask
from hemaloop_overlap_unet.morphology import EIGHT, Classes

SPECK = 0.004
"""Area below which an overlap is noise, of a usual cell's disc."""
CRUMB = 0.1
"""Area below which something free-standing is no cell."""
PINHOLE = 0.02
"""Area up to which a hole in a cell is filled."""
RIM = 0.1
"""Diameters from the outline, within which an overlap of two cells begins: deeper ones are centres of target cells, or
dark cells. The lens that two discs share ends on the outline of both together."""
STACKED = 0.35
"""Area from which an overlap inside one cell is a second cell that lies on it as a whole."""


def _areas(parts: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    return np.bincount(parts.ravel(), minlength=count + 1)


def tidied(classes: Classes, diameter: float) -> Classes:
    """Crumbs of no cell removed, pinholes filled, overlaps that are specks or deep in one cell taken for one cell.

    diameter: of a cell, px.
    """
    usual = np.pi / 4 * diameter**2
    if usual <= 0:
        return np.zeros_like(classes)
    found = classes.copy()
    overlaps, count = ndimage.label(classes == 2, EIGHT)
    found[(_areas(overlaps, count) < SPECK * usual)[overlaps] & (overlaps > 0)] = 1
    holes, count = ndimage.label(classes == 0)
    found[(_areas(holes, count) < PINHOLE * usual)[holes] & (holes > 0)] = 1
    parts, count = ndimage.label(found > 0)
    small = _areas(parts, count) < CRUMB * usual
    frame = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    cut = np.zeros(count + 1, bool)
    cut[frame] = True
    small &= ~cut | (_areas(parts, count) < CRUMB / 3 * usual)
    found[small[parts] & (parts > 0)] = 0
    found[_deep_in_one_cell(found, diameter)] = 1
    return found


def _deep_in_one_cell(classes: Classes, diameter: float) -> Mask:
    """Overlaps that one part alone touches, away from outline and frame, and smaller than a stacked cell."""
    if not (classes == 2).any():
        return np.zeros(classes.shape, bool)
    reach = max(1, round(RIM * diameter))
    padded = np.pad(classes, reach)
    deep = np.zeros(padded.shape, bool)
    single, overlaps = (ndimage.label(padded == value, EIGHT)[0] for value in (1, 2))
    for number, (rows, columns) in enumerate(ndimage.find_objects(overlaps), 1):
        window = slice(rows.start - reach, rows.stop + reach), slice(columns.start - reach, columns.stop + reach)
        overlap = overlaps[window] == number
        if overlap.sum() >= STACKED * np.pi / 4 * diameter**2:
            continue
        beside = np.unique(single[window][ndimage.binary_dilation(overlap, EIGHT)])
        around = ndimage.binary_dilation(overlap, EIGHT, iterations=reach)
        if np.count_nonzero(beside) == 1 and padded[window][around].all():
            deep[window] |= overlap
    return deep[reach:-reach, reach:-reach]
