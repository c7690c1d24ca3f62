"""How far a figure would move if other images (or seeds, or patients) had been drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LEVEL = 0.95
"""Share of the draws that an interval holds."""


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float], count: int, draws: int = DRAWS
) -> tuple[float, float] | None:
    """Interval of a statistic of `count` rows drawn with replacement (percentile bootstrap, Efron and Tibshirani 1993).

    statistic: of row numbers int64 (count,). Infinite values count as larger than all others; draws without a value
    (NaN) do not count. None for fewer than two rows, of which nothing can be said.
    """
    if count < 2:
        return None
    drawn = np.random.default_rng(0).integers(0, count, (draws, count))
    values = np.array([statistic(rows) for rows in drawn])
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="closest_observation")
    return float(low), float(high)
