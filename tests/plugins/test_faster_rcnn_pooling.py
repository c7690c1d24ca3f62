"""Pooling and its gradient are torchvision's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from hemaloop_faster_rcnn.pooling import RoIPooling

SIZE = (480, 640)


def maps_of(levels: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(levels)
    sizes = [(2, 5, SIZE[0] // stride, SIZE[1] // stride) for stride in (8, 16, 32)[:levels]]
    return {str(level): torch.randn(size, generator=generator) for level, size in enumerate(sizes)}


def boxes_of(counts: tuple[int, int]) -> list[Tensor]:
    """For every map, some across the border, some without an area."""
    generator = torch.Generator().manual_seed(9)
    found = []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator) * torch.tensor([700.0, 550.0]) - 50
        side = torch.rand(count, 2, generator=generator) ** 2 * 900 * (torch.arange(count)[:, None] % 7 > 0)
        found.append(torch.cat([corner, corner + side], dim=1))
    return found


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("counts", [(40, 25), (0, 12), (0, 0)], ids=str)
def test_pooled_values_and_gradients_equal_torchvisions(levels: int, counts: tuple[int, int]) -> None:
    found = []
    for kind in (MultiScaleRoIAlign, RoIPooling):
        maps = {name: one.clone().requires_grad_() for name, one in maps_of(levels).items()}
        pooled = kind(list(maps), output_size=7, sampling_ratio=2)(maps, boxes_of(counts), [SIZE, SIZE])
        weights = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(4))
        (pooled * weights).sum().backward()
        found.append((pooled.detach(), [one.grad for one in maps.values()]))
    (expected, gradients), (pooled, own) = found
    assert torch.equal(pooled, expected)
    for one, other in zip(own, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert sum(counts) == 0 or all(float(one.abs().max()) > 0.1 for one in gradients if one is not None)
