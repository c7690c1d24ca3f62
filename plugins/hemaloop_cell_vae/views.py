"""Two views of one cell that must look the same to the encoder, and the loss that says so.

Auto-encoding alone describes a cell by what takes up pixels; what tells types apart is often small. Views of one cell
that differ in nothing that matters (its turn, a little of its size and stain, and its neighbours, which are those of
another cell) are made to agree, and to differ from other cells: Chen et al. 2020, "A simple framework for contrastive
learning of visual representations". Not in the paper of this family. Random numbers come from the given generator.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hemaloop_cell_vae.suppression import distance

TURN = math.pi / 4
"""Radians, either way, beside quarter turns."""
SIZE = 0.15
"""Largest logarithm of a change of size, either way: a cell's size tells its type."""
SHIFT = 0.08
"""Of half a patch, either way."""
STAIN = 0.05
"""Standard deviation of the logarithm of how much a channel absorbs: more of it would hide granules' colours."""
SEAM = 1.0
"""px over which exchanged surroundings fade in."""
PROJECTED = (512, 128)
"""Units of the projection head, which is left behind after learning."""
_DARKEST = 1e-3


def another(images: Tensor, radius: float, share: float, generator: torch.Generator) -> Tensor:
    """A further view of each cell, images (N, 3, S, S) in [0, 1]. share: of those among another cell's surroundings,
    which begin at a distance drawn from [radius, 2 radius] px.
    """
    radii = radius * (1 + torch.rand(len(images), generator=generator))
    seen = placed(turned(images, generator), generator)
    return restained(among_others(seen, radii, share, generator), generator)


def turned(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image in one of its eight turned and mirrored views: a cell has no upper side."""
    found = images.clone()
    views = torch.randint(0, 8, (len(images),), generator=generator)
    for view in range(1, 8):
        chosen = views == view
        part = images[chosen]
        part = part.flip(-1) if view >= 4 else part
        found[chosen] = torch.rot90(part, view % 4, dims=(-2, -1))
    return found


def placed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image turned, enlarged or reduced and moved a little; edges are mirrored. (N, 3, S, S)."""
    count = len(images)
    angle = (torch.rand(count, generator=generator) * 2 - 1) * TURN
    size = torch.exp((torch.rand(count, generator=generator) * 2 - 1) * SIZE)
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) * SHIFT
    cos, sin = angle.cos() * size, angle.sin() * size
    rows = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    found: Tensor = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return found


def among_others(images: Tensor, radii: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A share of the images with the surroundings of another one beyond a radius from the middle.

    images: (N, 3, S, S); radii: (N,) px.
    """
    beyond = torch.sigmoid((distance(images.shape[-1]) - radii[:, None, None]) / SEAM)[:, None]
    others = images[torch.randperm(len(images), generator=generator)]
    chosen = (torch.rand(len(images), generator=generator) < share).to(images.dtype)[:, None, None, None]
    return images + beyond * chosen * (others - images)


def restained(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each channel absorbing more or less, under a lamp a little brighter or darker; within [0, 1]."""
    absorbed = torch.exp(torch.randn(len(images), 3, generator=generator) * STAIN)[:, :, None, None]
    lamp = torch.exp(torch.randn(len(images), 3, generator=generator) * STAIN / 4)[:, :, None, None]
    return (images.clamp(min=_DARKEST) ** absorbed * lamp).clamp(0, 1)


def contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent, equation 1 of Chen et al. 2020: each view's other one is to be nearer than all other cells' views.

    first, second: (N, D), the projections of two views of N cells.
    """
    both = F.normalize(torch.cat([first, second]), dim=1)
    likeness = (both @ both.T / temperature).fill_diagonal_(float("-inf"))
    count = len(first)
    other = torch.arange(2 * count, device=first.device).roll(count)
    return F.cross_entropy(likeness, other)


def projection(latent: int) -> nn.Module:
    """The head through which latents are compared (N, latent) -> (N, 128), with first weights at random."""
    hidden, out = PROJECTED
    return nn.Sequential(
        nn.Linear(latent, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out)
    )
