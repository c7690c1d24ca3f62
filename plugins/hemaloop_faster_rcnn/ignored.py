"""Regions that nobody labelled: what lies in them is neither a cell to learn nor background.

An anchor or proposal that matches no truth box is background to Faster R-CNN. Where at least half of it lies in ignore
regions, it is left out of every loss instead. Anchors and proposals that match a truth box are learned as ever.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import box_area, box_iou

MOSTLY = 0.5
"""Share of a box inside ignore regions from which it is left out."""

Targets = list[dict[str, Tensor]]
"""A training picture each: "boxes" (N, 4) px, "labels" int64 (N,) from 1 on, "ignore" (K, 4) px."""


def share_inside(boxes: Tensor, regions: Tensor) -> Tensor:
    """Share, (N,), of each box (N, 4) that lies in regions (K, 4); where regions overlap, they count twice."""
    top_left = torch.maximum(boxes[:, None, :2], regions[None, :, :2])  # (N, K, 2)
    bottom_right = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared: Tensor = (bottom_right - top_left).clamp(min=0).prod(dim=2).sum(dim=1)
    areas: Tensor = box_area(boxes)
    return shared / areas.clamp(min=torch.finfo(areas.dtype).tiny)


class ProposalNetwork(RegionProposalNetwork):  # type: ignore[misc]
    """torchvision's, whose anchors in ignore regions are no background."""

    def assign_targets_to_anchors(self, anchors: list[Tensor], targets: Targets) -> tuple[list[Tensor], list[Tensor]]:
        """Like torchvision's: labels 1 cell, 0 background, -1 left out, and the truth box of each anchor."""
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        for label, anchor, target in zip(labels, anchors, targets, strict=True):
            if len(target["ignore"]):
                label[(label == 0) & (share_inside(anchor, target["ignore"]) >= MOSTLY)] = -1.0
        return labels, boxes

    def compute_loss(
        self, objectness: Tensor, deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Like torchvision's; 0, not NaN, where every anchor is left out."""
        if not any(bool((label >= 0).any()) for label in labels):
            return 0 * objectness.sum(), 0 * deltas.sum()
        losses: tuple[Tensor, Tensor] = super().compute_loss(objectness, deltas, labels, regression_targets)
        return losses


class CellHeads(RoIHeads):  # type: ignore[misc]
    """torchvision's, whose proposals in ignore regions are no background."""

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Targets | None = None,
    ) -> Any:
        """Like torchvision's: detections and losses."""
        if self.training and targets is not None:
            proposals = [self._learnable(*each) for each in zip(proposals, targets, strict=True)]
            if not any(map(len, proposals)) and not any(len(target["boxes"]) for target in targets):
                nothing = 0 * features["0"].sum()
                return [], {"loss_classifier": nothing, "loss_box_reg": nothing}
        return super().forward(features, proposals, image_shapes, targets)

    def _learnable(self, proposals: Tensor, target: dict[str, Tensor]) -> Tensor:
        """The proposals (N, 4) that match a truth box or lie outside the ignore regions."""
        if not len(target["ignore"]):
            return proposals
        kept = share_inside(proposals, target["ignore"]) < MOSTLY
        if len(target["boxes"]):
            kept |= box_iou(target["boxes"], proposals).amax(dim=0) >= self.proposal_matcher.low_threshold
        return proposals[kept]
