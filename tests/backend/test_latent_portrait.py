"""The latent space as the page shows it."""

from __future__ import annotations

import numpy as np
import pytest

from hemaloop.latent_portrait import POINTS, plane_of
from hemaloop.plane import far_apart


def test_every_labelled_task_is_shown_and_the_others_are_drawn_evenly() -> None:
    rows = np.random.default_rng(0).normal(size=(3000, 5)).astype(np.float32)
    vectors = dict(enumerate(rows))
    labels = dict.fromkeys(range(2900, 3000), "blast")
    found = plane_of(vectors, labels, {7: 0.5})
    assert found is not None
    points = found["points"]
    assert len({point["task"] for point in points}) == len(points) == POINTS
    assert {point["task"] for point in points if point["label"] == "blast"} == set(labels)
    others = sorted(point["task"] for point in points if point["label"] is None)
    assert max(np.diff(others)) <= 6
    for axis in "xy":
        assert min(point[axis] for point in points) == 0
        assert max(point[axis] for point in points) == 1
    assert found["share"][0] >= found["share"][1] > 0
    assert found["images"] == 3000


def test_equal_vectors_lie_in_the_middle() -> None:
    found = plane_of({task: np.ones(4, np.float32) for task in range(4)}, {}, {2: 0.25})
    assert found is not None
    assert {(point["x"], point["y"]) for point in found["points"]} == {(0.5, 0.5)}
    assert [point["relevance"] for point in found["points"]] == [None, None, 0.25, None]


def test_examples_lie_far_apart_and_none_is_taken_twice() -> None:
    places = np.array([[0.0, 0.0], [0.1, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert far_apart(places, 3) == [0, 2, 3]
    assert sorted(far_apart(places, 9)) == [0, 1, 2, 3]


@pytest.mark.parametrize("images", [0, 2])
def test_too_few_vectors_make_no_plane(images: int) -> None:
    assert plane_of({task: np.ones(4, np.float32) for task in range(images)}, {}, {}) is None
