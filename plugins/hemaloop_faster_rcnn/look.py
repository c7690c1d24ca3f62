"""One look of the network at one image, stage by stage, and what later questions about it need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

SMALLEST = 0.01
"""Boxes with a shorter side, px, are dropped (torchvision's)."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What the network made of one resized image of `shape` (h, w) px.

    finest: its map of the smallest stride, (C, h', w'). proposals: (P, 4) px. pooled: their features, (P, C, S, S).
    lower: (P, units), what of the box head lies before its first dropout. probabilities: (P, classes), the background
    first. boxes (D, 4) px, labels (D,) from 0 on, scores (D,): what was detected, by falling score. origins: int64
    (D,), the proposal that each detection came from.
    """

    shape: tuple[int, int]
    finest: Tensor
    proposals: Tensor
    pooled: Tensor
    lower: Tensor
    probabilities: Tensor
    boxes: Tensor
    labels: Tensor
    scores: Tensor
    origins: Tensor


@torch.inference_mode()
def look(network: nn.Module, pixels: Tensor) -> Look:
    """Detect on (3, h, w) in [0, 1], exactly as calling the network does."""
    parts: Any = network
    images, _ = parts.transform([pixels])
    maps = parts.backbone(images.tensors)
    (proposals,), _ = parts.rpn(images, maps)
    heads = parts.roi_heads
    pooled = heads.box_roi_pool(maps, [proposals], images.image_sizes)
    lower = heads.box_head.lower(pooled)
    probabilities, boxes = classified(heads, heads.box_head.upper(lower), proposals, images.image_sizes[0])
    detected = detections(heads, probabilities, boxes)
    return Look(images.image_sizes[0], maps["0"][0], proposals, pooled, lower, probabilities, *detected)


def classified(heads: Any, units: Tensor, proposals: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Of units (P, units): probabilities (P, classes), and a box in the image for each class, (P, classes, 4) px."""
    logits, deltas = heads.box_predictor(units)
    boxes: Tensor = heads.box_coder.decode(deltas, [proposals])
    return torch.softmax(logits, -1), clip_boxes_to_image(boxes, shape)


def detections(heads: Any, probabilities: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """torchvision's choice of boxes, labels and scores, with the proposal that each came from.

    Every class of every proposal above the score floor, after NMS within its class, by falling score.
    """
    origins, labels = torch.where(probabilities[:, 1:] > heads.score_thresh)
    chosen, scores = boxes[origins, labels + 1], probabilities[origins, labels + 1]
    large = remove_small_boxes(chosen, SMALLEST)
    chosen, labels, scores, origins = (each[large] for each in (chosen, labels, scores, origins))
    kept = batched_nms(chosen, scores, labels, heads.nms_thresh)[: heads.detections_per_img]
    return chosen[kept], labels[kept], scores[kept], origins[kept]
