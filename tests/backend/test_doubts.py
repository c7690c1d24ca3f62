"""Which labels are doubted, and by which model: never by one that learned from the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import loop_stage
import stub_plugin
from hemaloop import doubts, training
from hemaloop.doubts import compare
from hemaloop.plugin import Classification, ClassMap, Detections
from loop_stage import PROJECT

LABELS = ("RBC", "WBC")


def boxes(*cells: tuple[float, float, float, float, int, float]) -> Detections:
    rows = np.array(cells, np.float32).reshape(-1, 6)
    return Detections(rows[:, :4], rows[:, 4].astype(np.int64), rows[:, 5])


def found(truth: Any, everything: Any, visible: Any = None) -> list[tuple[str, str, str]]:
    said = compare(truth, everything, everything if visible is None else visible, LABELS)
    return [(one.kind, one.said, one.found) for one in said]


def test_a_surely_different_class_on_the_same_cell_is_doubted() -> None:
    truth = boxes((0, 0, 10, 10, 0, 1))
    assert found(truth, boxes((0, 0, 10, 10, 1, 0.9))) == [("class", "RBC", "WBC")]
    assert found(truth, boxes((0, 0, 10, 10, 0, 0.9))) == []


def test_a_model_that_wavers_between_two_classes_doubts_nothing() -> None:
    both = boxes((0, 0, 10, 10, 1, 0.9), (0, 0, 10, 10, 0, 0.6))
    assert found(boxes((0, 0, 10, 10, 0, 1)), both) == []


def test_a_sure_cell_that_nobody_drew_is_doubted_and_an_unsure_one_is_not() -> None:
    assert found(Detections.empty(), boxes((0, 0, 10, 10, 1, 0.95))) == [("missed", "", "WBC")]
    assert found(Detections.empty(), boxes((0, 0, 10, 10, 1, 0.6))) == []


def test_a_drawn_cell_where_the_model_sees_nothing_at_all_is_doubted() -> None:
    truth = boxes((0, 0, 10, 10, 0, 1))
    assert found(truth, boxes((40, 40, 50, 50, 0, 0.5))) == [("extra", "RBC", "")]
    assert found(truth, boxes((1, 2, 12, 13, 0, 0.2)), Detections.empty()) == []


def test_choices_and_masks_are_doubted_by_their_own_measure() -> None:
    said = Classification(np.array([1, 0], np.float32))
    assert found(said, Classification(np.array([0.1, 0.9], np.float32))) == [("class", "RBC", "WBC")]
    assert found(said, Classification(np.array([0.4, 0.6], np.float32))) == []
    drawn, seen = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    drawn[:20] = 1
    seen[12:32] = 1
    assert found(ClassMap(drawn), ClassMap(seen)) == [("area", "RBC", "RBC")]
    assert found(ClassMap(drawn), ClassMap(drawn)) == []


def test_a_training_finds_wrong_labels_on_images_it_has_not_learned_from(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_plugin.install(monkeypatch)
    with loop_stage.label_studio(stub_plugin.config("bare")) as studio:
        place = loop_stage.workplace(loop_stage.settings(tmp_path, studio.url, redis_url=redis_url))
        for task in studio.add_images(tmp_path, 30):
            studio.annotate(task)
        first = training.train_project(place, PROJECT, "test")["controls"]["cells"]["version"]
        assert doubts.kept(place.store, PROJECT, "cells") == []

        # Later images are wrong throughout: those that train are seen by the first model alone, before the second.
        wrong = {"red": "green", "green": "blue", "blue": "red"}
        later = studio.add_images(tmp_path, 12)
        for task in later:
            studio.annotate(task, [(*cell[:4], wrong[cell[4]]) for cell in studio.truths[task]])
        second = training.train_project(place, PROJECT, "test")["controls"]["cells"]["version"]
        found = doubts.kept(place.store, PROJECT, "cells")
        seen = {version: place.store.manifest(PROJECT, "cells", version) for version in (first, second)}
        keys = {task: loop_stage.key_of(tmp_path, task) for task in later}
        taught = {task for task in later if keys[task] in seen[second].train}
        assert 3 < len(taught) < len(later)
        assert taught <= {one.task for one in found} <= set(later), "what taught the second model, the first one judged"
        assert all((one.model == first) == (one.task in taught) for one in found)
        assert all(keys[one.task] not in (*seen[one.model].train, *seen[one.model].inherited) for one in found)
        assert all(wrong[one.found] == one.said for one in found)
        place.studio.close()
        place.queues.redis.close()
