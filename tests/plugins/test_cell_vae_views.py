"""Two views of one cell: what may differ between them, and what the contrast of views rewards."""

from __future__ import annotations

import math

import pytest
import torch

from hemaloop.networks.arithmetic import arithmetic_for
from hemaloop.plugin import Silent
from hemaloop_cell_vae import representation, views
from hemaloop_cell_vae.options import CellVAEOptions
from hemaloop_cell_vae.suppression import distance


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_surroundings_are_exchanged_beyond_the_radius_and_the_cell_is_kept() -> None:
    images = torch.arange(6, dtype=torch.float32)[:, None, None, None].expand(6, 3, 32, 32) / 6
    found = views.among_others(images, torch.full((6,), 8.0), 1.0, generator())
    inside, outside = distance(32) < 3, distance(32) > 14
    torch.testing.assert_close(found[..., inside], images[..., inside], atol=5e-3, rtol=0)
    around = found[..., outside].mean(dim=(1, 2))
    assert sorted((around * 6).round().int().tolist()) == [0, 1, 2, 3, 4, 5], "each is among some cell's neighbours"
    assert not torch.allclose(around, images[:, 0, 0, 0], atol=0.05)


def test_a_share_of_0_exchanges_nothing() -> None:
    images = torch.rand(4, 3, 16, 16, generator=generator())
    assert torch.equal(views.among_others(images, torch.full((4,), 2.0), 0.0, generator()), images)


def test_a_placed_cell_stays_in_the_middle() -> None:
    images = torch.exp(-(distance(64) ** 2) / 50).expand(40, 3, 64, 64)
    found = views.placed(images, generator())
    rows = torch.arange(64) - 31.5
    weight = found[:, 0] / found[:, 0].sum(dim=(1, 2), keepdim=True)
    off = torch.hypot((weight.sum(dim=2) * rows).sum(dim=1), (weight.sum(dim=1) * rows).sum(dim=1))
    assert off.max() <= math.hypot(1, 1) * views.SHIFT * 32 * math.exp(views.SIZE)
    assert off.max() > 1, "it moves a little"


def test_another_view_stays_in_range_and_depends_on_the_generator_alone() -> None:
    images = torch.rand(5, 3, 32, 32, generator=generator(1))
    first, again, other = (views.another(images, 6.0, 0.5, generator(seed)) for seed in (2, 2, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1


def test_the_contrast_is_equation_1_of_the_paper_it_is_from() -> None:
    """Two cells, both views of a cell equal, the cells at right angles: -log(e^(1/t) / (e^(1/t) + 2))."""
    both = torch.eye(2)
    expected = math.log((math.exp(1 / 0.5) + 2) / math.exp(1 / 0.5))
    assert float(views.contrast(both, 3 * both, 0.5)) == pytest.approx(expected, rel=1e-5)
    assert views.contrast(both, both.flip(0), 0.5) > views.contrast(both, both, 0.5)


@pytest.mark.parametrize("suppression", ["sampled", "crop", "learned"])
def test_a_representation_that_learns_agreement_tells_views_of_one_cell_from_other_cells(suppression: str) -> None:
    from cells_pictures import on_smear

    pixels = torch.stack([torch.from_numpy(on_smear(one % 2, one, 32).copy()).permute(2, 0, 1) for one in range(24)])
    options = CellVAEOptions(image_size=32, latent=16, epochs=4, batch_size=12, suppression=suppression)
    network, told = representation.learn(pixels, options, arithmetic_for("cpu", "float32"), 0, Silent())
    assert told[-1]["contrast"] < told[0]["contrast"]
    assert told[-1]["contrast"] < math.log(2 * 12 - 1), "better than chance"
    assert "contrast" not in _learned(pixels, options.model_copy(update={"agreement": 0.0}))[0]
    assert not any("projection" in name for name in network.state_dict())


def _learned(pixels: torch.Tensor, options: CellVAEOptions) -> tuple[dict[str, float], ...]:
    few = options.model_copy(update={"epochs": 1})
    _, told = representation.learn(pixels, few, arithmetic_for("cpu", "float32"), 0, Silent())
    return tuple(map(dict, told))
