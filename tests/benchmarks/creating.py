"""From a folder of 1,000 images to a project that can be labelled, by the command that people type."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stub_plugin
from benchmarks.rows import row
from hemaloop import label_studio_server
from hemaloop.children import Watch, unwatched
from hemaloop.demo.stack import Stack
from running import hemaloop, wait_for

COUNT = 1000
WIDTH, HEIGHT = 640, 480
STUB_SECONDS = 0.02
"""That one image takes the stub family."""
TARGET = 60.0
VERSION = "stub-blobs-starter-1"


def measure() -> list[dict[str, Any]]:
    """Seconds until the first predictions are there and the command returns, and until every task has one."""
    backend = str(Path(label_studio_server.__file__).resolve().parents[1])
    paths = [str(stub_plugin.DISTRIBUTION), backend, os.environ.get("PYTHONPATH", "")]
    with tempfile.TemporaryDirectory(prefix="hemaloop-bench-") as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        folder = _images(Path(name) / "smears")
        config = Path(name) / "stub.xml"
        config.write_text(stub_plugin.config(delay_seconds=STUB_SECONDS))
        with Stack(Path(name) / "stack", waiting=_silent, port=0, backend_port=0) as stack:
            return _timed(stack, folder, config)


def _timed(stack: Stack, folder: Path, config: Path) -> list[dict[str, Any]]:
    began = time.perf_counter()
    done = hemaloop(stack, "project", "create", str(folder), "--title", "Benchmark", "--config", str(config))
    usable = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    made = next(project for project in stack.studio.projects() if project.title == "Benchmark")
    there = stack.studio.versions(made.id).get(VERSION, 0)
    in_order = len(stack.studio.queue_head(made.id, 10)) == 10 and made.model_version == VERSION
    wait_for(lambda: stack.studio.versions(made.id).get(VERSION, 0) >= COUNT, "all predictions", 900.0)
    scored = time.perf_counter() - began
    size = f"{COUNT:,} images of {WIDTH}x{HEIGHT}"
    order = "in order" if in_order else "not in order"
    return [
        row(
            f"project create with {size}: usable, {there} predictions there, {order}",
            *(TARGET, usable, "s", usable < TARGET and in_order),
        ),
        row("and everything scored", 900, scored, "s"),
    ]


def _images(folder: Path) -> Path:
    folder.mkdir()
    for number in range(COUNT):
        cells = stub_plugin.random_cells(number, 20, WIDTH, HEIGHT)
        (folder / f"{number:04d}.png").write_bytes(stub_plugin.png(stub_plugin.draw(cells, WIDTH, HEIGHT)))
    return folder


@contextlib.contextmanager
def _silent(name: str) -> Iterator[Watch]:
    del name
    yield unwatched
