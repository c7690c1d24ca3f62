"""What the ensemble says of a cell: section 2.6 of the paper, and how sure a person is told that it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

FloatArray = NDArray[np.float64]

MEMBERS = ("A", "B", "combined")
HOTTEST = 100.0
"""Largest temperature that is looked at."""


def winner(probabilities: FloatArray) -> tuple[int, int]:
    """Member and label of the largest of all probabilities (section 2.6); of equal ones, the first.

    probabilities: (M, C), a row a member.
    """
    member, label = np.unravel_index(int(probabilities.argmax()), probabilities.shape)
    return int(member), int(label)


def winning_logits(logits: FloatArray) -> FloatArray:
    """Logits (C,) of the member whose largest probability is the largest of all. logits: (M, C)."""
    return np.asarray(logits[winner(softmax(logits, axis=1))[0]])


def calibrated(logits: FloatArray, temperature: float) -> FloatArray:
    """Probabilities (…, C) softened by a temperature > 0, which keeps the order of the labels (Guo et al. 2017)."""
    return np.asarray(softmax(logits / temperature, axis=-1))


def fit_temperature(logits: FloatArray, truths: NDArray[np.int64]) -> float:
    """The temperature, 1 or more, at which the truths are likeliest (Guo et al. 2017).

    logits: (N, C) of the winners; truths: int64 (N,). It only softens: where few images are all said right, the
    likeliest temperature would be 0, which says that nothing can ever be wrong.
    """
    if not len(truths):
        return 1.0

    def loss(log_temperature: float) -> float:
        logs = log_softmax(logits / np.exp(log_temperature), axis=1)  # (N, C)
        return float(-np.take_along_axis(logs, truths[:, None], axis=1).mean())

    found = minimize_scalar(loss, bounds=(0.0, np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x)) if loss(float(found.x)) < loss(0.0) else 1.0
