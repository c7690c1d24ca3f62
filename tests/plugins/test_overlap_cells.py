"""Individual cells from the three-class map."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hemaloop_overlap_unet.cells import find_cells
from hemaloop_overlap_unet.tidying import tidied


def discs(*middles: tuple[float, float], radius: float = 12, size: tuple[int, int] = (100, 140)) -> NDArray[np.uint8]:
    """How many of the discs cover each pixel, two at most. middles: x, y in px."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    covered = sum(((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).astype(np.uint8) for x, y in middles)
    return np.minimum(covered, 2).astype(np.uint8)


ALONE = ((20, 80), (60, 80), (100, 80))
"""Three free-standing cells, which tell the usual size."""


@pytest.mark.parametrize(
    ("clump", "cells"),
    [
        (((40, 30),), 1),
        (((40, 30), (57, 30)), 2),
        (((40, 30), (49, 30)), 2),
        (((40, 30), (61, 30)), 2),
        (((30, 30), (48, 30), (66, 30)), 3),
        (((30, 30), (48, 30), (39, 43)), 3),
        (((20, 30), (37, 30), (54, 30), (71, 30), (88, 30)), 5),
    ],
    ids=["alone", "pair", "close pair", "just overlapping", "chain of three", "clover", "rouleau of five"],
)
def test_cells_that_overlap_are_counted_one_by_one(clump: tuple[tuple[float, float], ...], cells: int) -> None:
    assert len(find_cells(discs(*ALONE, *clump))) == len(ALONE) + cells


def test_the_usual_size_is_told_by_cells_in_clumps_where_none_stands_free() -> None:
    """A heap without a gap holds a disc larger than a cell."""
    pair, heap = ((15, 20), (34, 20)), ((80, 40), (99, 40), (89, 56), (108, 56), (99, 72), (80, 72))
    chain = ((15, 85), (33, 85), (51, 85))
    found = find_cells(discs(*pair, *heap, *chain))
    assert 20 <= found.diameter <= 28, "24 px"
    assert find_cells(discs((40, 30), (80, 30))).diameter == pytest.approx(24, abs=0.5), "two that stand free"


def test_cells_that_only_touch_are_parted_at_their_waist() -> None:
    assert len(find_cells(np.minimum(discs(*ALONE, (40, 30), (63, 30)), 1))) == len(ALONE) + 2


def test_an_overlap_belongs_to_both_cells() -> None:
    found = find_cells(discs((40, 40), (56, 40)))
    areas = [cell.area for cell in found.cells]
    assert areas == pytest.approx([np.pi * 144, np.pi * 144], rel=0.05)
    overlap = int((found.classes == 2).sum())
    assert [cell.overlap_fraction for cell in found.cells] == pytest.approx([overlap / area for area in areas])


def test_a_cell_that_lies_on_another_as_a_whole_is_counted() -> None:
    inside = discs((40, 30), radius=16)
    inside[discs((40, 30), radius=12) > 0] = 2
    assert len(find_cells(np.maximum(discs(*ALONE), inside))) == len(ALONE) + 2


def test_a_cell_cut_by_the_frame_counts_but_does_not_widen_the_distribution() -> None:
    whole = find_cells(discs(*ALONE))
    cut = find_cells(discs(*ALONE, (0, 30)))
    assert len(cut) == len(whole) + 1
    assert cut.distribution_width == whole.distribution_width


def test_measures_of_a_disc_are_those_of_a_disc() -> None:
    (cell,) = find_cells(discs((50, 50), radius=20)).cells
    assert cell.diameter == pytest.approx(40, rel=0.02)
    assert cell.roundness == pytest.approx(1, abs=0.06)
    outline = cell.outline()
    assert np.hypot(*(outline - (50.5, 50.5)).T) == pytest.approx(np.full(len(outline), 20), abs=1)


def test_equal_cells_have_no_distribution_width_and_odd_ones_have() -> None:
    assert find_cells(discs(*ALONE)).distribution_width == 0
    odd = np.maximum(discs(*ALONE), discs((40, 30), radius=16))
    # diameters 24 three times and 32: mean 26, standard deviation 3.46
    assert find_cells(odd).distribution_width == pytest.approx(100 * 3.464 / 26, rel=0.05)


@pytest.mark.parametrize("value", [0, 1, 2])
def test_a_map_of_one_value_gives_finite_numbers(value: int) -> None:
    found = find_cells(np.full((40, 50), value, np.uint8))
    assert np.isfinite(list(found.measurements().values())).all()
    assert (len(found) == 0) == (value == 0)


def test_tidying_removes_crumbs_and_specks_and_leaves_cells() -> None:
    clean = discs(*ALONE, (40, 30), (57, 30))
    spoilt = clean.copy()
    spoilt[5, 5] = 1
    spoilt[80, 20] = 2
    spoilt[80, 60] = 0
    assert np.array_equal(tidied(spoilt, 24), clean)


def test_the_centre_of_a_target_cell_is_no_overlap() -> None:
    target = discs(*ALONE)
    target[discs((60, 80), radius=5) > 0] = 2
    assert np.array_equal(tidied(target, 24), discs(*ALONE))


@pytest.mark.parametrize(
    "clump",
    [((40, 30), (57, 30)), ((40, 30), (62, 30)), ((30, 30), (48, 30), (39, 43)), ((4, 30), (-6, 30))],
    ids=["pair", "just overlapping", "clover", "at the frame"],
)
def test_tidying_leaves_overlaps_of_two_cells(clump: tuple[tuple[float, float], ...]) -> None:
    overlapping = discs(*ALONE, *clump)
    assert (overlapping == 2).any()
    assert np.array_equal(tidied(overlapping, 24), overlapping)


def test_tidying_leaves_a_cell_that_lies_on_another_as_a_whole() -> None:
    stacked = discs((40, 30), radius=16)
    stacked[discs((40, 30), radius=10) > 0] = 2
    assert np.array_equal(tidied(stacked, 24), stacked)
