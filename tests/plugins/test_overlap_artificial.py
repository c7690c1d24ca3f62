"""Section 3.2 of the overlap paper, step by step on numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hemaloop_overlap_unet import artificial


def pixel(*grey: float) -> artificial.Picture:
    """Pixels in a row, the same in every channel: (1, n, 3)."""
    return np.repeat(np.array([grey], np.float32)[..., None], 3, axis=2)


BELOW, ABOVE = pixel(100, 150, 200), pixel(120, 90, 200)
CELLS = np.array([[True, True, False]])


def test_the_minimum_image_takes_the_darker_pixel() -> None:
    assert artificial.minimum_image(BELOW, ABOVE)[0, :, 0].tolist() == [100, 90, 200]


def test_the_overdrawn_image_hides_what_lies_below() -> None:
    assert artificial.overdrawn_image(BELOW, ABOVE, CELLS)[0, :, 0].tolist() == [120, 90, 200]


def test_the_mixture_weighs_the_minimum_with_a() -> None:
    mixed = artificial.mixed(
        0.25, artificial.minimum_image(BELOW, ABOVE), artificial.overdrawn_image(BELOW, ABOVE, CELLS)
    )
    assert mixed[0, :, 0].tolist() == [0.25 * 100 + 0.75 * 120, 90, 200]


def test_light_through_two_cells_is_absorbed_twice() -> None:
    assert artificial.absorbed_twice(pixel(100), pixel(120), pixel(200))[0, 0, 0] == pytest.approx(100 * 120 / 200)


def test_masks_are_summed_and_clipped_at_two() -> None:
    below = np.array([[0, 1, 1, 2, 0]], np.uint8)
    above = np.array([[False, False, True, True, True]])
    assert artificial.summed_masks(below, above).tolist() == [[0, 1, 2, 2, 1]]


def test_the_mixing_weight_is_bathtub_shaped() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([artificial.mixing_weight(rng) for _ in range(4000)])
    edges, middle = np.mean((drawn < 0.1) | (drawn > 0.9)), np.mean((drawn > 0.45) & (drawn < 0.55))
    # of Beta(0.7, 0.7): 0.32 within a tenth of either end, 0.07 in the middle tenth
    assert edges == pytest.approx(0.32, abs=0.04)
    assert middle == pytest.approx(0.07, abs=0.02)


def test_half_of_the_pictures_are_blurred_by_one_to_two_px() -> None:
    rng = np.random.default_rng(0)
    sigmas = np.array([artificial.blur_sigma(rng, artificial.PAPER_DIAMETER) for _ in range(2000)])
    assert np.mean(sigmas > 0) == pytest.approx(0.5, abs=0.04)
    assert sigmas[sigmas > 0].min() >= 1
    assert sigmas.max() <= 2


def test_blur_of_nothing_changes_nothing() -> None:
    assert artificial.blurred(BELOW, 0.0) is BELOW


@pytest.mark.parametrize("times", [0.5, 1, 2])
def test_rouleaux_shift_by_20_to_30_px_at_the_papers_cell_size(times: float) -> None:
    rng = np.random.default_rng(0)
    shifts = [artificial.rouleau_shift(rng, times * artificial.PAPER_DIAMETER) for _ in range(500)]
    lengths = np.hypot(*np.array(shifts, float).T) / times
    assert lengths.min() >= 20 - 1 / times
    assert lengths.max() <= 30 + 1 / times
    quarters = {(down >= 0, right >= 0) for down, right in shifts}
    assert len(quarters) == 4


def test_each_cell_absorbs_more_or_less_as_a_whole_and_the_background_stays() -> None:
    light = np.full((40, 90, 3), 200, np.float32)
    cells = np.zeros((40, 90), bool)
    cells[10:30, 10:30] = cells[10:30, 50:70] = True
    picture = np.where(cells[..., None], np.float32(120), light)
    found = artificial.unequal(picture, light, cells, np.random.default_rng(0))
    first, second = found[15:25, 15:25], found[15:25, 55:65]
    assert (np.ptp(first), np.ptp(second)) == pytest.approx((0, 0), abs=1e-2)
    # the same stain in every channel, and another amount of it in each cell
    assert abs(float(first.mean()) - float(second.mean())) > 3
    assert found[0] == pytest.approx(light[0])


def test_patches_change_what_is_stained_smoothly_and_nothing_else() -> None:
    light = np.full((80, 80, 3), 200, np.float32)
    picture = light.copy()
    picture[20:60, 20:60] = 100
    rng = np.random.default_rng(1)
    found = artificial.patchy(picture, light, 40, rng)
    assert found[:15] == pytest.approx(light[:15])
    inside = found[22:58, 22:58, 1]
    assert np.ptp(inside) > 10
    assert np.abs(np.diff(inside, axis=0)).max() < 0.35 * np.ptp(inside)
