"""Training sets A and B: section 2.3 and figure 2 of the paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """What a model learns from in an epoch. indices: int64 (N,), of images; copies: bool (N,), which are augmented."""

    indices: NDArray[np.int64]
    copies: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.indices)


def majority(labels: NDArray[np.int64]) -> int:
    """The class with most images; of several, the first. The data decide, not a name."""
    return int(np.bincount(labels).argmax())


def halves(labels: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the majority class in two halves drawn by chance; of an odd number, the first has one more."""
    of_majority = np.flatnonzero(labels == majority(labels))
    drawn = np.random.default_rng((seed, 23)).permutation(of_majority)
    middle = (len(drawn) + 1) // 2
    return np.sort(drawn[:middle]), np.sort(drawn[middle:])


def bagging_sets(labels: NDArray[np.int64], seed: int) -> tuple[TrainingSet, TrainingSet]:
    """Sets A and B (figure 2). A: half A, augmented half B, every other class and its augmented copies; B its mirror.

    labels: int64 (N,), class of each image. Of more than two classes, all but the largest are treated as the minority.
    """
    half_a, half_b = halves(labels, seed)
    others = np.flatnonzero(labels != majority(labels))
    return _set([half_a, others], [half_b, others]), _set([half_b, others], [half_a, others])


def whole_set(count: int, *, augmented: bool = True) -> TrainingSet:
    """All images (section 2.4, second stage), and an augmented copy of each."""
    every = np.arange(count)
    return _set([every], [every] if augmented else [])


def _set(originals: list[NDArray[np.int64]], copies: list[NDArray[np.int64]]) -> TrainingSet:
    kept, drawn = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (originals, copies))
    return TrainingSet(np.concatenate([kept, drawn]), np.arange(len(kept) + len(drawn)) >= len(kept))
