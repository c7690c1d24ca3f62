"""What the request handlers work with; made once by `hemaloop.app.create_app`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import cast

import flask

from hemaloop.config import Settings
from hemaloop.hints import Hints
from hemaloop.live import LiveModels
from hemaloop.queues import Queues
from hemaloop.serving import Inference
from hemaloop.store import ArtifactStore
from hemaloop.web.guesses import Guesses
from hemaloop.web.measures import Measures

_KEY = "hemaloop"
BULK_AT_ONCE = 8
"""Bulk requests that are waited for at a time; more are left to a job, or they would take every thread."""


@dataclass(frozen=True)
class Services:
    """Everything behind the routes."""

    settings: Settings
    store: ArtifactStore
    live: LiveModels
    inference: Inference
    queues: Queues
    hints: Hints
    measures: Measures = field(default_factory=Measures)
    guesses: Guesses = field(default_factory=Guesses)
    bulk: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(BULK_AT_ONCE))

    def start(self) -> None:
        """Start the processes and threads."""
        self.inference.start()
        self.live.start()
        self.hints.start()

    def close(self) -> None:
        """End them; whoever waits for a prediction gets what is done."""
        self.live.close()
        self.inference.close()
        self.hints.close()


def attach(app: flask.Flask, services: Services) -> None:
    """Give the services to the handlers of an application."""
    app.extensions[_KEY] = services


def of(app: flask.Flask) -> Services:
    """The services of an application."""
    return cast(Services, app.extensions[_KEY])


def current() -> Services:
    """The services of the application that handles this request."""
    return of(flask.current_app)
