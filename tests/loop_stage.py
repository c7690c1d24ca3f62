"""A stage for tests of the training loop: a small Label Studio over HTTP, images on disk, settings in a folder.

The real one takes most of a minute to start and is used by the end-to-end tests; this one speaks the same few
addresses, so that the processes of a worker can be tried, killed and counted within seconds.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import stub_plugin
from hemaloop.config import Settings
from hemaloop.images import image_key

TOKEN = "0123456789abcdef0123456789abcdef01234567"
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
PROJECT = f"7.{int(CREATED.timestamp())}"
WIDTH, HEIGHT = 64, 48


def settings(folder: Path, url: str = "http://127.0.0.1:9", **changes: Any) -> Settings:
    """Settings that take nothing from this machine and wait for nothing."""
    values = {
        "label_studio_url": url,
        "label_studio_api_key": TOKEN,
        "password": "correct horse battery",
        "webhook_secret": "a webhook secret of some length",
        "data_dir": folder / "data",
        "device": "cpu",
        "image_folders": (folder,),
        "train_min_new_annotations": 4,
        "train_min_interval_seconds": 0.0,
        "train_debounce_seconds": 1.0,
        "train_retry_seconds": 1.0,
        "train_niceness": 0,
        "reconcile_interval_seconds": 3600.0,
        "gate_min_images": 2,
        "gate_fraction": 0.3,
        "score_shard_size": 5,
        **changes,
    }
    aliases = {name: info.validation_alias or name for name, info in Settings.model_fields.items()}
    return Settings(_env_file=None, **{str(aliases[name]): value for name, value in values.items()})


@dataclass
class Studio:
    """What a Label Studio knows of one project.

    calls: method and path of each request. broken: status of every answer in place of what
    it should be. delay: seconds that each answer waits, while what was asked is done at once. token: other keys are
    refused.
    """

    url: str = ""
    config: str = ""
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    model_version: str | None = None
    title: str = "first"
    sampling: str = "Uncertainty sampling"
    maximum_annotations: int = 1
    calls: list[tuple[str, str]] = field(default_factory=list)
    order_seen: list[str] = field(default_factory=list)
    broken: int | None = None
    delay: float = 0.0
    token: str = TOKEN
    lock: threading.RLock = field(default_factory=threading.RLock)
    truths: dict[int, list[tuple[int, int, int, int, str]]] = field(default_factory=dict)

    def add_images(self, folder: Path, count: int, **data: Any) -> list[int]:
        """Tasks with new images on disk."""
        ids = []
        for _ in range(count):
            number = len(self.tasks) + 1
            cells = stub_plugin.random_cells(number, width=WIDTH, height=HEIGHT)
            path = folder / f"{number}.png"
            path.write_bytes(stub_plugin.png(stub_plugin.draw(cells, WIDTH, HEIGHT)))
            self.add_task(number, {"image": str(path), **data})
            self.truths[number] = cells
            ids.append(number)
        return ids

    def add_task(self, number: int, data: Mapping[str, Any]) -> None:
        with self.lock:
            self.tasks[number] = {"id": number, "data": dict(data), "annotations": []}

    def annotate(self, number: int, cells: Any = None, **fields: Any) -> dict[str, Any]:
        """A person submits the truth, or other boxes."""
        cells = self.truths[number] if cells is None else cells
        with self.lock:
            entry = {
                "id": 1000 + sum(len(task["annotations"]) for task in self.tasks.values()),
                "completed_by": 1,
                "updated_at": datetime.now(UTC).isoformat(),
                "created_at": datetime.now(UTC).isoformat(),
                "was_cancelled": False,
                "ground_truth": False,
                "lead_time": 5.0,
                "result": [region(cell) for cell in cells],
                **fields,
            }
            self.tasks[number]["annotations"].append(entry)
            return entry

    def versions(self) -> dict[str, int]:
        with self.lock:
            found: dict[str, int] = {}
            for one in self.predictions:
                found[one["model_version"]] = found.get(one["model_version"], 0) + 1
            return found

    def open_tasks(self) -> list[int]:
        with self.lock:
            return [number for number, task in self.tasks.items() if not task["annotations"]]

    def queue(self) -> list[int]:
        """Open tasks in the order that annotators get them: lowest score of the project's version first."""
        with self.lock:
            waiting = set(self.open_tasks())
            mine = [one for one in self.predictions if one["model_version"] == self.model_version]
            ordered = sorted((one["score"], one["task"]) for one in mine if one["task"] in waiting)
            return [task for _, task in ordered]


