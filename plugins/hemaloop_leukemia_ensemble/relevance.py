"""How much an image is worth labelling, and whether a person should look again.

The relevance is the expected cost of letting the label stand, in healthy cells taken for ill: the mean, over the three
members, of the probability that the label is wrong, each wrong case at the weight of what it would overlook (2.5 for
the disease and 1 for any other label, section 2.5 of the paper). A member that disagrees puts its weight on another
label, so disagreement and uncertainty are one number; and of two cells that are equally unsure, the one shown as
healthy comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from hemaloop.plugin import ReviewMark
from hemaloop_leukemia_ensemble.decision import MEMBERS

FloatArray = NDArray[np.float64]


def expected_cost(members: FloatArray, shown: int, weights: Sequence[float]) -> float:
    """Mean over members of Σ_{k ≠ shown} λ_k p_k. members: calibrated probabilities (M, C); weights: λ, (C,)."""
    costs = np.asarray(weights, np.float64).copy()
    costs[shown] = 0
    return float((members @ costs).mean())


def disagreement(members: FloatArray) -> float:
    """Jensen-Shannon divergence of the members over its largest value, ln M: 0 where all say the same, in [0, 1]."""
    gained = entr(members.mean(axis=0)).sum() - entr(members).sum(axis=1).mean()
    return float(np.clip(gained / np.log(len(members)), 0, 1))


def review_marks(
    members: FloatArray, shown: int, probability: float, labels: Sequence[str], below: float
) -> tuple[ReviewMark, ...]:
    """A mark where the members do not all say the same, or the shown label's probability lies below `below`."""
    said = members.argmax(axis=1)
    if (said != said[0]).any():
        each = ", ".join(
            f"{name} {labels[label]} {row[label]:.0%}" for name, label, row in zip(MEMBERS, said, members, strict=True)
        )
        return (ReviewMark(shown, f"members disagree ({each})"),)
    if probability < below:
        return (ReviewMark(shown, f"unsure ({probability:.0%})"),)
    return ()
