"""hemaloop inside a process that somebody else's server runs, such as label-studio-ml.

The answers are those of `hemaloop serve`: the same requests go through the same code, with inference processes of their
own. A training is only asked for; `hemaloop worker` does it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any

import flask

from hemaloop.config import Settings, load_settings
from hemaloop.labelconfig import parse_label_config
from hemaloop.protocol import PredictRequest, WebhookRequest, read
from hemaloop.queues import Queues
from hemaloop.web import services
from hemaloop.web.predict import answer
from hemaloop.web.services import Services
from hemaloop.web.webhook import LEARN

EVENTS = (*sorted(LEARN), "START_TRAINING")
"""Events that may lead to a training."""


def application(settings: Settings | None = None) -> flask.Flask:
    """hemaloop's own application, with its processes and, without REDIS_URL, a Redis; all end with this process."""
    from hemaloop.app import create_app
    from hemaloop.redis_server import EmbeddedRedis

    settings = settings or load_settings()
    stack = ExitStack()
    atexit.register(stack.close)
    if settings.redis_url is None:
        stack.enter_context(EmbeddedRedis(settings.data_dir))
    app = create_app(settings)
    stack.callback(services.of(app).close)
    return app


@cache
def running() -> Services:
    """What answers, started when somebody first asks: whoever only schedules a training never needs it."""
    return services.of(application())


def predict(
    tasks: Sequence[Mapping[str, Any]], project: str, label_config: str, context: Mapping[str, Any] | None = None
) -> tuple[list[Any], str]:
    """One entry a task as `/predict` gives it ([] for a task that failed), and the version of the model.

    project: its key, "<id>.<created_ts>". context: of an interactive call. Raises `HemaloopError` as `/predict` does.
    """
    body: dict[str, Any] = {"tasks": list(tasks), "project": project, "label_config": label_config}
    if context:
        body["params"] = {"context": context}
    entries, live = answer(running(), read(PredictRequest, json.dumps(body).encode()))
    return [json.loads(entry) for entry in entries], live.version


def version(project: str, label_config: str) -> str:
    """The version that serves a project."""
    config = parse_label_config(label_config)
    config.require_bound()
    return running().live.of(project, config).version


def schedule(event: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for a training after an event of a webhook; several events make one training. Nothing is trained here.

    payload: the webhook's body. Raises `RequestError` for one that is not Label Studio's, `QueueError` without Redis.
    """
    hint = read(WebhookRequest, json.dumps({**payload, "action": event}).encode())
    bound = not hint.project.label_config or "model_family" in hint.project.label_config
    if event not in EVENTS or not bound:
        return {"status": "ignored"}
    with contextlib.closing(Queues(load_settings())) as queues:
        job = queues.request_training(hint.project.key, event, now=event == "START_TRAINING")
        if event == "TASKS_CREATED":
            queues.request_scores(hint.project.key, event)
    return {"status": "scheduled", "job": job}