def key_of(folder: Path, number: int) -> str:
    """The key of a task's image."""
    return image_key((folder / f"{number}.png").read_bytes())


def region(cell: tuple[int, int, int, int, str]) -> dict[str, Any]:
    """A drawn box as Label Studio stores it."""
    x1, y1, x2, y2, colour = cell
    value = {
        "x": 100 * x1 / WIDTH,
        "y": 100 * y1 / HEIGHT,
        "width": 100 * (x2 - x1) / WIDTH,
        "height": 100 * (y2 - y1) / HEIGHT,
        "rotation": 0,
        "rectanglelabels": [colour],
    }
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    names = {"id": f"{x1}-{y1}", "from_name": "cells", "to_name": "image", "type": "rectanglelabels"}
    return {**names, **size, "value": value}


_FIXED: dict[str, Any] = {
    "/health": {"status": "UP"},
    "/api/current-user/whoami": {"email": "manager@hospital.example"},
    "/api/version": {"release": "1.23.2"},
    "/api/webhooks": [],
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    studio: Studio

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        with self.studio.lock:
            self.studio.calls.append((self.command, parts.path))
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if self.studio.broken is not None:
                status, answer = self.studio.broken, {}
            elif self.command == "GET" and parts.path.rstrip("/") in _FIXED:
                status, answer = 200, _FIXED[parts.path.rstrip("/")]
            elif self.headers.get("Authorization") != f"Token {self.studio.token}":
                status, answer = 401, {"detail": "Invalid token."}
            else:
                status, answer = self.answer(parts.path.rstrip("/"), query, body)
        data = json.dumps(answer).encode()
        time.sleep(self.studio.delay)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - names that the library calls

    def answer(self, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        studio = self.studio
        if path == "/api/projects":
            return 200, {"results": [self.project()], "next": None}
        if path == "/api/projects/7":
            if self.command == "PATCH":
                studio.model_version = body.get("model_version", studio.model_version)
            return 200, self.project()
        if path in ("/api/tasks", "/api/projects/7/export"):
            return 200, self.page(query) if path == "/api/tasks" else self.exported()
        if path == "/api/projects/7/import/predictions":
            studio.order_seen.append(f"import under {studio.model_version}")
            studio.predictions += body
            return 201, {"created": len(body)}
        if path == "/api/projects/7/model-versions":
            return self.model_versions(body)
        if path == "/api/ml":
            return 200, [self.backend()]
        if path == "/api/ml/3" and self.command == "PATCH":
            studio.order_seen.append(f"title {body['title']}")
            if studio.model_version == studio.title:
                studio.model_version = body["title"]
            studio.title = body["title"]
            return 200, self.backend()
        return 404, {"detail": f"no {path}"}

    def exported(self) -> list[dict[str, Any]]:
        return [task for task in self.studio.tasks.values() if task["annotations"]]

    def model_versions(self, body: Any) -> tuple[int, Any]:
        studio = self.studio
        if self.command == "GET":
            return 200, studio.versions()
        studio.predictions = [one for one in studio.predictions if one["model_version"] != body["model_version"]]
        studio.model_version = None
        studio.order_seen.append(f"delete {body['model_version']}")
        return 204, {}

    def project(self) -> dict[str, Any]:
        studio = self.studio
        return {
            "id": 7,
            "created_at": CREATED.isoformat(),
            "title": "smears",
            "label_config": studio.config,
            "sampling": studio.sampling,
            "model_version": studio.model_version,
            "maximum_annotations": studio.maximum_annotations,
            "task_number": len(studio.tasks),
        }

    def backend(self) -> dict[str, Any]:
        fields = {"id": 3, "project": 7, "auth_method": "BASIC_AUTH", "basic_auth_user": "hemaloop"}
        return {**fields, "url": "http://127.0.0.1:9090", "title": self.studio.title}

    def page(self, query: dict[str, str]) -> dict[str, Any]:
        asked = json.loads(query["query"])
        predicted: dict[int, list[dict[str, Any]]] = {}
        for one in self.studio.predictions:
            predicted.setdefault(one["task"], []).append(one)
        found = [self.shown(task, predicted.get(number, [])) for number, task in sorted(self.studio.tasks.items())]
        for one in asked["filters"]["items"]:
            name, value = one["filter"].removeprefix("filter:tasks:"), one["value"]
            if one["operator"] == "greater":
                found = [task for task in found if task[name] is not None and task[name] > value]
            elif one["operator"] == "equal":
                found = [task for task in found if task[name] == value]
        if "tasks:predictions_score" in asked["ordering"]:
            found.sort(key=lambda task: task["predictions_score"])
        if "-tasks:id" in asked["ordering"]:
            found.reverse()
        return {"total": len(found), "tasks": found[: int(query["page_size"])]}

    def shown(self, task: dict[str, Any], mine: list[dict[str, Any]]) -> dict[str, Any]:
        scores = [one["score"] for one in mine if one["model_version"] == self.studio.model_version]
        return {
            **task,
            "total_annotations": sum(1 for one in task["annotations"] if not one["was_cancelled"]),
            "predictions_model_versions": ",".join({one["model_version"] for one in mine}),
            "predictions_score": min(scores) if scores else None,
            "predictions": mine,
        }

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextlib.contextmanager
def label_studio(config: str) -> Iterator[Studio]:
    """A running double with one project, number 7."""
    studio = Studio(config=config)
    handler = type("Handler", (_Handler,), {"studio": studio})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.handle_error = lambda *_: None  # type: ignore[method-assign]
    studio.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield studio
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def wait_until(seen: Callable[[], Any], what: str = "it", seconds: float = 60.0) -> Any:
    """The first true value of `seen`. Raises `TimeoutError`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = seen()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"not seen within {seconds:.0f} s: {what}")


def workplace(chosen: Settings) -> Any:
    """What a job works with, for tests that call the steps of the loop themselves."""
    from hemaloop.client import LabelStudio
    from hemaloop.images import ImageLoader
    from hemaloop.plugin import Silent
    from hemaloop.queues import Queues
    from hemaloop.store import ArtifactStore
    from hemaloop.workplace import Workplace

    studio = LabelStudio.from_settings(chosen)
    images = ImageLoader(chosen, studio.auth_headers)
    return Workplace(chosen, Queues(chosen), ArtifactStore(chosen.artifacts), studio, images, Silent())


def work_off(chosen: Settings, monkeypatch: Any) -> int:
    """Do every job that is due, in this process, with rq's rules for retries and dependents. Returns how many."""
    from rq.serializers import JSONSerializer
    from rq.worker import SimpleWorker

    from hemaloop.queues import NAMES, connect
    from hemaloop.supervisor import enqueue_due, environment
    from hemaloop.worker import HemaloopJob, HemaloopQueue, HemaloopWorker

    class Here(SimpleWorker):
        job_class = HemaloopJob
        queue_class = HemaloopQueue
        handle_exception = HemaloopWorker.handle_exception

        def _install_signal_handlers(self) -> None:
            """Ctrl-C stays the test runner's."""

    for name, value in environment(chosen).items():
        monkeypatch.setenv(name, value)
    assert chosen.redis_url is not None
    connection = connect(chosen.redis_url.get_secret_value(), patient=True)
    place = workplace(chosen)
    before = signal.getsignal(signal.SIGTERM)
    done = 0
    while True:
        enqueue_due(place.queues)
        worker = Here(list(NAMES), connection=connection, serializer=JSONSerializer)
        worker.work(burst=True, logging_level="WARNING")
        worker.refresh()
        count = worker.successful_job_count + worker.failed_job_count
        if not count:
            break
        done += count
    assert signal.getsignal(signal.SIGTERM) == before
    place.studio.close()
    place.queues.redis.close()
    connection.close()
    return done
