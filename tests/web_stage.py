"""A backend for tests: settings in a temporary folder, the stub family, images on disk, real inference processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flask
import requests

import stub_plugin
from hemaloop.app import create_app
from hemaloop.children import free_port
from hemaloop.config import Settings
from hemaloop.errors import QueueError
from hemaloop.labelconfig import parse_label_config
from hemaloop.queues import Queues
from hemaloop.web import services

PROJECT = "7.1790000000"
PASSWORD = "correct horse battery"
SECRET = "a webhook secret of some length"
TOKEN = "0123456789abcdef0123456789abcdef01234567"


def settings(folder: Path, **changes: Any) -> Settings:
    """Settings of a backend that lives in a folder; nothing is taken from this machine's environment."""
    values = {
        "label_studio_url": "http://127.0.0.1:9",
        "label_studio_api_key": TOKEN,
        "redis_url": "redis://:a-redis-password@127.0.0.1:9/0",
        "username": "hemaloop",
        "password": PASSWORD,
        "webhook_secret": SECRET,
        "data_dir": folder / "data",
        "device": "cpu",
        "image_folders": (folder,),
        "predict_open_seconds": 85,
        **changes,
    }
    aliases = {name: info.validation_alias or name for name, info in Settings.model_fields.items()}
    return Settings(_env_file=None, **{str(aliases[name]): value for name, value in values.items()})


class RecordingQueues(Queues):
    """Queues without Redis: what was asked of them, in `asked`; `gone` makes every call fail as if Redis were."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.asked: list[tuple[Any, ...]] = []
        self.gone = False

    def _note(self, *what: Any) -> None:
        if self.gone:
            raise QueueError("Redis: cannot be used (ConnectionError); is it running, and REDIS_URL right?")
        self.asked.append(what)

    def request_training(self, project: str, reason: str, now: bool = False, delay: float | None = None) -> str | None:
        self._note("training", project, reason, now)
        return "job-1"

    def request_scores(self, project: str, reason: str) -> str:
        self._note("scores", project, reason)
        return "job-2"

    def finish_predictions(self, project: str, task_ids: Any, version: str) -> list[str]:
        self._note("finish", project, list(task_ids), version)
        return ["job-3"]

    def remember(self, project: str) -> None:
        self._note("remember", project)

    def leave(self, project: str) -> None:
        self._note("leave", project)

    def request_portrait(self, project: str, every: float) -> str | None:
        self._note("portrait", project, every)
        return "job-4"

    def mark_predicting(self, seconds: float = 2.0) -> None:
        if self.gone:
            raise QueueError("Redis: cannot be used")

    def job_status(self, job_id: str) -> dict[str, Any]:
        self._note("status", job_id)
        return {"id": job_id, "status": "started" if job_id == "job-1" else "unknown"}

    def of_kind(self, kind: str) -> list[tuple[Any, ...]]:
        return [what for what in self.asked if what[0] == kind]


@contextmanager
def backend(folder: Path, **changes: Any) -> Iterator[tuple[flask.Flask, RecordingQueues]]:
    """An application with running children, and its queues."""
    made = settings(folder, **changes)
    queues = RecordingQueues(made)
    app = create_app(made, queues=queues)
    try:
        yield app, queues
    finally:
        services.of(app).close()


def image_file(folder: Path, name: str, seed: int = 0, mark: tuple[int, int, int] | None = None, size: int = 64) -> str:
    """Write a picture of four cells and return its address. mark: colour of the first pixel."""
    image = stub_plugin.draw(stub_plugin.random_cells(seed, width=size, height=size * 3 // 4), size, size * 3 // 4)
    if mark is not None:
        image[0, 0] = mark
    path = folder / name
    path.write_bytes(stub_plugin.png(image))
    return str(path)


def tasks(folder: Path, count: int, **options: Any) -> list[dict[str, Any]]:
    """Tasks 1..count, each with an image of its own."""
    return [
        {"id": number, "data": {"image": image_file(folder, f"{number}.png", number, **options)}, "project": 7}
        for number in range(1, count + 1)
    ]


def predict_body(
    tasks: list[dict[str, Any]], config: str, context: Any = None, project: str = PROJECT
) -> dict[str, Any]:
    """A request as Label Studio writes it."""
    params = {"login": None, "password": None, "context": context}
    return {"tasks": tasks, "project": project, "label_config": config, "params": params}


def ask(app: flask.Flask, method: str, path: str, body: Any = None, **options: Any) -> Any:
    """A request with the right password, or with other `headers`."""
    options.setdefault("auth", ("hemaloop", PASSWORD))
    return app.test_client().open(path, method=method, json=body, **options)


def slowness() -> float:
    """How much longer than alone things take on this machine now, >= 1: time limits of tests are stretched by it."""
    began, used = time.perf_counter(), time.process_time()
    while time.process_time() - used < 0.1:
        sum(range(1000))
    return max(1.0, (time.perf_counter() - began) / 0.1)


def wait_until(found: Callable[[], Any], seconds: float = 120.0) -> Any:
    """What `found` returns once that is true. Raises `TimeoutError`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    raise TimeoutError(f"not within {seconds:.0f} s")


