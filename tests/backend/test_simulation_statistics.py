"""Figures of simulations, on curves worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hemaloop.simulation.figure import curves_figure, title
from hemaloop.simulation.folder import START, Point
from hemaloop.simulation.statistics import (
    RARE,
    Curves,
    curves_of,
    first_reached,
    gain,
    savings,
    stays_reached,
)


def curves(strategy: str, cells: list[list[float]], values: list[list[float]]) -> Curves:
    return Curves(strategy, tuple(range(len(cells))), np.array(cells), {"precision": np.array(values)})


def test_a_curve_reaches_a_value_between_its_points() -> None:
    cells, values = np.array([0.0, 100.0, 300.0]), np.array([0.2, 0.4, 0.8])
    assert first_reached(cells, values, 0.2) == 0
    assert first_reached(cells, values, 0.3) == pytest.approx(50)
    assert first_reached(cells, values, 0.5) == pytest.approx(150)
    assert first_reached(cells, values, 0.81) == math.inf


def test_a_curve_that_falls_back_reaches_a_value_earlier_than_it_stays_there() -> None:
    cells, values = np.array([0.0, 100.0, 200.0, 300.0]), np.array([0.2, 0.6, 0.4, 0.8])
    assert first_reached(cells, values, 0.5) == pytest.approx(75)
    assert stays_reached(cells, values, 0.5) == pytest.approx(225)
    assert stays_reached(cells, values, 0.1) == 0
    assert stays_reached(cells, values, 0.9) == math.inf


def test_savings_compare_cells_at_what_chance_reaches_in_the_end() -> None:
    chance = curves("random", [[100, 200, 300], [100, 200, 300]], [[0.1, 0.2, 0.3], [0.1, 0.2, 0.5]])
    better = curves("paper", [[100, 200, 500], [100, 200, 500]], [[0.1, 0.3, 0.8], [0.1, 0.3, 0.8]])
    found = savings(better, chance, "precision")
    assert found.target == pytest.approx(0.4)
    assert found.reference == pytest.approx(200)
    assert found.needed == pytest.approx(100 + 300 * 0.1 / 0.5)
    assert found.share.value == pytest.approx(160 / 200)
    assert found.share_in_all.value == pytest.approx(260 / 300)
    # drawing either seed alone asks for 0.3 or 0.5
    assert found.share.interval == (pytest.approx(100 / 200), pytest.approx(220 / 200))


def test_what_is_never_reached_is_infinite() -> None:
    chance = curves("random", [[100, 200]], [[0.1, 0.5]])
    worse = curves("paper", [[100, 400]], [[0.1, 0.2]])
    found = savings(worse, chance, "precision")
    assert found.share.value == math.inf
    assert found.share.interval is None


def test_gains_are_compared_at_the_cells_that_both_have() -> None:
    chance = curves("random", [[100, 200, 300]], [[0.1, 0.2, 0.3]])
    crowded = curves("paper", [[100, 300, 700]], [[0.1, 0.5, 0.9]])
    found = gain(crowded, chance, "precision")
    assert found.cells == 200
    assert (found.value, found.random) == (pytest.approx(0.5), pytest.approx(0.3))
    assert found.difference.value == pytest.approx(0.2)
    assert (found.gain, found.random_gain) == (pytest.approx(0.4), pytest.approx(0.2))
    assert found.ratio == pytest.approx(2.0)


def test_a_gain_where_chance_gains_nothing_has_no_ratio() -> None:
    chance = curves("random", [[100, 200]], [[0.3, 0.2]])
    found = gain(curves("paper", [[100, 200]], [[0.3, 0.4]]), chance, "precision")
    assert math.isnan(found.ratio)
    assert found.difference.value == pytest.approx(0.2)


def point(seed: int, strategy: str, number: int, cells: int, **figures: float) -> Point:
    named = {name.replace("ap_", "ap/"): value for name, value in figures.items()}
    return Point(seed, strategy, number, ("key",), {"RBC": cells, "WBC": 1}, named, (), {})


def test_curves_hold_the_seeds_that_ran_through_and_count_from_the_start() -> None:
    points = [
        *(point(seed, START, 0, 9, ap_RBC=0.2, ap_WBC=0.4) for seed in range(2)),
        *(point(0, "paper", number, 9 + 10 * number, ap_RBC=0.2 + 0.1 * number, ap_WBC=0.4) for number in (1, 2)),
        point(1, "paper", 1, 19, ap_RBC=0.3),
    ]
    found = curves_of(points, ["ap/RBC", RARE], ["RBC", "WBC"])["paper"]
    assert found.seeds == (0,)
    assert found.cells.tolist() == [[10, 20, 30]]
    assert found.new_cells.tolist() == [[0, 10, 20]]
    assert found.values["ap/RBC"].tolist() == [[0.2, pytest.approx(0.3), pytest.approx(0.4)]]
    assert found.values[RARE].tolist() == [[pytest.approx(0.3), pytest.approx(0.35), pytest.approx(0.4)]]


def test_a_model_that_shows_no_cell_has_precision_zero() -> None:
    points = [point(0, START, 0, 9), point(0, "random", 1, 19, weighted_precision=0.5)]
    assert curves_of(points, ["weighted_precision"], [])["random"].values["weighted_precision"].tolist() == [[0, 0.5]]


def test_the_figure_has_a_panel_a_figure_a_band_and_chance_dashed() -> None:
    made = [curves(name, [[100, 200], [100, 210]], [[0.1, 0.2], [0.1, 0.4]]) for name in ("paper", "random")]
    figure = curves_figure(made, ["precision"])
    (panel,) = figure.axes
    lines = {str(line.get_label()): line for line in panel.get_lines()}
    assert set(lines) == {"paper (2 seeds)", "random (2 seeds)"}
    assert lines["random (2 seeds)"].get_linestyle() == "--"
    assert lines["paper (2 seeds)"].get_xdata().tolist() == [0, 105]
    assert lines["paper (2 seeds)"].get_ydata().tolist() == [pytest.approx(0.1), pytest.approx(0.3)]
    assert len(panel.collections) == 2
    assert panel.get_xlabel() == "newly labelled cells"
    assert title("ap/Teardrop") == "average precision: Teardrop"
