"""Equations 5 to 8 of Sadafi et al. 2019, "Multiclass deep active learning for detecting red blood cell subtypes".

Mind the names: the paper calls U^d and U^c uncertainties, yet both are LARGE, up to 1, where the model is CERTAIN. Its
text gives α to detection and β to classification, its equation 8 the other way round: the equation is followed.
Equation 9, the weighted precision, belongs to the evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hemaloop.evaluation.overlap import intersection_over_union

FloatArray = NDArray[np.float64]


def detection_uncertainty(boxes: NDArray[np.float32]) -> FloatArray:
    """U^d of each cell, (M,), in [0, 1]: mean IoU of its box in the first pass with those of the others (equation 5).

    Large where the model is certain. boxes: (N, M, 4), N passes, two or more: for one it is undefined.
    Raises `ValueError` for fewer.
    """
    if len(boxes) < 2:
        raise ValueError(f"U^d: found {len(boxes)} pass, expected two or more")
    cells = range(boxes.shape[1])
    overlaps = [intersection_over_union(boxes[:1, cell], boxes[1:, cell])[0].mean() for cell in cells]
    return np.array(overlaps, np.float64)


def classification_uncertainty(classes: NDArray[np.int64]) -> FloatArray:
    """U^c of each cell, (M,), in (0, 1]: share of the passes that agree on its most frequent class (equation 6).

    Large where the model is certain. classes: (N, M), the most probable class in each pass, background included.
    """
    return np.array([np.bincount(votes).max() / len(votes) for votes in classes.T], np.float64)


def rare_class(probabilities: FloatArray, rare: Sequence[int], above: float = 0.2) -> NDArray[np.bool_]:
    """U^r of each cell, (M,): whether some rare class has a probability above `above` (equation 7).

    Printed are "0 where p ≤ 0.2" and "1 where p < 0.2"; the second is a misprint for "p > 0.2".
    probabilities: (M, classes), of the plain prediction. rare: columns of the rare classes; without one, none is rare.
    """
    return np.asarray((probabilities[:, list(rare)] > above).any(axis=1))


def image_relevance(
    u_c: FloatArray, u_d: FloatArray, u_r: NDArray[np.bool_], alpha: float = 0.80, beta: float = 0.90, gamma: float = 10
) -> float:
    """R_img: Σ [U^c ≤ α] + Σ [U^d ≤ β] + γ Σ U^r over the cells of an image (equation 8); 0 without a cell.

    It counts cells, so crowded images win: see `relevance_per_cell`.
    """
    return float((u_c <= alpha).sum() + (u_d <= beta).sum() + gamma * u_r.sum())


def relevance_per_cell(relevance: float, cells: int) -> float:
    """R_img / max(M, 1), so that an image is worth no more for showing more of the same; 0 without a cell."""
    return relevance / max(cells, 1)
