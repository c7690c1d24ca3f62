"""Drawings of the page."""

from __future__ import annotations

import re
from typing import Any

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


@pytest.mark.parametrize("by", ["label", "relevance"])
def test_a_plane_links_each_image_to_its_task_and_escapes_labels(by: str) -> None:
    hostile = '"><script>alert(1)</script>'
    points: list[dict[str, Any]] = [
        {"task": 1, "x": 0.0, "y": 1.0, "label": hostile, "relevance": None},
        {"task": 2, "x": 1.0, "y": 0.0, "label": None, "relevance": 0.5},
        {"task": 3, "x": 0.5, "y": 0.5, "label": "blast", "relevance": None},
    ]
    drawn = charts.plane(points, [hostile, "blast"], lambda task: f"https://studio/data?task={task}&tab=1", by)
    assert "<script" not in drawn
    assert {f'href="https://studio/data?task={task}&amp;tab=1"' in drawn for task in (1, 2, 3)} == {True}
    assert "task 2, not labelled, relevance 0.5" in drawn
    assert f"3 images coloured by {by}, 2 of them labelled" in drawn
    assert ('class="fill c0"' in drawn, 'class="fill c1"' in drawn) == (by == "label",) * 2
    assert charts.plane([], [], str, by) == ""
