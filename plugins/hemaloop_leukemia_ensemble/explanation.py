"""Where on a cell the ensemble saw what it says: class activation maps (Zhou et al. 2016; Selvaraju et al. 2017).

The map of a label is the last maps of the backbones, each channel weighed by how much the label's logit grows with its
mean. For models A and B that is the class activation map itself, because one layer follows the mean; for the combined
model it is Grad-CAM's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from hemaloop_leukemia_ensemble.network import Ensemble, Look


def activation(network: Ensemble, look: Look, member: int, label: int) -> NDArray[np.float32]:
    """(h, w) of one image, >= 0: what speaks for a label in the eyes of a member (0 A, 1 B, 2 combined)."""
    pooled = [features.detach().clone().requires_grad_() for features in look.pooled]
    with torch.enable_grad():
        logits = (
            network.combined(*pooled) if member == 2 else (network.a, network.b)[member].head(pooled[member])
        )  # (1, C)
        used = pooled if member == 2 else [pooled[member]]
        gradients = torch.autograd.grad(logits[0, label], used)
    chosen = look.maps if member == 2 else (look.maps[member],)
    total: Tensor = sum((_weighed(maps[0], gradient[0]) for maps, gradient in zip(chosen, gradients, strict=True)))  # type: ignore[assignment]
    return np.asarray(total.clamp(min=0).detach().cpu().numpy(), np.float32)


def _weighed(maps: Tensor, gradient: Tensor) -> Tensor:
    found: Tensor = (maps * gradient[:, None, None]).sum(dim=0)  # (F, h, w) -> (h, w)
    return found


def on_image(
    heat: NDArray[np.float32], box: tuple[float, float, float, float], height: int, width: int
) -> NDArray[np.float32]:
    """Heat (h, w) of the square `box`, px, as (height, width) of the image, largest value 1; 0 outside the square."""
    x1, y1, x2, y2 = (round(value) for value in box)
    side = max(1, x2 - x1, y2 - y1)
    smooth: Any = Pillow.fromarray(heat).resize((side, side), Pillow.Resampling.BICUBIC)
    square = np.asarray(smooth, np.float32).clip(min=0)
    found = np.zeros((height, width), np.float32)
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x1 + side, width), min(y1 + side, height)
    found[top:bottom, left:right] = square[top - y1 : bottom - y1, left - x1 : right - x1]
    largest = float(found.max(initial=0))
    return found / np.float32(largest) if largest > 0 else found
