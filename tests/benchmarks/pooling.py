"""RoI pooling while a detector learns without a GPU: our gradient beside torchvision's, in turns."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torchvision.ops import MultiScaleRoIAlign

from benchmarks.rows import row
from hemaloop_faster_rcnn.detector import POOLED, SLIM
from hemaloop_faster_rcnn.pooling import RoIPooling

PICTURES = 4
BOXES = SLIM.boxes
SIDE = 352
TURNS = 10
MOST_SHARE = 0.5


def measure() -> list[dict[str, Any]]:
    """Seconds of pooling and its gradient for one training step of the default recipe, over torchvision's."""
    generator = torch.Generator().manual_seed(0)
    maps = {
        str(level): torch.randn(PICTURES, SLIM.channels, SIDE // stride, SIDE // stride, generator=generator)
        .to(memory_format=torch.channels_last)
        .requires_grad_()
        for level, stride in enumerate((8, 16, 32))
    }
    corners = [torch.rand(BOXES, 2, generator=generator) * (SIDE - 64) for _ in range(PICTURES)]
    boxes = [torch.cat([one, one + 64], dim=1) for one in corners]
    ours, theirs = (kind(list(maps), POOLED, 2) for kind in (RoIPooling, MultiScaleRoIAlign))
    samples = [(_seconds(ours, maps, boxes), _seconds(theirs, maps, boxes)) for _ in range(TURNS)]
    share = statistics.median(one for one, _ in samples) / statistics.median(other for _, other in samples)
    return [row(f"RoI pooling and its gradient, {PICTURES} x {BOXES} boxes: of torchvision's", MOST_SHARE, share, "×")]


def _seconds(pooling: Any, maps: dict[str, torch.Tensor], boxes: list[torch.Tensor]) -> float:
    began = time.perf_counter()
    pooled = pooling(maps, boxes, [(SIDE, SIDE)] * PICTURES)
    torch.autograd.grad(pooled.sum(), list(maps.values()), allow_unused=True)
    return time.perf_counter() - began
