"""From an event to a training: debounced, complete, and not without its secret."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from hemaloop.demo.stack import Stack
from hemaloop.project_setup import SECRET_HEADER
from running import Project, wait_for

pytestmark = pytest.mark.label_studio


def _payload(made: Project) -> dict[str, object]:
    project = made.studio.request("GET", f"/api/projects/{made.id}")
    return {
        "action": "ANNOTATION_CREATED",
        "project": {"id": made.id, "created_at": project["created_at"], "label_config": project["label_config"]},
        "annotation": {"id": 1},
        "task": {"id": next(iter(made.cells))},
    }


def test_two_hundred_webhooks_in_a_second_make_one_training_with_every_annotation(
    stack: Stack, project: Callable[..., Project]
) -> None:
    made = project(8, preset="bare")
    for task_id in list(made.cells)[:6]:
        made.submit(task_id)
    payload, url = _payload(made), f"{stack.settings.backend_url}/webhook"
    headers = {SECRET_HEADER: stack.settings.webhook_secret.get_secret_value()}

    def post(_: int) -> tuple[int, float]:
        began = time.monotonic()
        status = client.post(url, json=payload, headers=headers).status_code
        return status, time.monotonic() - began

    with httpx.Client(timeout=10.0) as client, ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, range(200)))
    assert {status for status, _ in answers} == {200}
    wait_for(made.versions, "a training")
    made.idle()
    assert len(made.versions()) == 1
    assert len(made.store.manifest(made.key, "cells", made.versions()[0]).annotations) == 6


def test_a_webhook_without_its_secret_is_refused_and_trains_nothing(
    stack: Stack, project: Callable[..., Project]
) -> None:
    made = project(4)
    url = f"{stack.settings.backend_url}/webhook"
    for headers in ({}, {SECRET_HEADER: "wrong" * 8}):
        assert httpx.post(url, json=_payload(made), headers=headers).status_code == 401
    assert not [job for job in stack.queues.running(made.key) if job["kind"] == "train"]


def test_a_skip_teaches_nothing(stack: Stack, project: Callable[..., Project]) -> None:
    made = project(8, preset="bare")
    tasks = list(made.cells)
    for task_id in tasks[:5]:
        made.submit(task_id)
    made.studio.submit_annotation(tasks[5], [], was_cancelled=True)
    wait_for(made.versions, "a training")
    assert len(made.store.manifest(made.key, "cells", made.versions()[0]).annotations) == 5
    made.idle()


def test_nothing_is_trained_twice_on_the_same_annotations(stack: Stack, project: Callable[..., Project]) -> None:
    made = project(8, preset="bare")
    for task_id in list(made.cells)[:5]:
        made.submit(task_id)
    wait_for(made.versions, "a training")
    made.idle()
    job = stack.queues.request_training(made.key, "again", now=True)
    wait_for(lambda: stack.queues.job_status(job)["status"] == "finished", "the second look")
    assert len(made.versions()) == 1


def test_the_button_start_training_trains(stack: Stack, project: Callable[..., Project]) -> None:
    made = project(8, preset="bare")
    tasks = list(made.cells)
    for task_id in (
        tasks[0],
        tasks[1],
        tasks[3],
    ):  # two gate images and one to learn from: fewer than the policy asks for
        made.submit(task_id)
    backend = made.studio.backend(made.id)
    assert backend is not None
    made.studio.request("POST", f"/api/ml/{backend['id']}/train", body={})
    wait_for(made.versions, "a training asked for by hand")
    made.idle()
