"""Private memory of a whole installation at rest: `hemaloop serve` and `hemaloop worker`, with one detector loaded.

One inference process, where two are the default. USS, as the kernel tells it, is what the target is about. It counts
pages of library files that a single process has mapped, which a second one would share and the system can drop; so
what is written to and cannot be dropped (private dirty pages) stands beside it, without a target.
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
from typing import Any

import psutil
from PIL import Image

import web_stage
from benchmarks.predicting import predict
from benchmarks.rows import row
from hemaloop.synthetic import render_smear

REST_SECONDS = 10.0
"""From the last prediction and the last process that started to the look."""
WORKER_PROCESSES = 4
"""Of `hemaloop worker`: itself, and a worker of each of three sets of queues."""


def measure() -> list[dict[str, Any]]:
    """A row of each kind of process, and their sum beside the target."""
    with tempfile.TemporaryDirectory(prefix="hemaloop-bench-") as name:
        folder = Path(name)
        Image.fromarray(render_smear(0).image).save(folder / "smear.jpg", quality=90)
        environment = {"HEMALOOP_LOG_LEVEL": "WARNING", "HEMALOOP_INFERENCE_PROCESSES": "1"}
        with web_stage.serving(folder, **environment) as (address, server, _log), _working(folder, address) as worker:
            predict(address, [{"id": 1, "data": {"image": str(folder / "smear.jpg")}}])
            web_stage.wait_until(lambda: len(_family(worker.pid)) == WORKER_PROCESSES)
            time.sleep(REST_SECONDS)
            family = [*_family(server.pid), *_family(worker.pid)]
            found, written = _by_kind(family, _uss), _by_kind(family, _dirty)
    rows = [row(f"private memory at rest, {kind}", 0, size, "MB", ok=True) for kind, size in found.items()]
    return [
        *rows,
        row("private memory at rest, all together", 700, sum(found.values()), "MB"),
        row("of these written to, no target", 0, sum(written.values()), "MB", ok=True),
    ]


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
