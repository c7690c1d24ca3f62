"""A drawn rectangle or point gets what is there, of boxes and of masks, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from hemaloop.errors import PluginError
from hemaloop.plugin import Classification, ClassMap, Detections, Prompt
from hemaloop.prompts import chosen, read_prompt

SHOWN = Detections(
    np.array([[10, 10, 30, 30], [50, 10, 70, 30]], np.float32), np.array([0, 1]), np.array([0.9, 0.8], np.float32)
)
EVERYTHING = Detections(
    np.array([[10, 10, 30, 30], [50, 10, 70, 30], [12, 50, 32, 70], [11, 51, 33, 71]], np.float32),
    np.array([0, 1, 2, 0]),
    np.array([0.9, 0.8, 0.3, 0.2], np.float32),
)


def prompt(boxes: Sequence[Any] = (), points: Sequence[Any] = ()) -> Prompt:
    """points: x, y, whether positive."""
    return Prompt(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([(x, y) for x, y, _ in points], np.float32).reshape(-1, 2),
        np.array([positive for _, _, positive in points], bool),
    )


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (prompt([(0, 0, 40, 40)]), [0.9]),
        (prompt([(0, 0, 100, 40)]), [0.9, 0.8]),
        (prompt([(0, 0, 19, 40)]), []),
        (prompt([(5, 45, 40, 80)]), [0.3]),
        (prompt([(0, 0, 40, 40), (0, 0, 100, 40)]), [0.9, 0.8]),
        (prompt(points=[(60, 20, True)]), [0.8]),
        (prompt(points=[(20, 60, True)]), [0.3]),
        (prompt(points=[(90, 90, True)]), []),
        (prompt([(0, 0, 100, 40)], [(20, 20, False)]), [0.8]),
        (prompt(points=[(60, 20, True), (61, 21, False)]), []),
    ],
)
def test_boxes_are_those_inside_or_under_a_point(asked: Prompt, expected: list[float]) -> None:
    found = chosen(SHOWN, EVERYTHING, asked)
    assert isinstance(found, Detections)
    assert found.scores.tolist() == pytest.approx(expected)
    assert (found.boxes.dtype, found.labels.dtype) == (np.float32, np.int64)


def test_a_map_is_cut_to_the_rectangle_and_a_point_takes_what_hangs_together() -> None:
    labels = np.zeros((20, 30), np.uint8)
    labels[2:8, 2:12] = 1
    labels[2:8, 8:12] = 2
    labels[12:18, 20:28] = 1
    everything = ClassMap(labels)
    box = chosen(everything, everything, prompt([(0, 0, 10, 20)]))
    assert isinstance(box, ClassMap)
    assert np.array_equal(box.labels[:, :10], labels[:, :10])
    assert not box.labels[:, 10:].any()
    point = chosen(everything, everything, prompt(points=[(3.5, 3.5, True)]))
    assert isinstance(point, ClassMap)
    assert np.array_equal(point.labels[:10], labels[:10])
    assert not point.labels[10:].any()
    less = chosen(everything, everything, prompt([(0, 0, 30, 20)], [(22, 14, False)]))
    assert isinstance(less, ClassMap)
    assert np.array_equal(less.labels, np.where(np.arange(20)[:, None] < 10, labels, 0))


def test_a_classification_has_no_place_to_ask_about() -> None:
    whole = Classification(np.array([1], np.float32))
    with pytest.raises(PluginError, match="as a whole"):
        chosen(whole, whole, prompt([(0, 0, 1, 1)]))


def test_what_label_studio_sends_is_read_in_px() -> None:
    drawn: list[dict[str, Any]] = [
        {"to_name": "image", "value": {"x": 50, "y": 25, "width": 25, "height": 100, "rotation": 0}},
        {"to_name": "image", "is_positive": False, "value": {"x": 10, "y": 10, "keypointlabels": ["a"]}},
        {"to_name": "image", "is_positive": True, "type": "keypointlabels", "value": {"x": 20, "y": 50}},
        {
            "to_name": "image",
            "is_positive": 0,
            "type": "keypoint",
            "value": {"x": 5, "y": 5, "width": 0.2, "labels": []},
        },
        {"to_name": "image", "type": "rectangle", "value": {"x": 0, "y": 0, "width": 10, "height": 10}},
        {"to_name": "other", "value": {"x": 0, "y": 0, "width": 1, "height": 1}},
        {"value": {"x": 0, "y": 0, "width": 0, "height": 5}},
        {"value": {"x": 0, "y": None, "width": 5, "height": 5}},
        {"value": {"format": "rle", "rle": [1]}},
    ]
    found = read_prompt(drawn, 200, 100, "image")
    assert found.boxes.tolist() == [[100, 25, 150, 100], [0, 0, 20, 10]]
    assert found.points.tolist() == [[20, 10], [40, 50], [10, 5]]
    assert found.positive.tolist() == [False, True, False]
