"""The web application: `create_app(settings)`."""

from __future__ import annotations

import logging
import re
import time
import uuid

import flask

from hemaloop import logs, registry
from hemaloop.config import Settings
from hemaloop.hints import Hints
from hemaloop.images import ImageLoader
from hemaloop.live import LiveModels
from hemaloop.queues import Queues
from hemaloop.serving import Inference
from hemaloop.store import ArtifactStore
from hemaloop.web import auth, errors, health, jobs, measures, models, predict, services, setup, ui, webhook
from hemaloop.web.ui import session

log = logging.getLogger(__name__)

REQUEST_HEADER = "X-Request-ID"
"""The name of a request in logs: what a proxy gave it, or a new one; sent back with the answer."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def create_app(settings: Settings, *, inference: Inference | None = None, queues: Queues | None = None) -> flask.Flask:
    """An application with its processes and threads running; `services.of(app).close()` ends them.

    Raises `SettingsError` for settings that cannot be used.
    """
    _import_families()
    # Raises for settings of images that the inference processes would stumble over.
    ImageLoader(settings)
    app = flask.Flask("hemaloop", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_request_bytes
    app.before_request(_begin)
    app.before_request(auth.guard)
    app.after_request(_end)
    app.teardown_request(_forget)
    errors.register(app)
    session.configure(app, settings)
    for module in (health, setup, predict, webhook, jobs, models, measures, ui):
        app.register_blueprint(module.blueprint)
    made = _services(settings, inference or Inference(settings), queues or Queues(settings))
    services.attach(app, made)
    made.measures.watch(made.queues, made.live)
    made.inference.listen(made.measures.replied)
    made.start()
    return app


def _import_families() -> None:
    """Before the first request, which would wait for it; a family that cannot be imported is reported by name."""
    for registered in registry.all_registered():
        if registered.fault:
            log.error("model family %r is disabled: %s", registered.name, registered.fault)


def _services(settings: Settings, inference: Inference, queues: Queues) -> services.Services:
    store = ArtifactStore(settings.artifacts)
    return services.Services(
        settings=settings,
        store=store,
        live=LiveModels(
            store, inference.load, memory=settings.data_dir / "projects.json", recall=settings.models_in_memory
        ),
        inference=inference,
        queues=queues,
        hints=Hints(queues, lambda: inference.busy),
    )


def _begin() -> None:
    flask.g.began = time.perf_counter()
    given = flask.request.headers.get(REQUEST_HEADER, "")
    logs.request_id.set(given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)


def _forget(_: BaseException | None) -> None:
    """What a thread does after a request is not about it."""
    logs.request_id.set("")


def _end(response: flask.Response) -> flask.Response:
    """One line a request, without its body, query or headers: they hold secrets."""
    level = logging.INFO if flask.request.path == "/predict" else logging.DEBUG
    seconds = time.perf_counter() - flask.g.began
    request, status = flask.request, response.status_code
    log.log(level, "%s %r %d %.1f ms", request.method, request.path, status, seconds * 1000)
    route = request.url_rule.rule if request.url_rule is not None else "none"
    services.current().measures.request(route, request.method, status, seconds)
    response.headers[REQUEST_HEADER] = logs.request_id.get()
    return response
