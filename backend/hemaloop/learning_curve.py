"""What more labelling would bring, from what it has brought so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear

from hemaloop.errors import DatasetError

LEAST = 4
"""Different numbers of images from which a curve of three parameters can be told from chance at all."""
_RATES = np.geomspace(0.05, 3.0, 60)


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Figure over labelled images: limit - loss * images ** -rate.

    An inverse power law with a limit (Figueroa et al. 2012, Predicting sample size required for classification
    performance, equation 1). limit: in [0, 1]. loss, rate: >= 0. scatter: root mean square distance of the figures
    from it. points: how many figures it was fitted to.
    """

    limit: float
    loss: float
    rate: float
    scatter: float
    points: int

    def at(self, images: float) -> float:
        """The figure expected from this many images, > 0."""
        return self.limit - self.loss * math.pow(images, -self.rate)

    def images_for(self, figure: float) -> float | None:
        """How many images reach a figure; None where the curve never does."""
        if figure >= self.limit:
            return None
        return float((self.loss / (self.limit - figure)) ** (1 / self.rate))


def fit_curve(images: Sequence[float], figures: Sequence[float]) -> LearningCurve:
    """The curve through figures in [0, 1] that models reached on so many images each; it never falls.

    For each rate of a grid the other two follow by least squares within their bounds; the best of these is returned.
    Raises `DatasetError` where there are fewer than `LEAST` different numbers of images.
    """
    different = len(set(images))
    if different < LEAST:
        raise DatasetError(
            f"learning curve: found models of {different} different numbers of images, expected at least {LEAST}; "
            "each training on more images adds one"
        )
    x, y = np.asarray(images, np.float64), np.asarray(figures, np.float64)
    best: LearningCurve | None = None
    for rate in _RATES.tolist():
        terms = np.stack([np.ones_like(x), -(x**-rate)], axis=1)
        limit, loss = lsq_linear(terms, y, bounds=([0, 0], [1, np.inf])).x
        scatter = float(np.sqrt(np.mean((terms @ (limit, loss) - y) ** 2)))
        if best is None or scatter < best.scatter - 1e-12:
            best = LearningCurve(float(limit), float(loss), rate, scatter, len(x))
    if best is None or not math.isfinite(best.scatter):
        raise DatasetError(f"learning curve: found {list(zip(images, figures, strict=True))}, expected finite numbers")
    return best
