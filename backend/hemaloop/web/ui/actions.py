"""What a signed-in person can change: the same functions that the commands call."""

from __future__ import annotations

import logging

import flask
from flask.typing import ResponseReturnValue

from hemaloop import queue_view, rollback
from hemaloop.errors import QueueError, StoreError
from hemaloop.web.services import current
from hemaloop.web.ui.content import require_key

log = logging.getLogger(__name__)


def register(blueprint: flask.Blueprint) -> None:
    """Add every action of a project."""
    for action in (roll_back, promote, train, pause, resume, cancel, retry):
        path = f"/projects/<key>/{action.__name__.replace('_', '-')}"
        blueprint.add_url_rule(path, action.__name__, action, methods=["POST"])


def roll_back(key: str) -> ResponseReturnValue:
    """Go back to the version that annotators saw before."""
    services = current()
    change = rollback.roll_back(services.store, services.queues, require_key(key))
    return _done(key, f"Going back from {change.before} to {change.after}; a worker publishes it.")


def promote(key: str) -> ResponseReturnValue:
    """Let annotators see a stored version."""
    services, control, version = current(), _field("control"), _field("version")
    if not services.store.has(require_key(key), control, version):
        raise StoreError(f"project {key}, control {control!r}: {version!r} is not a stored version")
    change = rollback.promote(services.store, services.queues, key, control, version)
    return _done(key, f"{change.after} was promoted instead of {change.before}; a worker publishes it.")


def train(key: str) -> ResponseReturnValue:
    """Look at once whether there is something to learn, and learn it."""
    current().queues.request_training(require_key(key), "asked for on the page", now=True)
    return _done(key, "A training was asked for; it starts when a worker is free.")


def pause(key: str) -> ResponseReturnValue:
    """Start no training until `resume`."""
    current().queues.pause(require_key(key))
    return _done(key, "No training starts until you resume them.")


def resume(key: str) -> ResponseReturnValue:
    """Let trainings start again."""
    current().queues.resume(require_key(key))
    return _done(key, "Trainings start again when they are due.")


def cancel(key: str) -> ResponseReturnValue:
    """Stop a job of the project."""
    queues, job = current().queues, _field("job")
    if job not in {one["id"] for one in queues.running(require_key(key))} or not queues.cancel(job):
        raise QueueError(f"job {job}: it is over or not one of project {key}, so there is nothing to stop")
    return _done(key, "The job stops at its next step.")


def retry(key: str) -> ResponseReturnValue:
    """Ask anew for what a failed job was for."""
    queue_view.retry(current().queues, require_key(key), _field("job"))
    return _done(key, "It was asked for again.")


def _field(name: str) -> str:
    value = flask.request.form.get(name, "")
    if not value or len(value) > 200:
        flask.abort(400, f"{name}: found {len(value)} characters, expected 1 to 200")
    return value


def _done(key: str, said: str) -> ResponseReturnValue:
    log.info("page: project %s: %s", key, said)
    flask.session["said"] = said
    return flask.redirect(flask.url_for("ui.project", key=key), 303)
