"""Models live in children: they may crash, hang and be replaced, and whoever waits gets an answer or a reason."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import stub_plugin
import web_stage
from hemaloop.inference.wire import TaskAnswer
from hemaloop.labelconfig import parse_label_config
from hemaloop.projects import LiveModel, Part, starter_part
from hemaloop.protocol import TaskRequest
from hemaloop.serving import Inference

MAGENTA = (255, 0, 255)


@pytest.fixture(scope="module", autouse=True)
def stub() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        stub_plugin.install(patch)
        yield
    stub_plugin.forget()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="module")
def inference(folder: Path) -> Iterator[Inference]:
    with Inference(web_stage.settings(folder, inference_processes=2)) as running:
        yield running


def live_of(xml: str) -> LiveModel:
    parts = {control.name: starter_part(control) for control in parse_label_config(xml).bound}
    return LiveModel("+".join(part.version for part in parts.values()), parts)


def refs(folder: Path, count: int, **options: Any) -> list[TaskRequest]:
    return [TaskRequest(data=task["data"], id=task["id"]) for task in web_stage.tasks(folder, count, **options)]


def predict(
    inference: Inference,
    tasks: list[TaskRequest],
    seconds: float = 300,
    xml: str | None = None,
    live: LiveModel | None = None,
) -> list[TaskAnswer | None]:
    xml = xml or stub_plugin.config()
    return inference.predict(web_stage.PROJECT, parse_label_config(xml), live or live_of(xml), tasks, seconds)


def test_answers_come_in_the_order_of_the_tasks(inference: Inference, folder: Path) -> None:
    answers = predict(inference, refs(folder, 40))
    for number, answer in enumerate(answers, start=1):
        assert answer is not None
        assert answer.body is not None
        labels = [region["value"]["rectanglelabels"][0] for region in json.loads(answer.body)["result"]]
        assert sorted(labels) == sorted(cell[4] for cell in stub_plugin.random_cells(number))


def test_a_task_that_crashes_the_process_is_given_up_and_the_others_are_answered(
    inference: Inference, folder: Path
) -> None:
    tasks = refs(folder, 12)
    tasks[5] = TaskRequest(data={"image": web_stage.image_file(folder, "crash.png", 6, MAGENTA)}, id=6)
    answers = predict(inference, tasks)
    bad = answers[5]
    assert bad is not None
    assert bad.body is None
    assert "ended with status 7" in (bad.error or "")
    assert all(answer is not None and answer.body for i, answer in enumerate(answers) if i != 5)


def test_a_killed_child_is_replaced_and_nobody_notices(inference: Inference, folder: Path) -> None:
    # one that the test before has crashed is started with its next task
    web_stage.wait_until(lambda: predict(inference, refs(folder, 6)) and len(inference.pids) == 2)
    before = inference.pids
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert all(answer is not None and answer.body for answer in predict(inference, refs(folder, 6)))
    web_stage.wait_until(lambda: set(inference.pids).isdisjoint(before) and inference.pids)


def test_what_is_not_done_in_time_is_none_and_the_rest_is_there(inference: Inference, folder: Path) -> None:
    slow = stub_plugin.config(delay_seconds=0.2)
    predict(inference, refs(folder, 1), xml=slow)
    began = time.monotonic()
    answers = predict(inference, refs(folder, 200), seconds=3, xml=slow)
    assert time.monotonic() - began < 4 * web_stage.slowness()
    done = [answer for answer in answers if answer is not None]
    assert 0 < len(done) < 200
    assert all(answer.body for answer in done)


def test_who_opens_a_task_does_not_wait_for_a_bulk_request(inference: Inference, folder: Path) -> None:
    slow = stub_plugin.config(delay_seconds=0.2)
    predict(inference, refs(folder, 2), xml=slow)
    bulk = threading.Thread(target=predict, args=(inference, refs(folder, 40), 60.0, slow))
    bulk.start()
    time.sleep(0.5)
    waits = []
    for _ in range(5):
        began = time.monotonic()
        (answer,) = predict(inference, refs(folder, 1), xml=slow)
        waits.append(time.monotonic() - began)
        assert answer is not None
        assert answer.body
    bulk.join()
    assert max(waits) < 2.0 * web_stage.slowness()


def test_a_hanging_child_is_ended_and_the_task_given_up(folder: Path) -> None:
    hangs = stub_plugin.config(delay_seconds=600)
    with Inference(web_stage.settings(folder, inference_processes=1), hang_seconds=0.5) as inference:
        assert predict(inference, refs(folder, 1), seconds=0.5, xml=hangs) == [None]
        answers = predict(inference, refs(folder, 1), seconds=300)
        assert answers[0] is not None
        assert answers[0].body


def test_a_model_that_cannot_be_loaded_is_a_reason_for_every_task(inference: Inference, folder: Path) -> None:
    live = LiveModel("v", {"cells": Part("cells", "stub-0009-abcdef", folder / "gone", tuple(stub_plugin.COLOURS))})
    answers = predict(inference, refs(folder, 3), live=live)
    assert all(answer is not None and "stub-0009-abcdef" in (answer.error or "") for answer in answers)


def test_children_run_one_thread_behind_the_web_process_and_hold_no_secret_in_sight(inference: Inference) -> None:
    web_stage.wait_until(lambda: len(inference.pids) == 2)
    for pid in inference.pids:
        process = psutil.Process(pid)
        seen = " ".join(process.cmdline()) + repr(process.environ())
        for secret in (web_stage.PASSWORD, web_stage.SECRET, web_stage.TOKEN, "a-redis-password"):
            assert secret not in seen
        assert process.environ()["OMP_NUM_THREADS"] == "1"
        web_stage.wait_until(lambda process=process: process.nice() > psutil.Process().nice())


def test_closing_ends_the_children_and_whoever_waits_goes_on(folder: Path) -> None:
    inference = Inference(web_stage.settings(folder, inference_processes=2)).start()
    slow = stub_plugin.config(delay_seconds=30)
    results: list[Any] = []
    waiting = threading.Thread(target=lambda: results.append(predict(inference, refs(folder, 1), 60, slow)))
    web_stage.wait_until(lambda: len(inference.pids) == 2)
    pids = inference.pids
    waiting.start()
    time.sleep(1.0)
    began = time.monotonic()
    inference.close()
    waiting.join(30)
    assert results == [[None]]
    assert time.monotonic() - began < 5 * web_stage.slowness()
    assert not any(psutil.pid_exists(pid) for pid in pids)
