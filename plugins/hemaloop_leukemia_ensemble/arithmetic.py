"""Where and how precisely the networks compute."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A device and the type of number that backbones compute in there."""

    device: torch.device
    dtype: torch.dtype

    def features(self, backbone: nn.Module, pixels: Tensor) -> Tensor:
        """What a backbone makes of pixels, in float32; weights stay float32 and are reduced where they are used."""
        reduced = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=reduced):
            found: Tensor = backbone(pixels)
        return found.float()


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
