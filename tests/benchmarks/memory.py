"""Private memory of a whole installation at rest: `hemaloop serve` and `hemaloop worker`, with one detector loaded.

One inference process, where two are the default. USS, as the kernel tells it, is what the target is about. It counts
pages of library files that a single process has mapped, which a second one would share and the system can drop, and
which an inference process unmaps itself when it rests. So what is written to and cannot be dropped (private dirty
pages) stands beside it, and what all hold before the first rest and right after an answer; what a rest costs is the
first answer after it beside the next. None of these has a target.

Let no other process of the same environment run beside it: what both map is nobody's private memory.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from PIL import Image

import web_stage
from benchmarks.predicting import predict
from benchmarks.rows import row
from hemaloop.synthetic import render_smear

REST_SECONDS = 10.0
"""From the last prediction and the last process that started to the look."""
RESTS = 5
WORKER_PROCESSES = 4
"""Of `hemaloop worker`: itself, and a worker of each of three sets of queues."""


def measure() -> list[dict[str, Any]]:
    """A row of each kind of process, and their sum beside the target."""
    with tempfile.TemporaryDirectory(prefix="hemaloop-bench-") as name:
        folder = Path(name)
        Image.fromarray(render_smear(0).image).save(folder / "smear.jpg", quality=90)
        environment = {"HEMALOOP_LOG_LEVEL": "WARNING", "HEMALOOP_INFERENCE_PROCESSES": "1"}
        with web_stage.serving(folder, **environment) as (address, server, _log), _working(folder, address) as worker:
            tasks = [{"id": 1, "data": {"image": str(folder / "smear.jpg")}}]
            web_stage.wait_until(lambda: len(_family(worker.pid)) == WORKER_PROCESSES)
            predict(address, tasks)
            family = [*_family(server.pid), *_family(worker.pid)]
            loaded = _by_kind(family, _uss)
            time.sleep(REST_SECONDS)
            found, written = _by_kind(family, _uss), _by_kind(family, _dirty)
            waits = [_two_answers(address, tasks) for _ in range(RESTS)]
            answered = _by_kind(family, _uss)
    return [
        *(_shown(f"private memory at rest, {kind}", size) for kind, size in found.items()),
        row("private memory at rest, all together", 700, sum(found.values()), "MB"),
        _shown("of these written to", sum(written.values())),
        _shown("before the first rest", sum(loaded.values())),
        _shown("right after an answer", sum(answered.values())),
        _shown("the first answer after a rest", median(first for first, _ in waits), "s"),
        _shown("the next answer", median(second for _, second in waits), "s"),
    ]


def _shown(name: str, measured: float, unit: str = "MB") -> dict[str, Any]:
    """A row without a target."""
    return row(name, 0, measured, unit, ok=True)


def _two_answers(address: str, tasks: list[dict[str, Any]]) -> tuple[float, float]:
    """Seconds of the first answer after a rest, and of the next."""
    time.sleep(REST_SECONDS)
    begun = time.perf_counter()
    predict(address, tasks)
    between = time.perf_counter()
    predict(address, tasks)
    return between - begun, time.perf_counter() - between


@contextmanager
def _working(folder: Path, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """`hemaloop worker` beside the backend, on its Redis."""
    environment = web_stage.environment(folder, int(address.rpartition(":")[2]), HEMALOOP_LOG_LEVEL="WARNING")
    command = [sys.executable, "-c", "from hemaloop.cli import main; main()", "worker", "--no-reconcile"]
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def _family(pid: int) -> list[psutil.Process]:
    owner = psutil.Process(pid)
    return [owner, *owner.children(recursive=True)]


def _by_kind(processes: list[psutil.Process], size: Callable[[psutil.Process], int]) -> dict[str, float]:
    """MB (2^20 bytes) by kind of process. size: bytes of one."""
    found: Counter[str] = Counter()
    for process in processes:
        found[_kind(process.cmdline())] += size(process)
    return {kind: total / 2**20 for kind, total in found.items()}


def _uss(process: psutil.Process) -> int:
    return int(process.memory_full_info().uss)


def _dirty(process: psutil.Process) -> int:
    return sum(int(one.private_dirty) for one in process.memory_maps())


def _kind(command: list[str]) -> str:
    """What a process is for people who read a list of them."""
    if "redis" in Path(command[0]).name:
        return "Redis"
    for module, kind in (
        ("hemaloop.inference", "inference process with the detector"),
        ("hemaloop.workhorse", "process made ready for a quick head"),
    ):
        if module in command:
            return kind
    if "hemaloop.worker" in command:
        return f"worker of {', '.join(command[command.index('hemaloop.worker') + 1 :])}"
    return "hemaloop serve" if "serve" in command else "hemaloop worker, which starts the others"
