"""Acquisition functions of a cell's class: how unsure a network is of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

FloatArray = NDArray[np.float64]


def entropy(probabilities: FloatArray) -> FloatArray:
    """-Σ p ln p of each cell, (M,), nats: 0 where it is sure, ln(classes) at most (Shannon 1948).

    probabilities: (M, classes), background included.
    """
    return np.asarray(entr(probabilities).sum(axis=-1))


def margin(probabilities: FloatArray) -> FloatArray:
    """1 - (p₁ - p₂) of each cell's two most probable classes, (M,), in [0, 1]: 1 where they tie (Scheffer et al. 2001).

    probabilities: (M, classes), background included, two classes or more.
    """
    second, first = np.sort(probabilities, axis=-1)[..., -2:].T
    return np.asarray(1 - (first - second))


def bald(probabilities: FloatArray) -> FloatArray:
    """Mutual information of a cell's class and the weights, (M,), nats (Houlsby et al. 2011, arXiv 1112.5745).

    The entropy of the mean minus the mean of the entropies of N passes: what they disagree about, not what each of them
    is unsure of. probabilities: (N, M, classes), background included.
    """
    gained = entropy(probabilities.mean(axis=0)) - entropy(probabilities).mean(axis=0)
    return np.asarray(np.maximum(gained, 0))  # below 0 by rounding alone
