"""The network: Faster R-CNN (Ren et al. 2015, arXiv 1506.01497) on a feature pyramid, from torchvision's parts.

    image → backbone → region proposals → box head → class scores and boxes

The slim head is sized for cells: 128 channels, anchors in half-octave steps from 16 px, a box head of 256 units.
The paper's backbone keeps torchvision's own full-size head instead, so that its published weights fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.rpn import AnchorGenerator, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d

from hemaloop_faster_rcnn.backbone import BACKBONES, body_of
from hemaloop_faster_rcnn.head import BoxHead
from hemaloop_faster_rcnn.ignored import CellHeads, ProposalNetwork
from hemaloop_faster_rcnn.pooling import RoIPooling

POOLED = 7
"""Side of the feature map that a proposal is resampled to."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of R, G and B in [0, 1], as every published backbone expects."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a network is built from. classes: labels without the background. dropout: share, in the box head."""

    backbone: str
    classes: int
    normalisation: Literal["batch", "frozen"]
    dropout: float = 0.0


@dataclass(frozen=True, slots=True)
class Size:
    """Of all that stands on a backbone.

    channels: of its maps. anchors: their sides, px of the resized image, on each map; ratios: height over width. maps:
    those that proposals are pooled from. units: of the box head. candidates, proposals: before and after NMS, in
    training and in use. boxes: proposals of a picture that a training step looks at, at most the share `cells` of them
    cells. detections: of an image, at most.
    """

    channels: int
    anchors: tuple[tuple[int, ...], ...]
    ratios: tuple[float, ...]
    maps: tuple[str, ...]
    units: int
    candidates: tuple[int, int]
    proposals: tuple[int, int]
    boxes: int
    cells: float
    detections: int


SLIM = Size(
    channels=128,
    anchors=((16, 23), (32, 45), (64, 90), (128, 181)),  # strides 8, 16, 32 and 64
    ratios=(0.8, 1.25),  # cells are round, those at an edge are not
    maps=("0", "1", "2"),
    units=256,
    candidates=(800, 600),
    proposals=(400, 300),
    boxes=128,
    cells=0.33,
    detections=300,
)
ONE_MAP = replace(SLIM, anchors=(sum(SLIM.anchors, ()),), maps=("0",))
"""Of a backbone whose single map carries every size."""
TORCHVISION = Size(
    channels=256,
    anchors=((32,), (64,), (128,), (256,), (512,)),
    ratios=(0.5, 1.0, 2.0),
    maps=("0", "1", "2", "3"),
    units=1024,
    candidates=(2000, 1000),
    proposals=(2000, 1000),
    boxes=512,
    cells=0.25,
    detections=100,
)
SIZES = {"resnet50_fpn": TORCHVISION, "vgg16": ONE_MAP}
"""Of the backbones whose head is not the slim one."""


class PreparedImages(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's normalisation and padding for images that are already resized, in training and in use."""

    def __init__(self) -> None:
        super().__init__(min_size=0, max_size=0, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD)

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Nothing: see `resampling`."""
        return image, target


def build(architecture: Architecture, nms: float, score_floor: float) -> nn.Module:
    """A network with random weights, on the processor. It expects images that are already resized.

    Training: (list of (3, H, W) in [0, 1], list of {"boxes", "labels", "ignore"}) → dict of four losses; labels begin
    at 1. In use: list of (3, H, W) → list of {"boxes" (N, 4), "labels" (N,), "scores" (N,)}, after NMS, from
    `score_floor`.
    """
    size = SIZES.get(architecture.backbone, SLIM)
    norm: Any = FrozenBatchNorm2d if architecture.normalisation == "frozen" else nn.BatchNorm2d
    backbone = BACKBONES[architecture.backbone](size.channels, norm)
    head = BoxHead(size.channels * POOLED**2, size.units, architecture.dropout)
    predictor = FastRCNNPredictor(size.units, architecture.classes + 1)
    anchors = AnchorGenerator(size.anchors, (size.ratios,) * len(size.anchors))
    proposals = ProposalNetwork(
        anchors,
        RPNHead(size.channels, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n=dict(zip(("training", "testing"), size.candidates, strict=True)),
        post_nms_top_n=dict(zip(("training", "testing"), size.proposals, strict=True)),
        nms_thresh=0.7,
    )
    heads = CellHeads(
        RoIPooling(list(size.maps), output_size=POOLED, sampling_ratio=2),
        head,
        predictor,
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=size.boxes,
        positive_fraction=size.cells,
        bbox_reg_weights=None,
        score_thresh=score_floor,
        nms_thresh=nms,
        detections_per_img=size.detections,
    )
    network: nn.Module = GeneralizedRCNN(backbone, proposals, heads, PreparedImages())
    return network.to(memory_format=torch.channels_last)


def freeze_backbone(network: nn.Module) -> None:
    """Exclude the backbone's body from training; its pyramid still learns."""
    backbone: Any = network.backbone
    for parameter in body_of(backbone).parameters():
        parameter.requires_grad_(False)


def renew_box_head(network: nn.Module) -> None:
    """Random weights for the layers between pooling and class."""
    parts: Any = network
    for layer in (parts.roi_heads.box_head.fc6, parts.roi_heads.box_head.fc7):
        layer.reset_parameters()


def train_mode(network: nn.Module) -> None:
    """Training mode, but for frozen normalisation, whose statistics must not move either."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()
