"""A burst of events: 200 webhooks within a second, each answered at once, and one training for all of them."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import requests

import stub_plugin
import web_stage
from benchmarks.rows import row
from hemaloop.queues import Queues

EVENTS = 200
SENDERS = 20
TARGET = 100.0


def measure() -> list[dict[str, Any]]:
    """Milliseconds of the slowest answer, seconds of the burst, trainings asked for."""
    with tempfile.TemporaryDirectory(prefix="hemaloop-bench-") as name:
        folder = Path(name)
        with web_stage.serving(folder, HEMALOOP_LOG_LEVEL="INFO") as (address, _, _log):
            _burst(address, SENDERS)
            waits, seconds = _burst(address, EVENTS)
            trainings = _trainings(folder)
    return [
        row(f"slowest of {EVENTS} webhooks in one second", TARGET, max(waits) * 1000, "ms"),
        row(f"sending {EVENTS} webhooks", 1.5, seconds, "s"),
        row("trainings queued by them", 2, trainings, "jobs", trainings == 1),
    ]


def _burst(address: str, count: int) -> tuple[list[float], float]:
    """Spread over a second from several connections. Returns each answer's seconds, and those of them all."""
    body = json.dumps(
        {
            "action": "ANNOTATION_CREATED",
            "project": {"id": 7, "created_at": "2026-09-21T14:13:20Z", "label_config": stub_plugin.config()},
            "annotation": {"id": 1, "result": [{"id": str(number), "value": {"x": 1.0}} for number in range(20)]},
        }
    )
    headers = {"Content-Type": "application/json", "X-Hemaloop-Secret": web_stage.SECRET}
    waits: list[float] = []
    start = time.perf_counter() + 0.2

    def send(sender: int) -> None:
        with requests.Session() as session:
            for number in range(sender, count, SENDERS):
                time.sleep(max(0.0, start + number / count - time.perf_counter()))
                began = time.perf_counter()
                session.post(f"{address}/webhook", data=body, headers=headers, timeout=10).raise_for_status()
                waits.append(time.perf_counter() - began)

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(waits) != count:
        raise RuntimeError(f"found {len(waits)} answers, expected {count}")
    return waits, time.perf_counter() - start


def _trainings(folder: Path) -> int:
    settings = web_stage.settings(folder).model_copy(update={"redis_url": None})
    queues = Queues(settings)
    return web_stage.wait_until(lambda: len(queues.running(web_stage.PROJECT)))
