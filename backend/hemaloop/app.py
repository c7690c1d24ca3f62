"""The web application: `create_app(settings)`."""

from __future__ import annotations

import logging
import time

import flask

from hemaloop import registry
from hemaloop.config import Settings
from hemaloop.hints import Hints
from hemaloop.images import ImageLoader
from hemaloop.live import LiveModels
from hemaloop.queues import Queues
from hemaloop.serving import Inference
from hemaloop.store import ArtifactStore
from hemaloop.web import auth, errors, health, jobs, models, predict, services, setup, ui, webhook
from hemaloop.web.ui import session

log = logging.getLogger(__name__)


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
    errors.register(app)
    session.configure(app, settings)
    for module in (health, setup, predict, webhook, jobs, models, ui):
        app.register_blueprint(module.blueprint)
    made = _services(settings, inference or Inference(settings), queues or Queues(settings))
    services.attach(app, made)
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


def _end(response: flask.Response) -> flask.Response:
    """One line a request, without its body, query or headers: they hold secrets."""
    level = logging.INFO if flask.request.path == "/predict" else logging.DEBUG
    milliseconds = (time.perf_counter() - flask.g.began) * 1000
    log.log(level, "%s %r %d %.1f ms", flask.request.method, flask.request.path, response.status_code, milliseconds)
    return response
