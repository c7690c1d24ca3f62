"""`/predict` for 1, 8 and 32 annotators at once, each opening task after task; and how soon the backend is up."""

from __future__ import annotations

import concurrent.futures
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from PIL import Image

import stub_plugin
import web_stage
from benchmarks.rows import percentile, row
from hemaloop.project_setup import shipped_config
from hemaloop.synthetic import render_smear

ANNOTATORS = (1, 8, 32)
SECONDS = 12.0
STUB_SECONDS = 0.02
PICTURES = 32
STARTS = 3
AUTH = ("hemaloop", web_stage.PASSWORD)


def measure() -> list[dict[str, Any]]:
    """The stub of 20 ms an image, then the detector that ships (ResNet-18), then cold starts."""
    with tempfile.TemporaryDirectory(prefix="hemaloop-bench-") as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        stub_plugin.install(patch)
        rows = _of("stub of 20 ms", _stub_tasks(folder), stub_plugin.config(delay_seconds=STUB_SECONDS), folder / "a")
        rows += _of("resnet18 detector", _smears(folder), shipped_config("cbc"), folder / "b")
        return rows + _starts(folder / "c")


def _of(title: str, tasks: list[dict[str, Any]], config: str, folder: Path) -> list[dict[str, Any]]:
    folder.mkdir()
    rows, rates, errors = [], {}, 0
    environment = {"HEMALOOP_LOG_LEVEL": "WARNING", "HEMALOOP_IMAGE_FOLDERS": str(folder.parent)}
    with web_stage.serving(folder, **environment) as (address, _, _log):
        for task in tasks[:4]:
            _ask(requests.Session(), address, task, config)  # every process loads its model
        time.sleep(1)
        for count in ANNOTATORS:
            waits, failed, seconds = _annotate(address, tasks, config, count)
            rates[count] = len(waits) / seconds
            errors += failed
            load = f"{title}, {count} annotators at once"
            rows.append(row(f"{load}: p50", 20, percentile(waits, 0.5), "s"))
            rows.append(row(f"{load}: p99", 20, percentile(waits, 0.99), "s"))
            rows.append(row(f"{load}: answers a second", 0, rates[count], "/s", ok=True))
    rows.append(row(f"{title}: errors and empty answers", 1, errors, ""))
    gain = rates[32] / rates[1]
    rows.append(row(f"{title}: throughput at 32 over that at 1, wanted at least", 1.5, gain, "x", ok=gain >= 1.5))
    return rows


def _annotate(address: str, tasks: list[dict[str, Any]], config: str, count: int) -> tuple[list[float], int, float]:
    """Seconds of each answer, how many were none, and how long it took."""
    waits: list[float] = []
    failed = 0
    lock = threading.Lock()
    until = time.perf_counter() + SECONDS

    def annotator(number: int) -> None:
        nonlocal failed
        session, turn = requests.Session(), number
        while time.perf_counter() < until:
            began = time.perf_counter()
            good = _ask(session, address, tasks[turn % len(tasks)], config)
            with lock:
                waits.append(time.perf_counter() - began)
                failed += not good
            turn += count

    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        list(pool.map(annotator, range(count)))
    return waits, failed, time.perf_counter() - began


def _ask(session: requests.Session, address: str, task: dict[str, Any], config: str) -> bool:
    """Whether the task got its regions."""
    body = web_stage.predict_body([task], config)
    try:
        reply = session.post(f"{address}/predict", json=body, auth=AUTH, timeout=100)
        return reply.ok and bool(reply.json()["results"][0])
    except requests.RequestException:
        return False


def _stub_tasks(folder: Path) -> list[dict[str, Any]]:
    return web_stage.tasks(folder, PICTURES)


def _smears(folder: Path) -> list[dict[str, Any]]:
    found = []
    for number in range(PICTURES):
        path = folder / f"smear-{number}.jpg"
        Image.fromarray(render_smear(number).image).save(path, quality=90)
        found.append({"id": number + 1, "data": {"image": str(path)}})
    return found


def _starts(folder: Path) -> list[dict[str, Any]]:
    """From the start of the process to the first answer of `/health`; the median of some, each with a new folder."""
    seconds, worked = [], []
    for number in range(STARTS):
        one = folder / str(number)
        one.mkdir(parents=True)
        began = time.perf_counter()
        with web_stage.serving(one, HEMALOOP_LOG_LEVEL="WARNING") as (_, process, _log):
            seconds.append(time.perf_counter() - began)
            times = psutil.Process(process.pid).cpu_times()
            worked.append(times.user + times.system)
    load = os.getloadavg()[0]
    return [
        row(f"cold start to /health, median of {STARTS} (load {load:.1f})", 3, sorted(seconds)[STARTS // 2], "s"),
        row("processor time of the process until then, whatever else ran", 3, sorted(worked)[STARTS // 2], "s"),
    ]
