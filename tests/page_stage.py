"""The page with something to show: a project with models, a queue and doubts, served as `hemaloop serve` does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flask
import pytest

import loop_stage
import stub_plugin
from hemaloop.app import create_app
from hemaloop.children import free_port
from hemaloop.config import Settings
from hemaloop.dataset import split_of
from hemaloop.queues import Queues
from hemaloop.store import ArtifactStore
from hemaloop.web import services
from hemaloop.web.server import Server
from loop_stage import PROJECT, Studio

NAME, PASSWORD = "hemaloop", "correct horse battery"


@dataclass
class Page:
    """A running backend and the project behind it."""

    url: str
    settings: Settings
    studio: Studio
    app: flask.Flask
    folder: Path
    patch: pytest.MonkeyPatch

    @property
    def project(self) -> str:
        """The address of the project's page."""
        return f"{self.url}/ui/projects/{PROJECT}"

    @property
    def store(self) -> ArtifactStore:
        return services.of(self.app).store

    @property
    def queues(self) -> Queues:
        return services.of(self.app).queues

    def work(self) -> int:
        """Do everything that waits in the queues."""
        return loop_stage.work_off(self.settings, self.patch)

    def draw(self) -> None:
        """Have the portrait made."""
        self.queues.request_portrait(PROJECT)
        self.work()


@contextmanager
def page(folder: Path, redis_url: str, *, preset: str = "bare", **changes: Any) -> Iterator[Page]:
    """A backend with an empty project of the stub family."""
    with pytest.MonkeyPatch.context() as patch:
        stub_plugin.install(patch)
        with loop_stage.label_studio(stub_plugin.config(preset)) as studio:
            made = loop_stage.settings(
                folder, studio.url, redis_url=redis_url, port=free_port(), inference_processes=1, **changes
            )
            app = create_app(made)
            server = Server(app, made, services.of(app).close)
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            try:
                yield Page(f"http://127.0.0.1:{server.port}", made, studio, app, folder, patch)
            finally:
                server.stop()
                thread.join(20)
                services.of(app).close()
    stub_plugin.forget()


def fill(made: Page, rounds: int = 3, images: int = 16) -> None:
    """Several trainings, each on better truth than the one before, and images that wait."""
    wait = made.studio.add_images(made.folder, images)
    for turn in range(rounds):
        for task in made.studio.add_images(made.folder, images):
            cells = made.studio.truths[task]
            gate = split_of(loop_stage.key_of(made.folder, task), gate=0.3) == "gate"
            # At first everything is called red; gate images are always right.
            wrong = [(*cell[:4], "red") for cell in cells[: len(cells) * (rounds - 1 - turn) // max(rounds - 1, 1)]]
            made.studio.annotate(task, cells if gate else [*wrong, *cells[len(wrong) :]])
        made.queues.request_training(PROJECT, "test", now=True)
        made.work()
    assert len(made.studio.open_tasks()) == len(wait)
    made.draw()
