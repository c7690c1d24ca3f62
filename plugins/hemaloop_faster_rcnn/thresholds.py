"""From which score a box is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hemaloop.evaluation.detection import average_precision
from hemaloop.plugin import Detections
from hemaloop_faster_rcnn.options import PAPER_THRESHOLDS, FasterRCNNOptions, parse_thresholds

UNNAMED = 0.5
"""Threshold of a label that nobody named."""


def operating_thresholds(
    labels: Sequence[str], options: FasterRCNNOptions, fitted: Mapping[str, float]
) -> dict[str, float]:
    """Threshold of every label, as the options ask. fitted: what `fit_thresholds` found; else the paper's."""
    if options.thresholds == "none":
        return dict.fromkeys(labels, options.score_floor)
    chosen = dict(PAPER_THRESHOLDS)
    if options.thresholds == "fit":
        chosen |= fitted
    elif options.thresholds != "paper":
        chosen = parse_thresholds(options.thresholds)
    return {label: chosen.get(label, UNNAMED) for label in labels}


def fit_thresholds(
    truths: Sequence[Detections], detections: Sequence[Detections], labels: Sequence[str]
) -> dict[str, float]:
    """For each class that has truth boxes and hits, the threshold of best F1 = 2 P R / (P + R) at IoU 0.5.

    It lies half-way to the next lower score, so that it is not an accident of one box.
    """
    fitted: dict[str, float] = {}
    for index, label in enumerate(labels):
        curve = average_precision(truths, detections, index)
        if not curve.truths or not (curve.precision > 0).any():
            continue
        both = np.maximum(curve.precision + curve.recall, 1e-12)
        best = int(np.argmax(2 * curve.precision * curve.recall / both))
        below = curve.scores[best + 1] if best + 1 < len(curve.scores) else 0.0
        fitted[label] = round(float(curve.scores[best] + below) / 2, 4)
    return fitted


def shown(detections: Detections, thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """Which detections reach the threshold of their class; thresholds: (C,), one a label."""
    # compared in float32, as scores are: a score of 0.55 reaches a threshold written 0.55
    return np.asarray(detections.scores >= np.asarray(thresholds, np.float32)[detections.labels])
