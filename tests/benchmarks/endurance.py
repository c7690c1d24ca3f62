"""Thousands of predictions and dozens of trainings in one process: does it grow, does it keep files or sockets open?"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import loop_stage
import stub_plugin
import web_stage
from benchmarks.rows import row
from hemaloop import training
from hemaloop.redis_server import EmbeddedRedis
from hemaloop.web import services

PREDICTIONS = 10_000
TRAININGS = 50
GROWTH = 0.05
"""Share of the memory, after the first tenth has warmed everything up."""


@dataclass(frozen=True)
class Kept:
    """What processes hold. memory: private bytes (USS). files: open descriptors, sockets and pipes among them."""

    memory: int
    files: int


def measure() -> list[dict[str, Any]]:
    """Growth from the first tenth to the end, of the web process with its inference process, and of a trainer."""
    with tempfile.TemporaryDirectory(prefix="hemaloop-bench-") as name:
        predicted = predictions(Path(name) / "p", PREDICTIONS)
        trained = trainings(Path(name) / "t", TRAININGS)
    return [
        *_rows(f"{PREDICTIONS:,} predictions, web process", predicted[0]),
        *_rows(f"{PREDICTIONS:,} predictions, inference process", predicted[1]),
        *_rows(f"{TRAININGS} trainings in one process", trained),
    ]


def _rows(title: str, kept: tuple[Kept, Kept]) -> list[dict[str, Any]]:
    return [
        row(f"{title}: private memory grows", 100 * GROWTH, 100 * growth(kept), "%"),
        row(f"{title}: descriptors more", 1, kept[1].files - kept[0].files, ""),
    ]


def growth(kept: tuple[Kept, Kept]) -> float:
    """Of the memory, as a share of what it was."""
    return kept[1].memory / kept[0].memory - 1


def kept_by(process: psutil.Process) -> Kept:
    """Now, without garbage that only waits for its collection."""
    gc.collect()
    return Kept(process.memory_full_info().uss, process.num_fds())


def predictions(folder: Path, count: int) -> list[tuple[Kept, Kept]]:
    """Tasks of a real backend, its images from disk; before and after, for the web process and its child."""
    folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        stub_plugin.install(patch)
        tasks, config = web_stage.tasks(folder, 20), stub_plugin.config()
        with web_stage.backend(folder, inference_processes=1) as (app, _):

            def predict(some: int) -> None:
                for start in range(0, some, 10):
                    body = web_stage.predict_body(tasks[start % 20 : start % 20 + 10], config)
                    reply = web_stage.ask(app, "POST", "/predict", body)
                    if not all(reply.json["results"]):
                        raise RuntimeError(f"found {reply.text[:200]}, expected ten predictions")

            def processes() -> list[psutil.Process]:
                return [psutil.Process(), *map(psutil.Process, services.of(app).inference.pids)]

            return _around(predict, count, processes)


def trainings(folder: Path, count: int) -> tuple[Kept, Kept]:
    """Trainings of one growing project: read, fitted, judged, stored, doubted, in this process."""
    folder.mkdir(parents=True)
    with (
        pytest.MonkeyPatch.context() as patch,
        EmbeddedRedis(folder / "redis") as server,
        loop_stage.label_studio(stub_plugin.config("bare")) as studio,
    ):
        stub_plugin.install(patch)
        place = loop_stage.workplace(loop_stage.settings(folder, studio.url, redis_url=server.url))
        tasks = studio.add_images(folder, 24)
        for task in tasks:
            studio.annotate(task)

        def train(some: int) -> None:
            for turn in range(some):
                task = tasks[turn % len(tasks)]
                # Corrected once more: the same amount of data, but not the same data.
                studio.tasks[task]["annotations"].clear()
                studio.annotate(task, id=10_000 + len(studio.calls))
                place.queues.ledger.ask(loop_stage.PROJECT)
                outcome = training.train_project(place, loop_stage.PROJECT, "bench")["controls"]["cells"]
                if outcome["state"] not in ("promoted", "kept"):
                    raise RuntimeError(f"found {outcome}, expected a training")

        (kept,) = _around(train, count, lambda: [psutil.Process(os.getpid())])
        place.studio.close()
        place.queues.redis.close()
    stub_plugin.forget()
    return kept


def _around(
    work: Callable[[int], None], count: int, processes: Callable[[], list[psutil.Process]]
) -> list[tuple[Kept, Kept]]:
    warm = max(1, count // 10)
    work(warm)
    before = list(map(kept_by, processes()))
    work(count - warm)
    return list(zip(before, map(kept_by, processes()), strict=True))
