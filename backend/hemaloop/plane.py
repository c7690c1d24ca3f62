"""Vectors in a plane, with numpy alone, so that a worker draws it without matplotlib."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXAMPLES = 8
"""Images shown beside what is made of their vectors."""


def principal_plane(vectors: ArrayLike) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """The two directions of the largest variance (PCA): places (N, 2) and the share of the variance that each shows.

    A direction points to where its largest entry is positive, so that the picture is the same on every machine.
    """
    points = np.asarray(vectors, np.float64)
    centred = points - points.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    chosen = np.zeros((2, points.shape[1]))
    chosen[: min(2, len(directions))] = directions[:2]
    signs = np.sign(chosen[np.arange(2), np.abs(chosen).argmax(axis=1)])
    energy = np.pad(sizes, (0, 2))[:2] ** 2
    total = float((sizes**2).sum()) or 1.0
    return centred @ (chosen * np.where(signs == 0, 1, signs)[:, None]).T, (
        float(energy[0] / total),
        float(energy[1] / total),
    )


def far_apart(places: NDArray[np.float64], count: int = EXAMPLES) -> list[int]:
    """Indices of at most so many of places (N, 2), from the leftmost on each as far as can be from those before it.

    Of equal places one is taken.
    """
    chosen = [int(places[:, 0].argmin())]
    while len(chosen) < min(count, len(places)):
        nearest = np.min([np.hypot(*(places - places[one]).T) for one in chosen], axis=0)
        if not nearest.any():
            break
        chosen.append(int(nearest.argmax()))
    return chosen
