"""Label Studio, the embedded Redis, the backend and a worker, started and ended together."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import httpx
from redis.exceptions import RedisError
from rq import Worker

from hemaloop.children import Child, Watch, free_port
from hemaloop.client import LabelStudio
from hemaloop.config import Settings
from hemaloop.errors import HemaloopError
from hemaloop.label_studio_server import LabelStudioServer
from hemaloop.lifetime import hold
from hemaloop.queues import Queues

Waiting = Callable[[str], AbstractContextManager[Watch]]
"""Shows that something is waited for, by name, while the context lasts."""


class Stack:
    """Everything that runs. ::

        with Stack(Path(".hemaloop/demo"), waiting=waiting, port=8080) as stack:
            stack.studio.projects()

    root: what is kept between runs: databases, models, secrets. port: preferred for Label Studio. policy: settings of
    the backend and the worker by their field name. environment: of all processes, over the one of this process.
    """

    def __init__(
        self,
        root: Path,
        *,
        waiting: Waiting,
        port: int = 8080,
        backend_port: int = 9090,
        policy: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.root = root.resolve()
        self.images = self.root / "images"
        self.images.mkdir(parents=True, exist_ok=True)
        self._waiting = waiting
        self._ports = (port, backend_port)
        self._policy = dict(policy or {})
        self._environment = dict(environment or {})
        self._lock = _only_one(self.root / "lock")
        self._children: list[Child] = []
        self.server: LabelStudioServer
        self.settings: Settings
        self.studio: LabelStudio
        self.queues: Queues

    def __enter__(self) -> Stack:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    def _start(self) -> None:
        first = not (self.root / "label-studio").is_dir()
        with self._waiting("Label Studio" + (" (the first start takes about a minute)" if first else "")) as watch:
            self.server = LabelStudioServer(
                self.root / "label-studio",
                images=self.images,
                port=self._ports[0],
                environment=self._environment,
                watch=watch,
            )
        self.studio = LabelStudio(self.server.url, self.server.account.token)
        self.settings = self._settings(free_port(self._ports[1]))
        self.queues = Queues(self.settings)
        self.start_backend()
        self.start_worker()

    def start_backend(self) -> Child:
        """`hemaloop serve`, until it answers."""
        with self._waiting("backend") as watch:
            child = self._hemaloop("serve")
            child.wait_for(self._healthy, 120.0, watch)
        return child

    def start_worker(self) -> Child:
        """`hemaloop worker`, until its Redis answers."""
        with self._waiting("worker") as watch:
            child = self._hemaloop("worker")
            child.wait_for(self._queues_answer, 120.0, watch)
        return child

    def check(self) -> None:
        """Raises `HemaloopError` with its last words where a part has ended."""
        if not self.server.alive:
            raise HemaloopError(f"Label Studio has ended; see {self.server.log}")
        for child in self._children:
            if not child.alive:
                raise HemaloopError(f"{child.name} has ended (status {child.status}):\n{child.last_words()}")

    def child(self, name: str) -> Child:
        """The running `serve` or `worker`."""
        return next(child for child in reversed(self._children) if child.name == f"hemaloop {name}")

    def stop_child(self, name: str) -> None:
        """End `serve` or `worker`."""
        child = self.child(name)
        child.stop()
        self._children.remove(child)

    def stop(self) -> None:
        """End everything, the last started first; what is stored stays."""
        for child in reversed(self._children):
            child.stop()
        self._children.clear()
        if hasattr(self, "studio"):
            self.studio.close()
        if hasattr(self, "server"):
            self.server.stop()
        self._lock.close()

    def _hemaloop(self, command: str) -> Child:
        child = Child(
            f"hemaloop {command}",
            [sys.executable, "-m", "hemaloop", command],
            log=self.root / "logs" / f"{command}.log",
            environment={**_foreign(os.environ), **self._environment, **variables(self.settings)},
            directory=self.root,
        )
        self._children.append(child)
        return child

    def _settings(self, port: int) -> Settings:
        kept = _secrets(self.root / "secrets.json")
        # Settings of a laboratory's own backend, in the environment, are not for the demo.
        defaults = {name: field.default for name, field in Settings.model_fields.items() if not field.is_required()}
        fields = {
            **defaults,
            "label_studio_url": self.server.url,
            "label_studio_api_key": self.server.account.token,
            "redis_url": None,
            "log_format": "text",  # people read these files
            "port": port,
            "password": kept["password"],
            "webhook_secret": kept["webhook_secret"],
            "data_dir": self.root / "backend",
            **self._policy,
        }
        return Settings(_env_file=None, **fields)

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.settings.backend_url}/health", timeout=2.0).is_success
        except httpx.HTTPError:
            return False

    def _queues_answer(self) -> bool:
        try:
            return Worker.count(connection=self.queues.redis) > 0
        except (HemaloopError, RedisError):
            return False


def _foreign(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without hemaloop's own settings."""
    mine = {str(field.validation_alias or f"HEMALOOP_{name.upper()}") for name, field in Settings.model_fields.items()}
    return {name: value for name, value in environment.items() if name.upper() not in mine}


def variables(settings: Settings) -> dict[str, str]:
    """The settings as environment variables, secrets included: a child's command line would be readable by all."""
    variables = {}
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if value is None:
            continue
        variable = str(field.validation_alias or f"HEMALOOP_{name.upper()}")
        if hasattr(value, "get_secret_value"):
            value = value.get_secret_value()
        variables[variable] = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return variables


def _secrets(path: Path) -> dict[str, str]:
    if path.is_file():
        found: dict[str, str] = json.loads(path.read_text())
        return found
    made = {"password": secrets.token_urlsafe(18), "webhook_secret": secrets.token_urlsafe(24)}
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(made, file)
    return made


def _only_one(path: Path) -> IO[str]:
    file = hold(path)
    if file is None:
        raise HemaloopError(f"a demo runs in {path.parent} already; end it first (Ctrl-C where it runs)")
    return file