def publish(app: flask.Flask, config: str, shift: int = 0, project: str = PROJECT) -> str:
    """Fit a stub on a few images, store and publish it. Returns the version. shift: makes another model."""
    from hemaloop.plugin import Detections, Example, Silent
    from hemaloop.projects import build_plugin
    from hemaloop.store import Manifest, Published

    control = parse_label_config(config).bound[0]
    plugin = build_plugin(control)
    examples = []
    for seed in range(4 + shift):
        cells = stub_plugin.random_cells(seed)
        image = stub_plugin.draw(cells)
        truth = Detections.truth([cell[:4] for cell in cells], [plugin.labels.index(cell[4]) for cell in cells])
        examples.append(Example(image + shift, truth, str(seed)))
    plugin.fit(examples, [], Silent())
    store = services.of(app).store
    manifest = Manifest(family="stub", plugin_version="1", labels=plugin.labels, options={})
    version = store.put(project, control.name, plugin, manifest)
    store.publish(project, Published(version, {control.name: version}))
    return version


def environment(folder: Path, port: int, **changes: str) -> dict[str, str]:
    """What `hemaloop serve` and `hemaloop worker` with the stub family are told, to keep their data in `folder`."""
    return {
        **{name: value for name, value in os.environ.items() if name != "REDIS_URL"},
        "PYTHONPATH": os.pathsep.join([str(stub_plugin.DISTRIBUTION), os.environ.get("PYTHONPATH", "")]),
        "HEMALOOP_PORT": str(port),
        "HEMALOOP_PASSWORD": PASSWORD,
        "HEMALOOP_WEBHOOK_SECRET": SECRET,
        "HEMALOOP_DATA_DIR": str(folder / "data"),
        "HEMALOOP_IMAGE_FOLDERS": str(folder),
        "HEMALOOP_LOG_LEVEL": "DEBUG",
        "HEMALOOP_PREDICT_OPEN_SECONDS": "85",
        "LABEL_STUDIO_API_KEY": TOKEN,
        **changes,
    }


@contextmanager
def serving(folder: Path, **changes: str) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """`hemaloop serve` with the stub family: its address, the process and its log.

    changes: of the environment; without a `REDIS_URL` it has an embedded Redis.
    """
    port = free_port()
    log = folder / "serve.log"
    command = [sys.executable, "-c", "from hemaloop.cli import main; main()", "serve"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=environment(folder, port, **changes),
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: process.poll() is not None or answers(address), 300)
        assert process.poll() is None, log.read_text()
        yield address, process, log
    finally:
        # Asked to end, it takes its Redis along; killed, that one would still write for a moment.
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/health", timeout=10).ok
    except requests.RequestException:
        return False
