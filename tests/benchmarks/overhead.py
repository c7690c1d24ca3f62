"""What the backend adds to a task: everything but fetching and decoding the image and the model."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import stub_plugin
import web_stage
from benchmarks.rows import row
from hemaloop.inference.wire import TaskAnswer
from hemaloop.serving import Inference
from hemaloop.web import services

TASKS = 100
CELLS = 16
TARGET = 5.0


def measure() -> list[dict[str, Any]]:
    """Milliseconds a task, in requests of one task and of many."""
    with tempfile.TemporaryDirectory(prefix="hemaloop-bench-") as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        stub_plugin.install(patch)
        with web_stage.backend(folder, inference_processes=1) as (app, _):
            inference = services.of(app).inference
            answers = _record(inference, patch)
            config, tasks = stub_plugin.config(), _tasks(folder)

            def ask(some: Sequence[dict[str, Any]]) -> float:
                """Seconds of a request beside image and model."""
                answers.clear()
                began = time.perf_counter()
                reply = web_stage.ask(app, "POST", "/predict", web_stage.predict_body(list(some), config))
                seconds = time.perf_counter() - began
                if not all(entry and len(entry["result"]) == CELLS for entry in reply.json["results"]):
                    raise RuntimeError(f"found {reply.text[:200]}, expected {CELLS} boxes a task")
                return seconds - sum(answer.seconds["image"] + answer.seconds["model"] for answer in answers)

            ask(tasks[:1])
            ask(tasks)
            alone = [ask([task]) * 1000 for task in tasks[:30]]
            together = ask(tasks) * 1000 / TASKS
    return [
        row("overhead of a request of one task, median", TARGET, statistics.median(alone), "ms"),
        row(f"overhead a task in a request of {TASKS}", TARGET, together, "ms"),
    ]


def _record(inference: Inference, patch: pytest.MonkeyPatch) -> list[TaskAnswer]:
    """The answers of each request, which say how long image and model took."""
    seen: list[TaskAnswer] = []
    real = inference.predict

    def predict(*arguments: Any) -> list[TaskAnswer | None]:
        answers = real(*arguments)
        seen.extend(answer for answer in answers if answer is not None)
        return answers

    patch.setattr(inference, "predict", predict)
    return seen


def _tasks(folder: Path) -> list[dict[str, Any]]:
    tasks = []
    for number in range(1, TASKS + 1):
        cells = stub_plugin.random_cells(number, CELLS, 640, 480)
        path = folder / f"{number}.png"
        path.write_bytes(stub_plugin.png(stub_plugin.draw(cells, 640, 480)))
        tasks.append({"id": number, "data": {"image": str(path)}})
    return tasks
