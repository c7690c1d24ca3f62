"""What keeps surrounding cells out of the representation: sections 3.1 to 3.3 of the paper, one function an equation.

Lengths are px of the patch at hand. Random numbers come from the generator that is given and from nowhere else.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SMALLEST_RADIUS = 1.0
"""px below which a learned radius is not let, so that equation 3 stays finite."""


def distance(side: int) -> Tensor:
    """d(x, y) of section 3.1: of each pixel's middle from the patch's, px, float32 (side, side)."""
    along = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    return torch.hypot(along[None, :], along[:, None])


def noise_deviation(distances: Tensor, sigma: float, largest: float) -> Tensor:
    """Equation 2: σ · min(1, d / r_max), the shape of `distances`. sigma: σ; largest: r_max, half the patch, px."""
    return sigma * (distances / largest).clamp(max=1)


def with_noise(images: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
    """Equation 1: I + n, n ~ N(0, deviation²), on the scale of the images, which may leave its range.

    images: (N, 3, S, S); deviation: (S, S).
    """
    drawn = torch.randn(images.shape, generator=generator, dtype=images.dtype)
    return images + drawn * deviation


def mask(distances: Tensor, radius: Tensor | float) -> Tensor:
    """Equation 3: the weight of a pixel, max(0, 1 - √(d / r_max)), in [0, 1].

    distances: (S, S); radius: r_max > 0, a number, or (N, 1, 1) for weights (N, S, S).
    """
    # the square root has no slope at 0, which a learned radius would meet in the middle of an odd patch
    return (1 - (distances / radius).clamp(min=1e-6).sqrt()).clamp(min=0)


def linear_mask(distances: Tensor, radius: Tensor | float) -> Tensor:
    """max(0, 1 - d / r_max): the "linearly decreasing weights" of section 6. Arguments as for `mask`."""
    return (1 - distances / radius).clamp(min=0)


def drawn_radius(mean: float, deviation: float, generator: torch.Generator) -> float:
    """Section 3.2, sampled: r_max ~ N(μ, σ²), drawn again while it is not above 0. mean > 0."""
    while True:
        radius = mean + deviation * float(torch.randn((), generator=generator))
        if radius > 0:
            return radius


def learned_radius(mean: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
    """Section 3.2, learned: a sample of N(μ, σ²) through which gradients flow, (N,), `SMALLEST_RADIUS` at least."""
    drawn = torch.randn(mean.shape, generator=generator)
    return (mean + deviation * drawn).clamp(min=SMALLEST_RADIUS)


def radius_penalty(radius: Tensor, half: float) -> Tensor:
    """The further term of section 3.2, which the paper does not spell out: h / (h + r), from 1 at r = 0 falling to 0.

    radius: (N,); half: h, half the patch. Returns the mean over the batch.
    """
    return (half / (half + radius)).mean()


def crop_offset(count: int, deviation: float, generator: torch.Generator) -> Tensor:
    """Section 3.3: (x, y) by which patches are moved, (count, 2) px: r (cos α, sin α) with α uniform in [0, 2π), r ~
    |N(0, deviation²)|.
    """
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    far = (deviation * torch.randn(count, generator=generator)).abs()
    return far[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)


def cropped(images: Tensor, side: float, seen: int, offsets: Tensor | None = None) -> Tensor:
    """Squares of `side` px round the middle, each moved by its offset but kept inside, resized to `seen` px.

    images: (N, 3, S, S); offsets: (N, 2) px, none if None. Returns (N, 3, seen, seen).
    """
    size = images.shape[-1]
    if side > size:
        raise ValueError(f"crop: found {side:g} px, expected at most the patch's {size} px")
    room = (size - side) / 2
    moved = torch.zeros(len(images), 2) if offsets is None else offsets.clamp(-room, room)
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = side / size
    theta[:, :, 2] = moved * 2 / size  # a patch reaches from -1 to 1
    grid = torch.nn.functional.affine_grid(theta, [len(images), 3, seen, seen], align_corners=False)
    found: Tensor = torch.nn.functional.grid_sample(
        images, grid.to(images.dtype), padding_mode="border", align_corners=False
    )
    return found
