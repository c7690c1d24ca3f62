"""The network: Faster R-CNN (Ren et al. 2015, arXiv 1506.01497) on a feature pyramid, from torchvision's parts.

    image → backbone → region proposals → box head → class scores and boxes

The slim head is sized for cells: 128 channels, anchors in half-octave steps from 16 px, a box head of 256 units.
The paper's backbone keeps torchvision's own full-size head instead, so that its published weights fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from hemaloop_faster_rcnn.backbone import BACKBONES, body_of

SLIM_CHANNELS = 128
SLIM_REPRESENTATION = 256
POOLED = 7
"""Side of the feature map that a proposal is resampled to."""

ANCHORS = ((16, 23), (32, 45), (64, 90), (128, 181))
"""Sides of the anchors of strides 8, 16, 32 and 64, px of the resized image."""
ANCHOR_RATIOS = (0.8, 1.25)
"""Height over width: cells are round, those at an edge are not."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of R, G and B in [0, 1], as every published backbone expects."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What must agree for weights to fit. classes: labels without the background."""

    backbone: str
    classes: int
    normalisation: Literal["batch", "frozen"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How many boxes pass each stage: proposals while training, boxes a training step looks at, proposals in use."""

    train_proposals: int = 400
    train_boxes: int = 128
    proposals: int = 300
    detections: int = 300


class PreparedImages(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's normalisation and padding for images that are already resized, in training and in use."""

    def __init__(self) -> None:
        super().__init__(min_size=0, max_size=0, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD)

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Nothing: see `resampling`."""
        return image, target


def build(architecture: Architecture, nms: float, score_floor: float, limits: Limits = Limits()) -> nn.Module:
    """A network with random weights, on the processor. It expects images that are already resized.

    Training: (list of (3, H, W) in [0, 1], list of {"boxes", "labels"}) → dict of four losses; labels begin at 1.
    In use: list of (3, H, W) → list of {"boxes" (N, 4), "labels" (N,), "scores" (N,)}, after NMS, from `score_floor`.
    """
    full_size = architecture.backbone == "resnet50_fpn"
    norm: Any = FrozenBatchNorm2d if architecture.normalisation == "frozen" else nn.BatchNorm2d
    backbone = BACKBONES[architecture.backbone](256 if full_size else SLIM_CHANNELS, norm)
    head: dict[str, Any] = {"num_classes": architecture.classes + 1}
    if not full_size:
        head = _slim_head(architecture.backbone, architecture.classes + 1, limits)
    network: nn.Module = TorchvisionFasterRCNN(backbone, box_nms_thresh=nms, box_score_thresh=score_floor, **head)
    network.transform = PreparedImages()
    return network.to(memory_format=torch.channels_last)


def _slim_head(backbone: str, classes: int, limits: Limits) -> dict[str, Any]:
    anchors: tuple[tuple[int, ...], ...] = ANCHORS
    maps = ["0", "1", "2"]
    if backbone == "vgg16":  # a single map carries every size
        anchors, maps = (tuple(side for level in ANCHORS for side in level),), ["0"]
    return {
        "rpn_anchor_generator": AnchorGenerator(anchors, (ANCHOR_RATIOS,) * len(anchors)),
        "box_roi_pool": MultiScaleRoIAlign(maps, output_size=POOLED, sampling_ratio=2),
        "box_head": TwoMLPHead(SLIM_CHANNELS * POOLED**2, SLIM_REPRESENTATION),
        "box_predictor": FastRCNNPredictor(SLIM_REPRESENTATION, classes),
        "rpn_pre_nms_top_n_train": 2 * limits.train_proposals,
        "rpn_post_nms_top_n_train": limits.train_proposals,
        "rpn_pre_nms_top_n_test": 2 * limits.proposals,
        "rpn_post_nms_top_n_test": limits.proposals,
        "box_batch_size_per_image": limits.train_boxes,
        "box_positive_fraction": 0.33,
        "box_detections_per_img": limits.detections,
    }


def freeze_backbone(network: nn.Module) -> None:
    """Exclude the backbone's body from training; its pyramid still learns."""
    backbone: Any = network.backbone
    for parameter in body_of(backbone).parameters():
        parameter.requires_grad_(False)


def train_mode(network: nn.Module) -> None:
    """Training mode, but for frozen normalisation, whose statistics must not move either."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()
