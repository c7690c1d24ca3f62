"""Centres of cells as a heatmap: what tells how many cells a clump is, where classes cannot.

A Gaussian stands on the centre of each cell, also of one that others cover (Zhou et al. 2019, "Objects as Points").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max

from hemaloop.stain import Mask

SIGMA = 0.15
"""Diameters of a cell: standard deviation of the Gaussian on its centre."""
FULL = 254
"""Value of a centre; 255 is unknown."""
SMOOTH = 0.03
"""Diameters: standard deviation of the Gaussian that a heatmap is smoothed with before its peaks are looked for."""
APART = 0.45
"""Diameters within which there is one centre: the paper's rouleaux lie half a cell apart."""
SURE = 0.15
"""Value from which a peak is a centre."""


def heatmap(cells: Mask, diameter: float) -> NDArray[np.uint8]:
    """(H, W), 0 to `FULL`: `FULL` on the centre of each connected cell. diameter: of a usual cell, px."""
    parts, count = ndimage.label(cells)
    if not count:
        return np.zeros(cells.shape, np.uint8)
    rows, columns = np.round(ndimage.center_of_mass(cells, parts, range(1, count + 1))).astype(np.int64).T
    elsewhere = np.ones(cells.shape, bool)
    elsewhere[rows, columns] = False
    away = ndimage.distance_transform_edt(elsewhere) / (SIGMA * diameter)
    return np.asarray(np.round(FULL * np.exp(-(away**2) / 2)), np.uint8)


def peaks(heat: NDArray[np.float32], diameter: float) -> NDArray[np.float32]:
    """Centres (N, 2) that a heatmap in [0, 1] shows, x and y in px. diameter: of a usual cell on it, px."""
    if diameter <= 0:
        return np.zeros((0, 2), np.float32)
    smooth = ndimage.gaussian_filter(heat, SMOOTH * diameter)
    near = max(1, round(APART * diameter))
    found = peak_local_max(smooth, min_distance=near, threshold_abs=SURE, exclude_border=False)  # type: ignore[no-untyped-call]
    return np.asarray(found[:, ::-1], np.float32)
