"""Where and how precisely the network computes."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.ops import FrozenBatchNorm2d


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A device and the type of number that convolutions and products use there."""

    device: torch.device
    dtype: torch.dtype


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # no public name in the oldest torch we accept
    return bool(supported and supported())


def arithmetic_for(device: str, precision: str) -> Arithmetic:
    """Device ``auto``: a GPU where there is one. Precision ``auto``: bfloat16 where the device has it."""
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    place = torch.device(chosen)
    reduced = precision == "bfloat16" or (precision == "auto" and has_bfloat16(place))
    return Arithmetic(place, torch.bfloat16 if reduced else torch.float32)


def _in_float32(found: Any) -> Any:
    return {name: value.float() for name, value in found.items()} if isinstance(found, dict) else found.float()


class Reduced(nn.Module):
    """A module that computes in another type of number and answers in float32, a tensor or a dict of tensors."""

    def __init__(self, inner: nn.Module, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.inner = inner.to(arithmetic.dtype)
        self.dtype = arithmetic.dtype

    def forward(self, values: Tensor) -> Any:
        """Like `inner`."""
        return _in_float32(self.inner(values.to(self.dtype)))


class Mixed(nn.Module):
    """The same for training: weights stay float32 and are reduced where they are used."""

    def __init__(self, inner: nn.Module, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.inner = inner
        self.arithmetic = arithmetic

    def forward(self, values: Tensor) -> Any:
        """Like `inner`."""
        with torch.autocast(self.arithmetic.device.type, self.arithmetic.dtype):
            return _in_float32(self.inner(values))


def reduce_heavy_parts(network: nn.Module, arithmetic: Arithmetic, wrapper: type[Reduced] | type[Mixed]) -> None:
    """Wrap the parts that do nearly all of the work, in place; nothing to do for float32.

    Anchors, boxes and what they are compared with must stay float32: bfloat16 knows only every other px above 256.
    """
    if arithmetic.dtype == torch.float32:
        return
    parts: Any = network
    parts.backbone = wrapper(parts.backbone, arithmetic)
    parts.rpn.head.conv = wrapper(parts.rpn.head.conv, arithmetic)
    parts.roi_heads.box_head.fc6 = wrapper(parts.roi_heads.box_head.fc6, arithmetic)
    parts.roi_heads.box_head.fc7 = wrapper(parts.roi_heads.box_head.fc7, arithmetic)


def unwrap(network: nn.Module) -> None:
    """Undo `reduce_heavy_parts` after a training."""
    parts: Any = network
    head = parts.roi_heads.box_head
    for owner, name in ((parts, "backbone"), (parts.rpn.head, "conv"), (head, "fc6"), (head, "fc7")):
        part = getattr(owner, name)
        if isinstance(part, Mixed):
            setattr(owner, name, part.inner)


def fold_normalisation(module: nn.Module) -> None:
    """Multiply every batch normalisation in use into the convolution before it, in place: same result, less work."""
    before: nn.Conv2d | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d | FrozenBatchNorm2d) and before is not None:
            norm: Any = child
            before.weight, bias = fuse_conv_bn_weights(
                before.weight, before.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            before.bias = bias
            setattr(module, name, nn.Identity())
        else:
            fold_normalisation(child)
        before = child if isinstance(child, nn.Conv2d) else None


def network_in_use(network: nn.Module, arithmetic: Arithmetic) -> nn.Module:
    """A copy for prediction alone. Where convolutions are reduced, scores and boxes themselves stay float32."""
    used: Any = copy.deepcopy(network).eval()
    fold_normalisation(used.backbone)
    reduce_heavy_parts(used, arithmetic, Reduced)
    placed: nn.Module = used.requires_grad_(False).to(arithmetic.device, memory_format=torch.channels_last)
    return placed
