"""Masks of the cells that an annotator asks about, from a model that needs no training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from hemaloop.plugin import ClassMap, Prompt
from hemaloop.synthetic import render_smear
from hemaloop_overlap_unet import CLASSICAL, LABELS, OverlapUNet
from hemaloop_overlap_unet.cells import Cells


@pytest.fixture(scope="module")
def asked() -> tuple[OverlapUNet, Cells]:
    """The family with what it sees of a smear."""
    family = OverlapUNet(LABELS)
    family.load(CLASSICAL)
    return family, family.prepare(render_smear(3, width=320, height=240).image)


def answer(asked: tuple[OverlapUNet, Cells], boxes: Sequence[Any] = (), points: Sequence[Any] = ()) -> Any:
    """points: row, column, whether positive."""
    family, prepared = asked
    prompt = Prompt(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([(column + 0.5, row + 0.5) for row, column, _ in points], np.float32).reshape(-1, 2),
        np.array([positive for _, _, positive in points], bool),
    )
    found = family.prompt(prepared, prompt)
    assert isinstance(found, ClassMap)
    return found.labels


def test_a_point_gives_the_cell_under_it_and_nothing_else(asked: tuple[OverlapUNet, Cells]) -> None:
    cells = asked[1]
    assert len(cells) > 5
    for cell in cells.cells:
        rows, columns = np.nonzero(cell.mask)
        row, column = cell.top + rows[len(rows) // 2], cell.left + columns[len(rows) // 2]
        chosen = cells.at(row, column)
        assert chosen is not None
        expected = np.zeros(cells.classes.shape, bool)
        expected[chosen.window] = chosen.mask
        found = answer(asked, points=[(row, column, True)])
        assert np.array_equal(found, np.where(expected, cells.classes, 0))
        assert not answer(asked, points=[(row, column, True), (row, column, False)])[row, column]


def test_a_rectangle_round_a_cell_gives_it_and_leaves_its_neighbours(asked: tuple[OverlapUNet, Cells]) -> None:
    cells = asked[1]
    for cell in cells.cells:
        height, width = cell.mask.shape
        box = (cell.left, cell.top, cell.left + width, cell.top + height)
        found = answer(asked, [box])
        assert np.array_equal(found[cell.window][cell.mask], cells.classes[cell.window][cell.mask])
        outside = found.copy()
        outside[cell.window] = 0
        assert not outside.any()


def test_the_background_answers_nothing(asked: tuple[OverlapUNet, Cells]) -> None:
    row, column = np.argwhere(asked[1].classes == 0)[0]
    assert not answer(asked, points=[(row, column, True)]).any()
    assert not answer(asked).any()
