"""Learning curves, on points that lie on a known one; and the bootstrap, on numbers whose spread is known."""

from __future__ import annotations

import numpy as np
import pytest

from hemaloop.bootstrap import bootstrap
from hemaloop.errors import DatasetError
from hemaloop.learning_curve import LearningCurve, fit_curve

IMAGES = [20, 40, 80, 160, 320]


def power(images: float) -> float:
    """0.9 at the end, 0.6 at 20 images."""
    return 0.9 - 0.3 * (images / 20) ** -0.7


def test_the_curve_through_points_of_a_power_law_goes_on_like_it() -> None:
    curve = fit_curve(IMAGES, [power(count) for count in IMAGES])
    assert curve.limit == pytest.approx(0.9, abs=0.01)
    assert curve.at(640) == pytest.approx(power(640), abs=0.005)
    assert curve.scatter < 0.002
    assert curve.points == 5


def test_images_for_a_figure_are_those_at_which_the_curve_has_it() -> None:
    curve = LearningCurve(0.9, 2.0, 0.5, 0.0, 5)
    assert curve.at(400) == pytest.approx(0.8)
    assert curve.images_for(0.8) == pytest.approx(400)
    assert curve.images_for(0.9) is None
    assert curve.images_for(0.95) is None


def test_a_curve_never_falls_and_never_promises_more_than_everything() -> None:
    falling = fit_curve(IMAGES, [0.8, 0.7, 0.6, 0.5, 0.4])
    assert falling.at(640) - falling.at(320) == pytest.approx(0)
    steep = fit_curve(IMAGES, [0.1, 0.3, 0.5, 0.7, 0.9])
    assert steep.at(1e9) <= 1.0


def test_a_gain_shrinks_from_batch_to_batch() -> None:
    curve = fit_curve(IMAGES, [power(count) for count in IMAGES])
    gains = np.diff([curve.at(count) for count in range(100, 600, 100)])
    assert (gains > 0).all()
    assert (np.diff(gains) < 0).all()


def test_too_few_points_are_no_curve() -> None:
    with pytest.raises(DatasetError, match="found models of 3 different numbers of images, expected at least 4"):
        fit_curve([20, 20, 40, 80], [0.1, 0.2, 0.3, 0.4])


def test_an_interval_is_as_wide_as_the_mean_of_so_many_rows_is_uncertain() -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = bootstrap(lambda rows: float(values[rows].mean()), len(values))
    assert found is not None
    error = values.std() / 20
    assert found[0] == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert found[1] == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)


def test_one_row_has_no_interval_and_draws_without_a_value_do_not_count() -> None:
    assert bootstrap(lambda rows: 1.0, 1) is None
    assert bootstrap(lambda rows: float("nan"), 5) is None
    sometimes = bootstrap(lambda rows: float("nan") if rows[0] == 0 else 2.0, 5)
    assert sometimes == (2.0, 2.0)
