"""Image augmentation of section 2.3: rotation, mirroring, Gaussian noise, contrast, colour channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

OPERATIONS = ("rotation", "horizontal flip", "vertical flip", "noise", "contrast", "colour")
NOISE = 0.04
"""Largest standard deviation of the noise, of white."""
CONTRAST = 0.3
"""Largest change of contrast, relative."""
COLOUR = 0.15
"""Largest change of a channel, relative."""


def chosen(count: int, generator: torch.Generator) -> Tensor:
    """Which operations each image gets, bool (N, operations): each by a coin, one by chance where none came up."""
    coins = torch.rand(count, len(OPERATIONS), generator=generator) < 0.5
    one = torch.randint(len(OPERATIONS), (count,), generator=generator)
    none = ~coins.any(dim=1)
    coins[none, one[none]] = True
    return coins


def augmented(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A copy of each image with one operation or several. pixels: float32 (N, 3, S, S) in [0, 1]."""
    count = len(pixels)
    which = chosen(count, generator)
    angle = (torch.rand(count, generator=generator) * 2 - 1) * math.pi
    turned = turn(pixels, torch.where(which[:, 0], angle, 0.0), which[:, 1], which[:, 2])
    amount = torch.rand(count, 1, 1, 1, generator=generator) * NOISE * which[:, 3, None, None, None]
    contrast = 1 + (torch.rand(count, 1, 1, 1, generator=generator) * 2 - 1) * CONTRAST * which[:, 4, None, None, None]
    gains = 1 + (torch.rand(count, 3, 1, 1, generator=generator) * 2 - 1) * COLOUR * which[:, 5, None, None, None]
    noise = torch.randn(turned.shape, generator=generator)
    mean = turned.mean(dim=(2, 3), keepdim=True)  # (N, 3, 1, 1)
    return (((turned - mean) * contrast + mean) * gains + noise * amount).clamp(0, 1)


def placed_anew(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Each image turned by quarters and mirrored, by chance: no pixel changes its value."""
    found = []
    for image in pixels:
        quarters, mirrored = (int(torch.randint(n, (), generator=generator)) for n in (4, 2))
        moved = torch.rot90(image, quarters, (1, 2))
        found.append(moved.flip(2) if mirrored else moved)
    return torch.stack(found)


def turn(pixels: Tensor, angles: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Turned by radians (N,) and mirrored where bool (N,) says so; what comes into view repeats the edge."""
    cosine, sine = angles.cos(), angles.sin()
    x, y = 1.0 - 2.0 * across.float(), 1.0 - 2.0 * down.float()
    zero = torch.zeros_like(angles)
    rows = torch.stack([torch.stack([cosine * x, -sine * y, zero], 1), torch.stack([sine * x, cosine * y, zero], 1)], 1)
    grid = F.affine_grid(rows, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
