"""Who opens a task is served before a bulk request, and a bulk request never takes everything for long."""

from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path

import pytest

import stub_plugin
import web_stage
from hemaloop.inference.schedule import MAX_PIECE, PIECE_SECONDS, Request, Schedule
from hemaloop.inference.wire import (
    Question,
    Reply,
    TaskAnswer,
    receive_question,
    receive_reply,
    receive_settings,
    send_question,
    send_reply,
    send_settings,
)
from hemaloop.labelconfig import parse_label_config
from hemaloop.projects import LiveModel, Part
from hemaloop.protocol import TaskRequest


def request(count: int, project: str = "1.1") -> Request:
    tasks = [TaskRequest(data={}, id=number) for number in range(count)]
    live = LiveModel("v", {})
    return Request(project, parse_label_config(stub_plugin.config()), live, tasks, time.monotonic() + 60)


def answer(schedule: Schedule, piece: object, seconds: float = 0.1) -> None:
    answers = tuple(TaskAnswer(b"{}", seconds={"model": seconds}) for _ in piece.positions)  # type: ignore[attr-defined]
    schedule.done(piece, Reply(answers))  # type: ignore[arg-type]


def test_a_small_request_overtakes_a_bulk_request() -> None:
    schedule = Schedule(children=1)
    bulk, small = request(100), request(1)
    schedule.add(bulk)
    schedule.add(small)
    first = schedule.take(0)
    assert first is not None
    assert first.request is small


def test_a_slow_bulk_request_leaves_one_child_free() -> None:
    schedule = Schedule(children=2)
    bulk, small = request(100), request(1)
    schedule.add(bulk)
    taken = schedule.take(0)
    assert taken is not None
    assert taken.request is bulk
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(schedule.take(1)), daemon=True)
    thread.start()
    thread.join(0.2)
    assert not found
    schedule.add(small)
    thread.join(5)
    assert found[0].request is small  # type: ignore[attr-defined]


def test_a_quick_bulk_request_takes_every_child_in_pieces_of_a_fraction_of_a_second() -> None:
    schedule = Schedule(children=2)
    schedule.add(request(100))
    first = schedule.take(0)
    assert first is not None
    answer(schedule, first, seconds=0.1)
    pieces = [schedule.take(0), schedule.take(1)]
    for piece in pieces:
        assert piece is not None
        assert len(piece.positions) == int(PIECE_SECONDS / 0.1)


def test_a_piece_has_a_largest_size() -> None:
    schedule = Schedule(children=1)
    schedule.add(request(100))
    first = schedule.take(0)
    answer(schedule, first, seconds=0.0001)
    second = schedule.take(0)
    assert second is not None
    assert len(second.positions) == MAX_PIECE


def test_bulk_requests_take_turns() -> None:
    schedule = Schedule(children=1)
    one, other = request(50, "1.1"), request(50, "2.1")
    schedule.add(one)
    schedule.add(other)
    served = [schedule.take(0).request for _ in range(4)]  # type: ignore[union-attr]
    assert served == [one, other, one, other]


def test_every_task_is_answered_exactly_once_and_in_its_place() -> None:
    schedule = Schedule(children=1)
    bulk = request(37)
    schedule.add(bulk)
    seen: list[int] = []
    while not bulk.finished.is_set():
        piece = schedule.take(0)
        assert piece is not None
        seen += piece.positions
        answer(schedule, piece, 0.05)
    assert sorted(seen) == list(range(37))
    assert all(one is not None for one in bulk.answers)


def test_a_crash_is_retried_task_by_task_and_given_up_at_the_third() -> None:
    schedule = Schedule(children=1)
    bulk = request(10)
    schedule.add(bulk)
    answer(schedule, schedule.take(0), 0.1)
    piece = schedule.take(0)
    assert piece is not None
    assert len(piece.positions) == 4
    schedule.crashed(piece, "the process ended with status 7")
    retried = [schedule.take(0) for _ in range(4)]
    assert [one.positions for one in retried if one] == [(i,) for i in piece.positions]
    schedule.crashed(retried[0], "the process ended with status -9")  # type: ignore[arg-type]
    for one in retried[1:]:
        answer(schedule, one)
    assert bulk.answers[piece.positions[0]] is None, "two children that were killed at once say nothing of a task"
    last = schedule.take(0)
    assert last is not None
    assert last.positions == piece.positions[:1]
    schedule.crashed(last, "the process ended with status 7")
    given_up = bulk.answers[piece.positions[0]]
    assert given_up is not None
    assert given_up.body is None
    assert "status 7, 3 times" in (given_up.error or "")
    assert all(bulk.answers[position] for position in piece.positions)


