"""How much sooner a pool is scored by two and by four workers, with objects behind S3's protocol and Redis behind TLS.

The model is a stub that takes a tenth of a second an image and no processor, as a GPU or another machine would.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

import loop_stage
import stub_plugin
from benchmarks.rows import row
from hemaloop.queues import Queues
from hemaloop.redis_server import EmbeddedRedis
from hemaloop.supervisor import environment
from many_machines import BUCKET, machine, object_store, over_tls

TASKS, SHARD, SECONDS = 400, 50, 0.1
COUNTS = {2: 0.65, 4: 0.45}
"""Workers, and the share of one worker's time that they may take: jobs start on the two cores of this machine."""


def measure() -> list[dict[str, Any]]:
    """One row a number of workers."""
    with (
        tempfile.TemporaryDirectory(prefix="hemaloop-bench-") as name,
        pytest.MonkeyPatch.context() as patch,
        object_store() as objects,
        EmbeddedRedis(Path(name) / "redis") as server,
        over_tls(server.url, Path(name)) as secured,
    ):
        for variable, value in objects.items():
            patch.setenv(variable, value)
        stub_plugin.install(patch)
        taken = {count: _seconds(Path(name), count, secured) for count in (1, *COUNTS)}
        stub_plugin.forget()
    return [
        row(
            f"pool of {TASKS} scored by {count} workers ({taken[count]:.0f} s), of the time of one ({taken[1]:.0f} s)",
            most,
            taken[count] / taken[1],
            "",
        )
        for count, most in COUNTS.items()
    ]


def _seconds(root: Path, workers: int, secured: str) -> float:
    """From asking for scores to the version in force, with so many worker processes waiting."""
    config = stub_plugin.config(delay_seconds=SECONDS)
    shared = {"redis_url": secured, "artifacts_url": f"s3://{BUCKET}/{workers}", "score_shard_size": SHARD}
    with contextlib.ExitStack() as stack:
        studio = stack.enter_context(loop_stage.label_studio(config))
        pictures = root / f"pictures-{workers}"
        pictures.mkdir()
        studio.add_images(pictures, TASKS)
        for number in range(workers):
            own = root / f"{workers}-{number}"
            own.mkdir()
            settings = loop_stage.settings(own, studio.url, image_folders=(root,), **shared)
            command = ["worker", "--no-reconcile", "--queues", "push,score"]
            stack.enter_context(machine(command, {**os.environ, **environment(settings)}, own / "log"))
        queues = Queues(settings)
        loop_stage.wait_until(lambda: _workers(queues) == workers, "the workers", 120)
        began = time.monotonic()
        queues.request_scores(loop_stage.PROJECT, "benchmark")
        loop_stage.wait_until(lambda: len(studio.predictions) == TASKS and studio.model_version, "the scores", 600)
        taken = time.monotonic() - began
        queues.redis.flushall()
        queues.close()
    return taken


def _workers(queues: Queues) -> int:
    from rq.worker import Worker

    return int(Worker.count(queues.redis, queues.queue("score")))
