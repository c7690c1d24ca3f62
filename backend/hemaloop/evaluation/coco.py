"""COCO's mAP and mAP50 by torchmetrics and faster-coco-eval. Imports torch: import this module where it is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torchmetrics.detection import MeanAveragePrecision

from hemaloop.evaluation.overlap import area
from hemaloop.plugin import Detections

_DETECTIONS_PER_IMAGE = [1, 10, 1000]
"""COCO looks at the best 100 of an image; a smear may hold more cells than that."""


def coco_figures(truths: Sequence[Detections], detections: Sequence[Detections]) -> tuple[float, float]:
    """COCO's mAP over IoU 0.50 to 0.95 and its mAP at 0.50, over the classes with truth; NaN where there is none."""
    metric = MeanAveragePrecision(backend="faster_coco_eval", max_detection_thresholds=_DETECTIONS_PER_IMAGE)
    metric.warn_on_many_detections = False
    metric.update([_prediction(found) for found in detections], [_target(truth) for truth in truths])
    figures = metric.compute()
    return _known(figures["map"]), _known(figures["map_50"])


def _prediction(found: Detections) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor(found.boxes, dtype=torch.float32),
        "labels": torch.tensor(found.labels, dtype=torch.int64),
        "scores": torch.tensor(found.scores, dtype=torch.float32),
    }


def _target(truth: Detections) -> dict[str, torch.Tensor]:
    real = area(truth.boxes) > 0
    return {
        "boxes": torch.tensor(truth.boxes[real], dtype=torch.float32),
        "labels": torch.tensor(truth.labels[real], dtype=torch.int64),
    }


def _known(value: torch.Tensor) -> float:
    """torchmetrics writes -1 for "no truth"."""
    return float(value) if float(value) >= 0 else math.nan