def test_a_dropped_request_is_worked_on_no_longer() -> None:
    schedule = Schedule(children=1)
    dropped, kept = request(50), request(50)
    schedule.add(dropped)
    schedule.add(kept)
    schedule.drop(dropped)
    assert all(schedule.take(0).request is kept for _ in range(3))  # type: ignore[union-attr]


def test_every_child_loads_a_model_once_and_before_bulk_work() -> None:
    schedule = Schedule(children=2)
    schedule.add(request(50))
    loading = request(0)
    schedule.load(loading)
    pieces = [schedule.take(0), schedule.take(1)]
    assert [piece.request for piece in pieces if piece] == [loading, loading]
    third = schedule.take(0)
    assert third is not None
    assert third.request is not loading


def test_closing_lets_everybody_go() -> None:
    schedule = Schedule(children=1)
    waiting = request(5)
    schedule.add(waiting)
    schedule.close()
    assert waiting.finished.is_set()
    assert schedule.take(0) is None
    late = request(1)
    schedule.add(late)
    assert late.finished.is_set()


def test_a_request_without_tasks_is_finished_at_once() -> None:
    schedule = Schedule(children=1)
    nothing = request(0)
    schedule.add(nothing)
    assert nothing.finished.is_set()


def test_settings_reach_a_child_whatever_its_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = web_stage.settings(tmp_path, image_hosts=("images.example:8443",), public_url=None, inference_processes=3)
    here, there = multiprocessing.Pipe()
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://elsewhere")
    monkeypatch.setenv("HEMALOOP_PASSWORD", "another password")
    with here, there:
        send_settings(here, sent)
        assert receive_settings(there) == sent


def test_a_question_and_its_reply_survive_the_wire(tmp_path: Path) -> None:
    live = LiveModel("a+b", {"cells": Part("cells", "a", tmp_path, ("red",), {"n": 1}), "x": Part("x", "b", None, ())})
    question = Question("1.1", "<View/>", live, [(1, {"image": "ü"}), (None, {})])
    reply = Reply((TaskAnswer(b"{}", None, {"model": 0.5}), TaskAnswer(None, "no image")), None)
    here, there = multiprocessing.Pipe()
    with here, there:
        send_question(here, question)
        assert receive_question(there) == question
        send_reply(there, reply)
        assert receive_reply(here) == reply


def drawn(number: int) -> Request:
    """What an annotator drew on a task."""
    tasks = [TaskRequest(data={}, id=number)]
    live = LiveModel("v", {})
    return Request("1.1", parse_label_config(stub_plugin.config()), live, tasks, time.monotonic() + 60, [{"id": "a"}])


def test_what_is_drawn_on_a_task_goes_to_the_child_that_knows_its_image() -> None:
    asked = [drawn(number).child(2) for number in range(50)]
    assert asked == [drawn(number).child(2) for number in range(50)]
    assert set(asked) == {0, 1}


def test_a_question_comes_after_an_opened_task_and_before_a_bulk_request() -> None:
    schedule = Schedule(children=1)
    for waiting in (bulk := request(100), question := drawn(1), small := request(1)):
        schedule.add(waiting)
    taken = []
    for _ in range(3):
        piece = schedule.take(0)
        assert piece is not None
        taken.append(piece.request)
        answer(schedule, piece)
    assert taken == [small, question, bulk]


def test_questions_leave_a_child_for_who_opens_a_task() -> None:
    schedule = Schedule(children=2)
    numbers = {drawn(number).child(2): number for number in range(50)}
    for child in (0, 1):
        schedule.add(drawn(numbers[child]))
    schedule.add(request(100))
    first = schedule.take(0)
    assert first is not None
    assert first.request.drawn is not None
    schedule.add(small := request(1))
    second = schedule.take(1)
    assert second is not None
    assert second.request is small
