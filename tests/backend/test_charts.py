"""Drawings of the page."""

from __future__ import annotations

import re

import pytest

from hemaloop.web.ui import charts


@pytest.mark.parametrize("figures", [(0.5, 0.97), (0.99, 1.0), (1.0, 1.0), (0.0, 0.0), (0.1, 1.0)])
def test_the_axis_of_a_learning_curve_ends_at_1_and_holds_every_model(figures: tuple[float, float]) -> None:
    models = [(100.0 * (place + 1), figure, "") for place, figure in enumerate(figures)]
    drawn = charts.learning_curve(models, [(100.0, figures[0]), (320.0, 1.0)], "cells", "accuracy")
    ticks = [float(one) for one in re.findall(r'text-anchor="end">(\d+\.\d\d)<', drawn)]
    assert ticks
    assert max(ticks) <= 1
    heights = [float(one) for one in re.findall(r' cy="([-\d.]+)"', drawn)]
    assert len(heights) == 2
    assert all(10 <= height <= 226 for height in heights)
