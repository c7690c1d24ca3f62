"""How much a cell is worth labelling: what the classifier does not know, and what it has never seen.

Both parts reach from 0 to 1, so that the relevance reaches from 0 to 1 + the weight of novelty.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import entr

from hemaloop.plugin import ReviewMark

FloatArray = NDArray[np.float64]


def uncertainty(probabilities: FloatArray) -> FloatArray:
    """Entropy over its largest value, ln C: 0 where one class is certain, 1 where all are alike. (N, C) → (N,)."""
    classes = probabilities.shape[1]
    if classes < 2:
        return np.zeros(len(probabilities))
    found: FloatArray = np.clip(entr(probabilities).sum(axis=1) / np.log(classes), 0, 1)
    return found


def novelty(latents: NDArray[np.float32], known: NDArray[np.float32], reach: float) -> FloatArray:
    """max(0, 1 - reach / d), d the distance to the nearest labelled cell: 0 up to the distance that is usual between
    labelled cells, 1/2 at twice that, 1 far away or where nothing is labelled.

    latents, known: (N, D) and (M, D), both standardised. Returns (N,).
    """
    if not len(known):
        return np.ones(len(latents))
    distances = torch.cdist(torch.from_numpy(latents)[None], torch.from_numpy(known)[None])[0].amin(dim=1)
    nearest = np.maximum(distances.double().numpy(), 1e-12)
    found: FloatArray = np.maximum(0.0, 1 - reach / nearest)
    return found


def relevance(unsure: FloatArray, new: FloatArray, weight: float) -> FloatArray:
    """Uncertainty plus `weight` times novelty, >= 0. (N,)"""
    return unsure + weight * new


def review_marks(label: int, probability: float, new: float, below: float) -> tuple[ReviewMark, ...]:
    """A mark where the shown label's probability lies below `below`, or the cell is like none that was labelled."""
    reasons = []
    if probability < below:
        reasons.append(f"unsure ({probability:.0%})")
    if new > 0.5:
        reasons.append(f"unlike any labelled cell (novelty {new:.2f})")
    return (ReviewMark(label, "; ".join(reasons)),) if reasons else ()
