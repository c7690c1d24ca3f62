"""What a pool's tasks are told to Label Studio, on tasks made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hemaloop.pool import gate_place
from hemaloop.ranking import packed, rank, unpacked
from hemaloop.results import score_for_label_studio


def task(relevance: float | None, features: list[float] | None = None, **fields: Any) -> dict[str, Any]:
    """A scored task as it comes from a shard."""
    given = None if features is None else packed(np.array(features, np.float32))
    entry: dict[str, Any] = {"relevance": relevance, "score": None, "features": given, "key": f"key of {relevance}"}
    return {**entry, "gate": False, "labelled": False, "error": None, **fields}


def order(scored: list[dict[str, Any]]) -> list[int]:
    """Positions of the tasks as Label Studio hands them out: lowest score first."""
    return sorted(range(len(scored)), key=lambda index: float(scored[index]["score"]))


def test_features_survive_their_way_through_a_file() -> None:
    features = np.random.default_rng(0).normal(size=300).astype(np.float32)
    text = packed(features)
    assert text is not None
    assert unpacked(text).tolist() == features.tolist()
    assert packed(None) is None


def test_by_relevance_each_task_keeps_its_own() -> None:
    scored = [task(2.0), task(0.0), task(5.0)]
    distribution, notes = rank(scored, "relevance", "v1")
    assert [one["score"] for one in scored] == [score_for_label_studio(value) for value in (2.0, 0.0, 5.0)]
    assert (distribution[0], distribution[-1], notes) == (0.0, 5.0, [])


def test_spread_takes_a_distant_image_before_a_copy_of_a_more_relevant_one() -> None:
    scored = [task(9.0, [0, 0]), task(8.0, [0, 0]), task(1.0, [3, 0])]
    distribution, notes = rank(scored, "spread", "v1")
    assert order(scored) == [0, 2, 1]
    assert sorted(1 / one["score"] - 1 for one in scored) == pytest.approx([1.0, 8.0, 9.0])
    assert (distribution[0], distribution[-1]) == pytest.approx((1.0, 9.0))
    assert notes == []


def test_spread_keeps_away_from_labelled_images_but_not_from_those_that_only_judge() -> None:
    near_a_labelled_one = [task(5.0, [0, 0]), task(4.0, [3, 0]), task(0.0, [0, 0], labelled=True)]
    rank(near_a_labelled_one, "spread", "v1")
    assert order(near_a_labelled_one[:2]) == [1, 0]
    near_a_judge = [task(5.0, [0, 0]), task(4.0, [3, 0]), task(0.0, [0, 0], labelled=True, gate=True)]
    rank(near_a_judge, "spread", "v1")
    assert order(near_a_judge[:2]) == [0, 1]


def test_without_features_images_come_by_relevance_and_people_hear_of_it() -> None:
    scored = [task(1.0, [0.0]), task(2.0)]
    _, notes = rank(scored, "spread", "v1")
    assert order(scored) == [1, 0]
    assert "no features" in notes[0]


@pytest.mark.parametrize("kind", ["relevance", "spread", "typical"])
def test_a_gate_image_has_its_drawn_place_in_every_order(kind: Any) -> None:
    scored = [task(float(value), [float(value), 1.0]) for value in range(40)]
    judge = task(1000.0, [0.0, 1.0], gate=True, key="a gate image")
    distribution, _ = rank([*scored, judge], kind, "v1")
    place = np.interp(gate_place("a gate image", "v1"), np.linspace(0, 1, len(distribution)), distribution)
    assert judge["score"] == pytest.approx(score_for_label_studio(float(place)))


def test_a_few_new_tasks_join_the_distribution_of_the_pool() -> None:
    judge = task(1000.0, gate=True, key="a gate image")
    distribution, _ = rank([judge], "relevance", "v1", [0.0, 10.0])
    assert distribution == [0.0, 10.0]
    assert judge["score"] == pytest.approx(score_for_label_studio(10 * gate_place("a gate image", "v1")))


def test_tasks_that_failed_are_left_as_they_are() -> None:
    scored = [task(None, error="broken"), task(1.0)]
    rank(scored, "relevance", "v1")
    assert scored[0]["score"] is None


def test_typical_images_come_first_and_outliers_last() -> None:
    draw = np.random.default_rng(4)
    features = [[*middle + draw.normal(size=2)] for middle in (np.array([0, 0]), np.array([50, 0])) for _ in range(30)]
    scored = [task(0.0, one) for one in [*features, [900.0, 900.0]]]
    rank(scored, "typical", "v1")
    first = order(scored)
    assert {index // 30 for index in first[:6]} == {0, 1}
    assert len({one["score"] for one in scored}) == len(scored)
