"""How far boxes cover one another: areas, intersection over union, share inside regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def area(boxes: NDArray[np.float32]) -> FloatArray:
    """Areas in px² of boxes (N, 4); 0 where a box is inverted."""
    sides = np.clip(boxes[:, 2:].astype(np.float64) - boxes[:, :2], 0.0, None)  # (N, 2)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float64)


def intersection_over_union(first: NDArray[np.float32], second: NDArray[np.float32]) -> FloatArray:
    """IoU of every box of (N, 4) with every box of (M, 4): float64 (N, M), 0 where both are empty."""
    shared = _shared(first, second)
    union = area(first)[:, None] + area(second)[None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0), np.float64)


def share_inside(boxes: NDArray[np.float32], regions: NDArray[np.float32]) -> FloatArray:
    """Share of each box (N, 4) that lies in regions (K, 4): float64 (N,), 0 for a box without area.

    Where regions overlap, they count twice, so that it may exceed 1.
    """
    own = area(boxes)
    inside = _shared(boxes, regions).sum(axis=1)
    return np.asarray(np.divide(inside, own, out=np.zeros_like(own), where=own > 0), np.float64)


def _shared(first: NDArray[np.float32], second: NDArray[np.float32]) -> FloatArray:
    """Areas in px² that every box of (N, 4) shares with every box of (M, 4): (N, M)."""
    top_left = np.maximum(first[:, None, :2].astype(np.float64), second[None, :, :2])  # (N, M, 2)
    bottom_right = np.minimum(first[:, None, 2:].astype(np.float64), second[None, :, 2:])
    return np.asarray(np.clip(bottom_right - top_left, 0.0, None).prod(axis=2), np.float64)
