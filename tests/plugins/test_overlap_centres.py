"""Centres of cells: their heatmap, its peaks, and cells parted round them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hemaloop_overlap_unet.cells import find_cells
from hemaloop_overlap_unet.centres import FULL, SIGMA, heatmap, peaks
from plugins.test_overlap_cells import ALONE, discs

RADIUS = 12


def centres(*middles: tuple[float, float]) -> NDArray[np.float32]:
    return np.array(middles, np.float32).reshape(-1, 2) + np.float32(0.5)


def seen(*middles: tuple[float, float]) -> NDArray[np.float32]:
    """What a network sees that has learned: the larger of the Gaussians of all discs, in [0, 1]."""
    drawn = [heatmap(discs(middle) > 0, 2 * RADIUS) for middle in middles]
    return np.max(drawn, axis=0).astype(np.float32) / FULL


def test_a_heatmap_is_full_at_the_centre_of_each_cell_and_falls_to_its_outline() -> None:
    drawn = heatmap(discs(*ALONE) > 0, 2 * RADIUS)
    assert [drawn[y, x] for x, y in ALONE] == [FULL] * 3
    # a standard deviation of 0.15 diameters is 3.6 px; the outline lies 3.3 of them away
    assert drawn[80, 20 + 4] == pytest.approx(FULL * np.exp(-((4 / 3.6) ** 2) / 2), abs=1)
    assert drawn[80, 20 + RADIUS] < 0.01 * FULL
    assert not heatmap(np.zeros((9, 9), bool), 24).any()


@pytest.mark.parametrize(
    "cells",
    [((40, 30), (52, 30)), ((40, 30), (57, 30), (74, 30)), ((30, 30), (47, 30), (38, 44)), ((1, 30),)],
    ids=["rouleau", "chain", "clover", "at the frame"],
)
def test_peaks_are_where_the_cells_are(cells: tuple[tuple[float, float], ...]) -> None:
    found = peaks(seen(*ALONE, *cells), 2 * RADIUS)
    away = np.hypot(*(found[:, None] - np.array([*ALONE, *cells], np.float32)).transpose(2, 0, 1))
    assert away.shape == (len(ALONE) + len(cells),) * 2
    # what the frame cuts has the middle of what is seen of it
    assert away.min(axis=0).max() <= (1.5 if cells[0][0] > RADIUS else RADIUS)


def test_where_nothing_is_seen_there_is_no_centre() -> None:
    assert peaks(np.full((40, 40), 0.01, np.float32), 24).shape == (0, 2)
    assert peaks(np.ones((40, 40), np.float32), 0).shape == (0, 2)


def test_centres_tell_cells_apart_that_a_map_does_not() -> None:
    """Two cells side by side without a waist, and one long cell, are the same map."""
    long = discs(*ALONE)
    long[20:40, 30:64] = 1
    assert len(find_cells(long, centres(*ALONE, (38, 30), (55, 30)))) == len(ALONE) + 2
    assert len(find_cells(long, centres(*ALONE, (47, 30)))) == len(ALONE) + 1


def test_a_dumbbell_with_one_centre_is_one_cell() -> None:
    waist = np.minimum(discs(*ALONE, (40, 30), (58, 30)), 1)
    assert len(find_cells(waist)) == len(ALONE) + 2
    assert len(find_cells(waist, centres(*ALONE, (49, 30)))) == len(ALONE) + 1


def test_an_overlap_belongs_to_the_cells_round_it_alone() -> None:
    pairs = (40, 30), (57, 30), (74, 30)
    found = find_cells(discs(*ALONE, *pairs), centres(*ALONE, *pairs))
    clump = sorted((cell for cell in found.cells if cell.top < 40), key=lambda cell: cell.left)
    assert [cell.area for cell in clump] == pytest.approx([np.pi * RADIUS**2] * 3, rel=0.08)
    assert clump[1].overlap_fraction == pytest.approx(2 * clump[0].overlap_fraction, rel=0.1)


def test_a_cell_without_a_centre_is_counted_where_it_lies_beyond_all_others() -> None:
    assert len(find_cells(discs(*ALONE, (40, 30), (58, 30)), centres(*ALONE))) == len(ALONE) + 2, "by overlap"
    chain = discs(*ALONE, (20, 30), (38, 30), (60, 30))
    assert len(find_cells(chain, centres(*ALONE, (20, 30), (38, 30)))) == len(ALONE) + 3, "a rest"


def test_a_cell_of_which_the_frame_leaves_enough_has_a_centre_at_the_frame() -> None:
    """0.3 of a disc is left of one whose centre lies 0.16 diameters beyond the frame."""
    beyond = np.array([[np.hypot(x + 0.16 * 2 * RADIUS, y - 30) for x in range(140)] for y in range(100)])
    heat = np.maximum(seen(*ALONE, (20, 30)), np.exp(-((beyond / (SIGMA * 2 * RADIUS)) ** 2) / 2).astype(np.float32))
    found = peaks(heat, 2 * RADIUS)
    assert len(found) == len(ALONE) + 2
    cut = np.minimum(discs(*ALONE, (20, 30)) + (beyond <= RADIUS), 1).astype(np.uint8)
    assert len(find_cells(cut, found + np.float32(0.5))) == len(ALONE) + 2


def test_centres_beside_cells_count_nothing() -> None:
    assert len(find_cells(discs(*ALONE), centres(*ALONE, (120, 20)))) == len(ALONE)
    assert len(find_cells(discs(*ALONE), centres(*ALONE, (500, -20)))) == len(ALONE)
    assert len(find_cells(discs(*ALONE), centres())) == len(ALONE)
