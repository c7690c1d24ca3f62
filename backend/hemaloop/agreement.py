"""Several people's truths of one image: how far they differ, and the one truth made of them.

Boxes of different people belong together from an IoU of 0.5 on, taken by falling IoU, one to one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hemaloop.plugin import Classification, ClassMap, Detections, Prediction

MATCH_IOU = 0.5

_Truth = TypeVar("_Truth", Detections, ClassMap, Classification)


def merge(truths: Sequence[Prediction]) -> Prediction:
    """One truth of several, the newest first.

    Boxes: a cell counts where at least half of the people drew it (of two people, either), with the label of most
    and the median of its sides. Maps: the value of most at each pixel. Choices: that of most. Where as many say one
    thing as the other, the newest annotation among them decides.
    """
    if len(truths) == 1:
        return truths[0]
    if isinstance(truths[0], Detections):
        return _merge_boxes([truth for truth in truths if isinstance(truth, Detections)])
    if isinstance(truths[0], ClassMap):
        return _merge_maps([truth for truth in truths if isinstance(truth, ClassMap)])
    return _merge_choices([truth for truth in truths if isinstance(truth, Classification)])


def disagreement(truths: Sequence[Prediction]) -> float:
    """How far people differ, in [0, 1]; 0 where one person looked.

    Boxes: 1 - mean F1 over pairs of people, matched with their labels. Maps: 1 - mean Dice over pairs and the labels
    that either used. Choices: share of the pairs that differ.
    """
    if len(truths) < 2:
        return 0.0
    agreements = [_agreement(one, other) for one, other in combinations(truths, 2)]
    return 1.0 - sum(agreements) / len(agreements)


def _agreement(one: Prediction, other: Prediction) -> float:
    if isinstance(one, Detections) and isinstance(other, Detections):
        return f1(one, other)
    if isinstance(one, ClassMap) and isinstance(other, ClassMap):
        return dice(one, other)
    if isinstance(one, Classification) and isinstance(other, Classification):
        return float(np.argmax(one.probabilities) == np.argmax(other.probabilities))
    return 0.0


def f1(one: Detections, other: Detections) -> float:
    """2 matches / (boxes of one + boxes of the other); 1 where neither has a box."""
    if not len(one) and not len(other):
        return 1.0
    same = one.labels[:, None] == other.labels[None, :]  # (N, M)
    matches = match(np.where(same, overlap(one.boxes, other.boxes), 0))
    return 2 * len(matches) / (len(one) + len(other))


def dice(one: ClassMap, other: ClassMap) -> float:
    """Mean over the labels that either used of 2 |A ∩ B| / (|A| + |B|); 1 where neither used one."""
    if one.labels.shape != other.labels.shape:
        return 0.0
    used = [value for value in np.union1d(one.labels, other.labels).tolist() if value]
    if not used:
        return 1.0
    return float(np.mean([_dice_of(one.labels == value, other.labels == value) for value in used]))


def _dice_of(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))


def overlap(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """IoU of each box (N, 4) with each other box (M, 4): (N, M)."""
    a, b = boxes.astype(np.float64), others.astype(np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])  # (N, M, 2)
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)  # (N, M)
    areas = (a[:, 2:] - a[:, :2]).prod(axis=1)[:, None] + (b[:, 2:] - b[:, :2]).prod(axis=1)[None, :]
    return np.asarray(shared / np.maximum(areas - shared, np.finfo(np.float64).tiny))


def match(values: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs (row, column) of at least `MATCH_IOU`, by falling value, each row and column once."""
    rows, columns = np.nonzero(values >= MATCH_IOU)
    order = np.argsort(-values[rows, columns], kind="stable")
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    pairs = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in used_rows and column not in used_columns:
            used_rows.add(row)
            used_columns.add(column)
            pairs.append((row, column))
    return pairs


def _merge_boxes(truths: Sequence[Detections]) -> Detections:
    """Each person's boxes join the cells found so far, whatever their labels, or found new ones."""
    cells: list[list[tuple[NDArray[np.float32], int]]] = []
    for truth in truths:
        seeds = np.array([members[0][0] for members in cells], np.float32).reshape(-1, 4)
        matched = {column: row for row, column in match(overlap(seeds, truth.boxes))}
        for index in range(len(truth)):
            member = (truth.boxes[index], int(truth.labels[index]))
            if index in matched:
                cells[matched[index]].append(member)
            else:
                cells.append([member])
    kept = [members for members in cells if 2 * len(members) >= len(truths)]
    boxes = [np.median([box for box, _ in members], axis=0) for members in kept]
    labels = [_most([label for _, label in members], lambda label: label) for members in kept]
    return Detections.truth(boxes, labels)


def _merge_maps(truths: Sequence[ClassMap]) -> ClassMap:
    shape = truths[0].labels.shape
    stack = np.stack([truth.labels for truth in truths if truth.labels.shape == shape])  # (people, H, W)
    votes = (stack[:, None] == stack[None, :]).sum(axis=1)  # (people, H, W): how many say what this person says
    # argmax takes the first of equals, which is the newest annotation.
    winner = votes.argmax(axis=0)[None]  # (1, H, W)
    return ClassMap(np.take_along_axis(stack, winner, axis=0)[0])


def _merge_choices(truths: Sequence[Classification]) -> Classification:
    return _most(truths, lambda truth: int(np.argmax(truth.probabilities)))


_Item = TypeVar("_Item")


def _most(items: Sequence[_Item], key: Callable[[_Item], int]) -> _Item:
    """The first of the items whose key most of them have."""
    counts = Counter(map(key, items))
    most = max(counts.values())
    return next(item for item in items if counts[key(item)] == most)
