"""A hint is passed on soon, once, and not lost while Redis is away; giving one never takes time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import web_stage
from hemaloop.hints import Hints
from web_stage import PROJECT, RecordingQueues


class SlowQueues(RecordingQueues):
    """Redis that hangs for a second before it answers or fails."""

    def _note(self, *what: Any) -> None:
        time.sleep(1.0)
        super()._note(*what)


def test_giving_a_hint_takes_no_time_however_slow_redis_is(tmp_path: Path) -> None:
    queues = SlowQueues(web_stage.settings(tmp_path))
    with Hints(queues) as hints:
        began = time.monotonic()
        for number in range(200):
            hints.training(f"{number % 3}.1790000000", "ANNOTATION_CREATED")
        assert time.monotonic() - began < 0.1 * web_stage.slowness()
        web_stage.wait_until(
            lambda: {what[1] for what in queues.of_kind("training")} == {f"{i}.1790000000" for i in range(3)}
        )
    assert len(queues.of_kind("training")) <= 6, "many hints about one project are one"


def test_a_hint_waits_for_redis_and_is_then_passed_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    queues = RecordingQueues(web_stage.settings(tmp_path))
    queues.gone = True
    with Hints(queues) as hints:
        hints.training(PROJECT, "ANNOTATION_CREATED")
        hints.unfinished(PROJECT, [1, 2], "v")
        time.sleep(1.2)
        assert hints.waiting == 2
        queues.gone = False
        web_stage.wait_until(lambda: len(queues.asked) == 2)
        assert hints.waiting == 0
    assert caplog.text.count("Redis") == 1, "said once, not at every try"


def test_a_hint_given_just_before_the_end_is_still_passed_on(tmp_path: Path) -> None:
    queues = RecordingQueues(web_stage.settings(tmp_path))
    with Hints(queues) as hints:
        hints.training(PROJECT, "ANNOTATION_CREATED")
    assert queues.of_kind("training")


def test_trainings_are_told_while_annotators_wait(tmp_path: Path) -> None:
    told: list[float] = []

    class Told(RecordingQueues):
        def mark_predicting(self, seconds: float = 2.0) -> None:
            told.append(seconds)

    with Hints(Told(web_stage.settings(tmp_path)), lambda: True):
        web_stage.wait_until(lambda: len(told) >= 2)


def test_a_fault_of_one_hint_does_not_stop_the_next(tmp_path: Path) -> None:
    class Faulty(RecordingQueues):
        def request_scores(self, project: str, reason: str) -> str:
            raise ZeroDivisionError("a bug")

    queues = Faulty(web_stage.settings(tmp_path))
    with Hints(queues) as hints:
        hints.scores(PROJECT, "TASKS_CREATED")
        time.sleep(0.1)
        hints.training(PROJECT, "ANNOTATION_CREATED")
        web_stage.wait_until(lambda: queues.of_kind("training"))
