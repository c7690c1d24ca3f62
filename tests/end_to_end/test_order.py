"""The order in which people get the tasks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from running import Person, Project

pytestmark = pytest.mark.label_studio


def _ordered(made: Project) -> list[int]:
    """A pool whose scores are all different, pushed as hemaloop pushes them; the tasks by rising score."""
    tasks = list(made.cells)
    version = made.studio.project(made.id).model_version
    scores = {task: (7 * position % len(tasks) + 1) / 100 for position, task in enumerate(tasks)}
    made.studio.import_predictions(
        made.id,
        [{"task": task, "result": [], "score": score, "model_version": version} for task, score in scores.items()],
    )
    return sorted(tasks, key=lambda task: scores[task])


def test_one_annotator_gets_the_most_relevant_task_each_time(project: Callable[..., Project]) -> None:
    made = project(8, train=False)
    expected = _ordered(made)
    got = []
    for _ in expected:
        task = made.studio.next_task(made.id)
        assert task is not None
        got.append(task["id"])
        made.submit(task["id"])
    assert got == expected


def test_two_annotators_share_the_order(project: Callable[..., Project], annotator: Callable[[str], Person]) -> None:
    made = project(8, train=False)
    other = annotator("second").studio
    expected = _ordered(made)
    got = []
    for position in range(len(expected)):
        studio = other if position % 2 else made.studio
        task = studio.next_task(made.id)
        assert task is not None
        got.append(task["id"])
        made.submit(task["id"], studio)
    assert got == expected


def test_two_annotators_at_once_get_the_two_most_relevant_tasks(
    project: Callable[..., Project], annotator: Callable[[str], Person]
) -> None:
    made = project(8, train=False)
    other = annotator("third").studio
    expected = _ordered(made)
    first, second = made.studio.next_task(made.id), other.next_task(made.id)
    assert first is not None
    assert second is not None
    assert [first["id"], second["id"]] == expected[:2]


def test_the_head_of_the_queue_is_read_without_taking_the_task_from_anybody(
    project: Callable[..., Project], annotator: Callable[[str], Person]
) -> None:
    made = project(8, train=False)
    expected = _ordered(made)
    assert [task for task, _ in made.studio.queue_head(made.id, 8)] == expected
    task = annotator("fourth").studio.next_task(made.id)
    assert task is not None
    assert task["id"] == expected[0]
