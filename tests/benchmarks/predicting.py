"""Real predictions: hundreds of smears in one request, and what an annotator notices of it beside a training."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from PIL import Image

import web_stage
from benchmarks.rows import percentile, row
from hemaloop.project_setup import shipped_config

TASKS = 450
PICTURES = 30
WATCH_SECONDS = 40.0
AUTH = ("hemaloop", web_stage.PASSWORD)


def measure() -> list[dict[str, Any]]:
    """First one request alone, then the same request beside a training while annotators work."""
    with tempfile.TemporaryDirectory(prefix="hemaloop-bench-") as name:
        folder = Path(name)
        tasks = _tasks(folder)
        with web_stage.serving(folder, HEMALOOP_LOG_LEVEL="WARNING", HEMALOOP_PREDICT_DEADLINE_SECONDS="85") as (
            address,
            _,
            _log,
        ):
            for task in tasks[:4]:
                predict(address, [task])
            rows = _bulk(address, tasks)
            with _training():
                rows += _beside(address, tasks)
    return rows


def _bulk(address: str, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    began = time.perf_counter()
    results = predict(address, tasks)["results"]
    seconds = time.perf_counter() - began
    left = sum(entry == [] for entry in results)
    return [
        row(f"{TASKS} tasks of 640x480 in one request", 90, seconds, "s"),
        row("of these left to a job", 1, left, "tasks", left == 0),
    ]


def _beside(address: str, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    bulk = threading.Thread(target=predict, args=(address, tasks))
    bulk.start()
    setup = {"project": web_stage.PROJECT, "schema": shipped_config("cbc"), "access_token": web_stage.TOKEN}
    until = time.perf_counter() + WATCH_SECONDS
    session = requests.Session()
    watched = {
        "health": _watch(lambda: session.get(f"{address}/health", auth=AUTH, timeout=60), 0.05, until),
        "setup": _watch(lambda: requests.post(f"{address}/setup", json=setup, auth=AUTH, timeout=60), 0.05, until),
        "open": _watch(lambda: predict(address, [tasks[0]]), 0.5, until),
    }
    for thread, _ in watched.values():
        thread.join()
    waits = {name: samples for name, (_, samples) in watched.items()}
    bulk.join()
    title = "beside 450 tasks and a training"
    return [
        row(f"/health {title}, p99 of {len(waits['health'])}", 50, percentile(waits["health"], 0.99) * 1000, "ms"),
        row(f"/setup {title}, p99 of {len(waits['setup'])}", 50, percentile(waits["setup"], 0.99) * 1000, "ms"),
        row(f"opening a task {title}, p95 of {len(waits['open'])}", 2, percentile(waits["open"], 0.95), "s"),
    ]


def _watch(ask: Callable[[], Any], every: float, until: float) -> tuple[threading.Thread, list[float]]:
    """Ask again and again; seconds of each answer."""
    waits: list[float] = []

    def run() -> None:
        while time.perf_counter() < until:
            began = time.perf_counter()
            ask()
            waits.append(time.perf_counter() - began)
            time.sleep(every)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, waits


def predict(address: str, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    body = web_stage.predict_body(tasks, shipped_config("cbc"))
    reply = requests.post(f"{address}/predict", json=body, auth=AUTH, timeout=100)
    reply.raise_for_status()
    found: dict[str, Any] = reply.json()
    if len(found["results"]) != len(tasks):
        raise RuntimeError(f"found {len(found['results'])} entries, expected {len(tasks)}")
    return found


def _tasks(folder: Path) -> list[dict[str, Any]]:
    from hemaloop.synthetic import render_smear

    for number in range(PICTURES):
        Image.fromarray(render_smear(number).image).save(folder / f"{number}.jpg", quality=90)
    return [
        {"id": number, "data": {"image": str(folder / f"{number % PICTURES}.jpg")}} for number in range(1, TASKS + 1)
    ]


@contextmanager
def _training() -> Iterator[None]:
    """A training in a process of its own, as polite as the worker's while annotators wait: niced, one thread."""
    process = multiprocessing.get_context("spawn").Process(target=_train, daemon=True)
    process.start()
    time.sleep(10)
    if not process.is_alive():
        raise RuntimeError("the training ended before anything was measured")
    try:
        yield
    finally:
        process.kill()
        process.join()


def _train() -> None:
    os.setsid()
    import torch

    from hemaloop.workhorse import give_way

    give_way(10)
    torch.set_num_threads(1)
    from hemaloop import registry
    from hemaloop.plugin import Example, Silent
    from hemaloop.synthetic import render_smear

    smears = [render_smear(seed) for seed in range(16)]
    examples = [Example(smear.image, smear.detections, str(seed)) for seed, smear in enumerate(smears)]
    plugin = registry.find("faster_rcnn")(("RBC", "WBC", "Platelets"), {"epochs": 500})
    plugin.fit(examples, examples[:2], Silent())
