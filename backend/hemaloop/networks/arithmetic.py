"""Where and how precisely a network computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.ops import FrozenBatchNorm2d


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A device and the type of number that convolutions and products use there."""

    device: torch.device
    dtype: torch.dtype

    @property
    def reduced(self) -> bool:
        """Whether that is less than float32."""
        return self.dtype != torch.float32


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
