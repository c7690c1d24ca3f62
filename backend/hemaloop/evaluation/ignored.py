"""Ignore regions: where the truth says nothing, a detection is neither right nor wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import DatasetError
from hemaloop.evaluation.overlap import intersection_over_union, share_inside
from hemaloop.plugin import Detections

MOSTLY = 0.5
"""Share of a detection inside ignore regions from which it is left out."""
_ON_A_CELL = 0.5
"""IoU from which a detection lies on a truth box."""


def judged(truth: Detections, found: Detections, ignored: NDArray[np.float32]) -> Detections:
    """The detections of one image that are right or wrong, without those that lie where the truth says nothing.

    Left out is what lies in ignore regions with at least half of its area and on no truth box of any class: a second
    box on a labelled cell, or one of the wrong class, stays an error however close a region is.
    ignored: float32 (K, 4) px.
    """
    if not len(ignored) or not len(found):
        return found
    overlaps = intersection_over_union(found.boxes, truth.boxes)  # (D, T)
    keep = (overlaps >= _ON_A_CELL).any(axis=1) | (share_inside(found.boxes, ignored) < MOSTLY)
    return Detections(found.boxes[keep], found.labels[keep], found.scores[keep])


def judged_of_each(
    truths: Sequence[Detections], detections: Sequence[Detections], ignored: Sequence[NDArray[np.float32]]
) -> list[Detections]:
    """`judged` of each image. Raises `DatasetError` where the three differ in length."""
    if not len(truths) == len(detections) == len(ignored):
        raise DatasetError(
            f"evaluation: found {len(truths)} truths, {len(detections)} predictions and ignore regions of "
            f"{len(ignored)} images, expected one of each an image (an empty array where it has no region)"
        )
    return [judged(*each) for each in zip(truths, detections, ignored, strict=True)]
