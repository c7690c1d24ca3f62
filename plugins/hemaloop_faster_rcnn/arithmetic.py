"""Which parts of the network compute in a reduced type of number, in training and in use."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from hemaloop.networks.arithmetic import Arithmetic, fold_normalisation


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
    if not arithmetic.reduced:
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


def network_in_use(network: nn.Module, arithmetic: Arithmetic) -> nn.Module:
    """A copy for prediction alone. Where convolutions are reduced, scores and boxes themselves stay float32."""
    used: Any = copy.deepcopy(network).eval()
    fold_normalisation(used.backbone)
    reduce_heavy_parts(used, arithmetic, Reduced)
    placed: nn.Module = used.requires_grad_(False).to(arithmetic.device, memory_format=torch.channels_last)
    return placed
