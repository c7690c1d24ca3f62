"""Where and how precisely the network computes."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A device and the type of number that convolutions use there."""

    device: torch.device
    dtype: torch.dtype


def arithmetic_for(device: str, precision: str) -> Arithmetic:
    """Device ``auto``: a GPU where there is one. Precision ``auto``: bfloat16 where the device has it in hardware."""
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    place = torch.device(chosen)
    if place.type == "cuda":
        has = bool(torch.cuda.is_bf16_supported(including_emulation=False))
    else:
        supported = getattr(
            torch.cpu, "_is_avx512_bf16_supported", None
        )  # no public name in the oldest torch we accept
        has = bool(supported and supported())
    reduced = precision == "bfloat16" or (precision == "auto" and has)
    return Arithmetic(place, torch.bfloat16 if reduced else torch.float32)


def fold_normalisation(module: nn.Module) -> None:
    """Multiply every batch normalisation into the convolution before it, in place: same result, less work."""
    before: tuple[str, nn.Conv2d] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and before is not None:
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, nn.Identity())
        else:
            fold_normalisation(child)
        before = (name, child) if isinstance(child, nn.Conv2d) else None


def network_in_use(network: nn.Module, arithmetic: Arithmetic) -> nn.Module:
    """A copy for prediction alone."""
    used = copy.deepcopy(network).eval()
    fold_normalisation(used)
    used.requires_grad_(False).to(arithmetic.device, arithmetic.dtype)
    return used.to(memory_format=torch.channels_last)
