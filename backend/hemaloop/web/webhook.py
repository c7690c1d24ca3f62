"""`POST /webhook`: something happened in a project. Answered at once; the queues hear of it a moment later.

An event is a hint, never data: it may be lost or come twice. `PROJECT_UPDATED` starts nothing, because publishing
changes the project and would so start itself.
"""

from __future__ import annotations

import flask

from hemaloop.errors import QueueError
from hemaloop.protocol import WebhookRequest
from hemaloop.web.body import read
from hemaloop.web.services import current

blueprint = flask.Blueprint("webhook", __name__)

LEARN = frozenset(
    {
        "ANNOTATION_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATIONS_CREATED",
        "ANNOTATIONS_DELETED",
        "TASKS_CREATED",
        "TASKS_DELETED",
    }
)
"""Events after which there may be something to learn."""


@blueprint.post("/webhook")
def webhook() -> tuple[flask.Response, int]:
    """Label Studio waits one second at most, and the annotator with it."""
    event = read(WebhookRequest)
    hints, project = current().hints, event.project.key
    if event.project.label_config and "model_family" not in event.project.label_config:
        return flask.jsonify(status="ignored", reason="no control of the labelling config has model_family"), 200
    if event.action == "START_TRAINING":
        return _train_now(project)
    if event.action not in LEARN:
        return flask.jsonify(status="ignored", reason=f"{event.action} changes nothing that a model learns from"), 200
    hints.training(project, event.action)
    if event.action == "TASKS_CREATED":
        hints.scores(project, event.action)
    return flask.jsonify(status="accepted"), 200


def _train_now(project: str) -> tuple[flask.Response, int]:
    """A person pressed the button; Label Studio records the job's id and waits for it longer than for an event."""
    services = current()
    try:
        job = services.queues.request_training(project, "START_TRAINING", now=True)
    except QueueError:
        services.hints.training(project, "START_TRAINING")
        raise
    return flask.jsonify(job=job, status="accepted"), 201
