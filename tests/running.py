"""Projects and people in the running system of the end-to-end tests."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

import stub_plugin
from hemaloop.client import Json, LabelStudio, ProjectInfo
from hemaloop.dataset import split_of
from hemaloop.demo.stack import Stack, variables
from hemaloop.images import image_key
from hemaloop.project_setup import Connected, add_local_storage, create_project, set_up
from hemaloop.store import ArtifactStore

WIDTH, HEIGHT = 320, 240
Cell = tuple[int, int, int, int, str]
Cells = list[Cell]


def wait_for(seen: Callable[[], Any], what: str, seconds: float = 240.0) -> Any:
    """The first true value of `seen`. Raises `TimeoutError` naming what was waited for."""
    began = time.monotonic()
    while True:
        found = seen()
        if found:
            return found
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not seen within {seconds:.0f} s: {what}")
        time.sleep(0.25)


def write_images(folder: Path, count: int, seed: int = 0) -> list[Cells]:
    """`count` images of coloured blobs as 000.png…; the cells of each. Every third, from the first, is a gate image."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    numbers = itertools.count(seed * 100_000)
    for index in range(count):
        wanted = "gate" if index % 3 == 0 else "train"
        cells, data = next(image for image in map(_image, numbers) if split_of(image_key(image[1])) == wanted)
        (folder / f"{index:03d}.png").write_bytes(data)
        drawn.append(cells)
    return drawn


def _image(number: int) -> tuple[Cells, bytes]:
    cells = stub_plugin.random_cells(number, count=8, width=WIDTH, height=HEIGHT)
    return cells, stub_plugin.png(stub_plugin.draw(cells, WIDTH, HEIGHT))


def regions(
    cells: Iterable[tuple[int, int, int, int, str]], control: str = "cells", image: str = "image"
) -> list[Json]:
    """What a person submits who drew these boxes."""
    return [
        {
            "id": secrets.token_hex(5),
            "from_name": control,
            "to_name": image,
            "type": "rectanglelabels",
            "original_width": WIDTH,
            "original_height": HEIGHT,
            "image_rotation": 0,
            "origin": "manual",
            "value": {
                "x": 100 * x1 / WIDTH,
                "y": 100 * y1 / HEIGHT,
                "width": 100 * (x2 - x1) / WIDTH,
                "height": 100 * (y2 - y1) / HEIGHT,
                "rotation": 0,
                "rectanglelabels": [colour],
            },
        }
        for x1, y1, x2, y2, colour in cells
    ]


@dataclass
class Project:
    """A project with images that the stub understands. cells: the truth of each task."""

    stack: Stack
    info: ProjectInfo
    cells: dict[int, Cells]
    folder: Path
    connected: Connected | None = field(default=None)

    @classmethod
    def create(cls, stack: Stack, count: int, *, seed: int, xml: str, data_key: str = "image") -> Project:
        """A new project with `count` images as local files, not connected yet."""
        folder = stack.images / f"p{secrets.token_hex(4)}"
        drawn = write_images(folder, count, seed)
        info = create_project(stack.studio, f"test {folder.name}", xml)
        add_local_storage(stack.studio, info.id, folder)
        tasks = [{"data": {data_key: f"/data/local-files/?d={folder.name}/{index:03d}.png"}} for index in range(count)]
        ids = stack.studio.import_tasks(info.id, tasks)
        return cls(stack, stack.studio.project(info.id), dict(zip(ids, drawn, strict=True)), folder)

    @property
    def id(self) -> int:
        """In Label Studio."""
        return self.info.id

    @property
    def key(self) -> str:
        """As Label Studio names it to backends."""
        return self.info.key

    @property
    def studio(self) -> LabelStudio:
        """Label Studio, as the manager."""
        return self.stack.studio

    @property
    def store(self) -> ArtifactStore:
        """Where its models are."""
        return ArtifactStore(self.stack.settings.artifacts)

    def connect(self) -> Connected:
        """Set it up and wait for the first predictions."""
        self.connected = set_up(self.studio, self.stack.settings, self.id)
        self.stack.queues.request_scores(self.key, "test")
        if not self.connected.version.endswith("untrained"):
            self.wait_until_scored(self.connected.version)
        return self.connected

    def wait_until_scored(self, version: str, seconds: float = 240.0) -> None:
        """Until every open task has a prediction of that version."""

        def scored() -> bool:
            open_tasks = sum(1 for _ in self.studio.tasks(self.id, only="unannotated", with_annotations=False))
            return self.studio.versions(self.id).get(version, 0) >= open_tasks

        wait_for(scored, f"predictions of {version!r} in project {self.id}", seconds)

    def submit(self, task_id: int, studio: LabelStudio | None = None) -> Json:
        """Annotate a task with its truth, as a person would."""
        return (studio or self.studio).submit_annotation(task_id, regions(self.cells[task_id]))

    def versions(self) -> list[str]:
        """Trained models of its control, oldest first."""
        return list(self.store.versions(self.key, "cells"))

    def wait_for_version(self, before: Iterable[str] = (), seconds: float = 240.0) -> str:
        """The trained version that Label Studio names as live, other than those before."""

        def live() -> str | None:
            version = self.studio.project(self.id).model_version
            backend = self.studio.backend(self.id) or {}
            trained = version in self.versions() and version not in set(before)
            return version if trained and backend.get("title") == version else None

        return str(wait_for(live, f"a newly published model in project {self.id}", seconds))

    def idle(self, seconds: float = 240.0) -> None:
        """Until no job of the project waits or runs."""
        wait_for(lambda: not self.stack.queues.running(self.key), "an end of all jobs", seconds)


def hemaloop(stack: Stack, *arguments: str, typed: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
    """A command of hemaloop with the settings of the running system. typed: its input. changes: of its environment."""
    command = [sys.executable, "-m", "hemaloop", *arguments]
    environment = {**os.environ, **variables(stack.settings), "COLUMNS": "200", **changes}
    return subprocess.run(
        command, env=environment, cwd=stack.root, input=typed, capture_output=True, text=True, timeout=300, check=False
    )


@dataclass(frozen=True)
class Person:
    """Somebody with an account."""

    email: str
    password: str
    studio: LabelStudio


def sign_up(stack: Stack, name: str) -> Person:
    """Register as people do, in the form; with a personal access token for what follows."""
    email, password = f"{name}-{secrets.token_hex(3)}@hospital.example", secrets.token_urlsafe(12)
    with httpx.Client(base_url=stack.server.url, follow_redirects=True, timeout=30.0) as session:
        page = session.get("/user/signup/").text
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        token = found.group(1) if found else ""
        form = {"csrfmiddlewaretoken": token, "email": email, "password": password}
        session.post(
            "/user/signup/", data=form, headers={"Referer": f"{stack.server.url}/user/signup/"}
        ).raise_for_status()
        headers = {"X-CSRFToken": session.cookies["csrftoken"], "Referer": stack.server.url}
        made = session.post("/api/token/", headers=headers)
        made.raise_for_status()
    return Person(email, password, LabelStudio(stack.server.url, made.json()["token"]))
