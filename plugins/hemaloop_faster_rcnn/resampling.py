"""Images at the size that the network works on, and its boxes back in px of the image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

LONGEST = 1333 / 800
"""Longer side at most, in shorter sides (torchvision's): a strip is shrunk further rather than made huge."""


def resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """Resample (3, H, W), uint8 or float, to (3, height, width), band-limited so that shrinking does not alias."""
    if pixels.shape[1:] == (height, width):
        return pixels
    return F.interpolate(pixels[None], size=(height, width), mode="bilinear", align_corners=False, antialias=True)[0]


def fitted_size(height: int, width: int, shorter_side: int) -> tuple[int, int]:
    """Height and width, px, so that the shorter side is `shorter_side` and the longer at most `LONGEST` times that."""
    scale = min(shorter_side / min(height, width), LONGEST * shorter_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def to_network(image: NDArray[np.uint8], shorter_side: int) -> tuple[Tensor, NDArray[np.float32]]:
    """uint8 (H, W, 3) → float32 (3, h, w) in [0, 1], and the factors (4,) that bring ``[x1 y1 x2 y2]`` back."""
    height, width = image.shape[:2]
    tall, wide = fitted_size(height, width, shorter_side)
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    back = np.array([width / wide, height / tall] * 2, np.float32)
    return resize(pixels, tall, wide).float() / 255, back
