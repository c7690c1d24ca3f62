"""Redis or Label Studio gone in the middle: nothing is lost, and annotators are not held up."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest
from redis.exceptions import RedisError

from hemaloop.demo.stack import Stack
from hemaloop.errors import HemaloopError
from running import Project, wait_for

pytestmark = pytest.mark.label_studio


def test_annotations_made_while_redis_is_gone_are_trained_on_later(
    stack: Stack, project: Callable[..., Project]
) -> None:
    made = project(10, preset="bare")
    # The embedded Redis belongs to the backend or to the worker; end it as a crash would.
    with contextlib.suppress(RedisError):
        stack.queues.redis.shutdown(nosave=True, now=True, force=True)
    seconds = []
    for task_id in list(made.cells)[:6]:
        began = time.monotonic()
        made.submit(task_id)
        seconds.append(time.monotonic() - began)
    assert max(seconds) < 5.0, "a webhook that cannot be queued must not hold up a submit"

    def redis_is_back() -> bool:
        try:
            return bool(stack.queues.redis.ping())
        except (HemaloopError, RedisError):
            return False

    wait_for(redis_is_back, "Redis, started again by its owner")
    stack.stop_child("worker")
    stack.start_worker()  # reconciles when it starts: what no webhook could tell is found in the project itself
    wait_for(made.versions, "a training with what was submitted meanwhile", 480.0)
    made.idle()
    assert len(made.store.manifest(made.key, "cells", made.versions()[-1]).annotations) == 6


def test_a_training_that_loses_label_studio_is_done_later(stack: Stack, project: Callable[..., Project]) -> None:
    made = project(10, preset="bare")
    for task_id in list(made.cells)[:6]:
        made.submit(task_id)
    stack.server.stop()
    time.sleep(6.0)
    stack.server.restart()
    version = made.wait_for_version(seconds=240.0)
    assert len(made.store.manifest(made.key, "cells", version).annotations) == 6
    made.wait_until_scored(version)
    made.idle()


def test_a_killed_worker_leaves_the_live_model_and_its_work_is_done_by_the_next(
    stack: Stack, project: Callable[..., Project]
) -> None:
    made = project(10, preset="blobs", epochs=4, epoch_seconds=1.0)
    live = made.studio.project(made.id).model_version
    for task_id in list(made.cells)[:6]:
        made.submit(task_id)

    def training() -> bool:
        return any(job["kind"] == "train" and job["status"] == "started" for job in stack.queues.running(made.key))

    wait_for(training, "a training at work")
    stack.stop_child("worker")
    assert made.studio.project(made.id).model_version == live
    assert made.versions() == []
    stack.start_worker()
    wait_for(made.versions, "the training, done by the next worker")
    made.idle()
