"""The U-Net: an encoder of residual blocks, a decoder with skip connections, three classes a pixel."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from hemaloop.errors import StoreError
from hemaloop.networks.arithmetic import Arithmetic, fold_normalisation
from hemaloop_overlap_unet.options import DecoderName, EncoderName

CLASSES = 3
"""Background, one red cell, overlap."""
WIDTHS = (256, 128, 64, 32, 16)
"""Channels of the decoder, from 1/16 of the resolution to all of it."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What decides the shapes of the weights. centres: whether a heatmap of the cells' centres follows the classes."""

    encoder: EncoderName
    depth: int
    decoder: DecoderName
    centres: bool = True

    @property
    def channels(self) -> int:
        """Maps that come out."""
        return CLASSES + self.centres


def build(architecture: Architecture, pretrained: bool = False) -> nn.Module:
    """A network (N, 3, H, W) -> logits (N, channels, H, W), H and W multiples of 2 ** depth, with first weights drawn.

    pretrained: the encoder's weights of ImageNet. Raises `StoreError` where these cannot be had.
    """
    depth = architecture.depth
    try:
        network: Any = smp.Unet(
            architecture.encoder,
            encoder_depth=depth,
            encoder_weights="imagenet" if pretrained else None,
            decoder_channels=WIDTHS[-depth:],
            classes=architecture.channels,
        )
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise StoreError(
            f"weights 'imagenet' of {architecture.encoder} could not be had ({error}); use weights 'none', or the path "
            "of a .safetensors file"
        ) from None
    if architecture.decoder == "pixelshuffle":
        network.decoder = PixelShuffleDecoder(network.encoder.out_channels, WIDTHS[-depth:])
    built: nn.Module = network
    return built


def icnr(weight: Tensor, factor: int = 2) -> None:
    """First weights of a sub-pixel convolution, in place: each group of factor² filters equal (Aitken et al. 2017).

    So the enlarged map begins as a nearest-neighbour enlargement, without a checkerboard. weight: (O, I, k, k).
    """
    few = torch.empty(weight.shape[0] // factor**2, *weight.shape[1:])
    nn.init.kaiming_normal_(few)
    with torch.no_grad():
        weight.copy_(few.repeat_interleave(factor**2, dim=0))


class PixelShuffleUp(nn.Sequential):
    """(N, I, H, W) -> (N, O, 2H, 2W): 1x1 convolution with ICNR weights, normalisation, ReLU, pixel shuffle."""

    def __init__(self, inward: int, outward: int) -> None:
        convolution = nn.Conv2d(inward, outward * 4, 1, bias=False)
        icnr(convolution.weight)
        super().__init__(convolution, nn.BatchNorm2d(outward * 4), nn.ReLU(), nn.PixelShuffle(2))


def _convolution(inward: int, outward: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inward, outward, 3, padding=1, bias=False), nn.BatchNorm2d(outward), nn.ReLU())


class PixelShuffleBlock(nn.Module):
    """Enlarge the map from below, join the skip connection, two convolutions (fastai's `UnetBlock`)."""

    def __init__(self, below: int, skip: int, outward: int) -> None:
        super().__init__()
        self.up = PixelShuffleUp(below, max(16, below // 2))
        self.first = _convolution(max(16, below // 2) + skip, outward)
        self.second = _convolution(outward, outward)

    def forward(self, below: Tensor, skip: Tensor | None) -> Tensor:
        """below: (N, C, H, W); skip: (N, S, 2H, 2W) or None -> (N, outward, 2H, 2W)."""
        up = self.up(below)
        joined = up if skip is None else torch.cat([up, skip], dim=1)
        return self.second(self.first(joined))  # type: ignore[no-any-return]


class PixelShuffleDecoder(nn.Module):
    """In place of segmentation-models-pytorch's decoder: the upsampling of the paper (section 3.4)."""

    def __init__(self, encoder_channels: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        inward = [*encoder_channels[:0:-1]]  # deepest first, the picture itself left out
        skips = [*inward[1:], 0]
        belows = [inward[0], *widths[:-1]]
        self.blocks = nn.ModuleList(map(PixelShuffleBlock, belows, skips, widths))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """features: from the picture's resolution down, as an encoder of segmentation-models-pytorch gives them."""
        deepest_first = [*features[:0:-1]]
        skips: list[Tensor | None] = [*deepest_first[1:], None]
        found = deepest_first[0]
        for block, skip in zip(self.blocks, skips, strict=True):
            found = block(found, skip)
        return found


def network_in_use(network: nn.Module, arithmetic: Arithmetic) -> nn.Module:
    """A copy for prediction alone."""
    used: nn.Module = copy.deepcopy(network).eval()
    fold_normalisation(used)
    used.requires_grad_(False).to(arithmetic.device, arithmetic.dtype)
    return used.to(memory_format=torch.channels_last)
