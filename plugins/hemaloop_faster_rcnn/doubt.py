"""Boxes that a person would probably overturn: how many of an image, and which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hemaloop.evaluation.overlap import intersection_over_union
from hemaloop.plugin import Detections, ReviewMark
from hemaloop_faster_rcnn.thresholds import shown

DOUBT_TO_REVIEW = 0.2
"""A shown box that is wrong with at least this probability is marked."""

SAME_PLACE = 0.5
"""IoU from which two boxes of different classes claim the same cell."""


def doubt(detections: Detections, thresholds: Sequence[float]) -> NDArray[np.float64]:
    """Probability, (N,), that showing or hiding each box is wrong, taking its score s for the probability of a cell.

    A box that is shown (s ≥ t) is wrong with 1 - s, one that is hidden (s < t) with s: largest near the threshold t.
    """
    scores = detections.scores.astype(np.float64)
    return np.where(shown(detections, thresholds), 1 - scores, scores)


def expected_doubtful(detections: Detections, thresholds: Sequence[float], labels: Sequence[str]) -> dict[str, float]:
    """Expected number of boxes of each class to be removed or added: the sum of `doubt` over its boxes."""
    doubts = doubt(detections, thresholds)
    return {label: float(doubts[detections.labels == index].sum()) for index, label in enumerate(labels)}


def review_marks(
    visible: Detections, unfiltered: Detections, thresholds: Sequence[float], labels: Sequence[str]
) -> tuple[ReviewMark, ...]:
    """Shown boxes with a doubtful score, or of which another class claims the place. Indices into `visible`."""
    doubts = doubt(visible, thresholds)
    overlaps = intersection_over_union(visible.boxes, unfiltered.boxes)  # (shown, all)
    marks = []
    for index, label in enumerate(visible.labels.tolist()):
        rivals = (overlaps[index] >= SAME_PLACE) & (unfiltered.labels != label) & (unfiltered.scores >= DOUBT_TO_REVIEW)
        if rivals.any():
            rival = int(np.flatnonzero(rivals)[np.argmax(unfiltered.scores[rivals])])
            reason = f"perhaps {labels[unfiltered.labels[rival]]} ({unfiltered.scores[rival]:.0%})"
        elif doubts[index] >= DOUBT_TO_REVIEW:
            reason = f"unsure ({visible.scores[index]:.0%})"
        else:
            continue
        marks.append(ReviewMark(index, reason))
    return tuple(marks)
