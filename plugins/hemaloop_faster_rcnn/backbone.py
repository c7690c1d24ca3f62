"""Feature extractors: what turns an image into a pyramid of feature maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

Norm = Callable[[int], nn.Module]


class SingleLevel(nn.Module):
    """A backbone without a pyramid: one map of stride 16, narrowed to `channels`.

    (B, 3, H, W) → {"0": (B, channels, H/16, W/16)}
    """

    def __init__(self, body: nn.Module, in_channels: int, channels: int) -> None:
        super().__init__()
        self.body = body
        self.narrow = nn.Conv2d(in_channels, channels, 1)
        self.out_channels = channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Feature map by name."""
        return {"0": self.narrow(self.body(images))}


def _pyramid(body: nn.Module, layers: dict[str, str], widths: list[int], channels: int) -> nn.Module:
    pyramid: nn.Module = BackboneWithFPN(body, layers, widths, channels, extra_blocks=LastLevelMaxPool())
    return pyramid


def resnet18(channels: int, norm: Norm) -> nn.Module:
    """ResNet-18 (He et al. 2016), strides 8, 16, 32 and 64: stride 4 would cost a third more time."""
    body = torchvision.models.resnet18(weights=None, norm_layer=norm)
    return _pyramid(body, {"layer2": "0", "layer3": "1", "layer4": "2"}, [128, 256, 512], channels)


def resnet50(channels: int, norm: Norm) -> nn.Module:
    """ResNet-50 with strides 4 to 64, named as torchvision names it, so that its published weights fit."""
    body = torchvision.models.resnet50(weights=None, norm_layer=norm)
    layers = {f"layer{stage}": str(stage - 1) for stage in (1, 2, 3, 4)}
    return _pyramid(body, layers, [256, 512, 1024, 2048], channels)


def mobilenet_v3_large(channels: int, norm: Norm) -> nn.Module:
    """MobileNetV3-Large (Howard et al. 2019), strides 8, 16, 32 and 64."""
    body = torchvision.models.mobilenet_v3_large(weights=None, norm_layer=norm).features
    return _pyramid(body, {"6": "0", "12": "1", "16": "2"}, [40, 112, 960], channels)


def vgg16(channels: int, norm: Norm) -> nn.Module:  # noqa: ARG001 - VGG has no normalisation to replace
    """VGG-16 (Simonyan and Zisserman 2015) up to its last pooling: one map of stride 16, as Ren et al. had it."""
    return SingleLevel(torchvision.models.vgg16(weights=None).features[:-1], 512, channels)


BACKBONES: dict[str, Callable[[int, Norm], nn.Module]] = {
    "resnet18_fpn": resnet18,
    "resnet50_fpn": resnet50,
    "mobilenet_v3_large_fpn": mobilenet_v3_large,
    "vgg16": vgg16,
}


def body_of(backbone: nn.Module) -> nn.Module:
    """The part that pretrained weights are for, without the pyramid on top."""
    body: Any = backbone.body
    if not isinstance(body, nn.Module):
        raise TypeError(f"backbone {type(backbone).__name__}: found no module 'body'")
    return body
