"""The blueprint of the page, its headers, and its errors as pages."""

from __future__ import annotations

import http

import flask
from werkzeug.exceptions import HTTPException

from hemaloop.errors import HemaloopError, QueueError, StoreError
from hemaloop.web.ui import actions, pages, session

blueprint = flask.Blueprint(
    "ui", __name__, url_prefix="/ui", template_folder="templates", static_folder="static", static_url_path="/static"
)
POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("style", "script", "img", "connect")),
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@blueprint.after_request
def _protect(response: flask.Response) -> flask.Response:
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@blueprint.errorhandler(HTTPException)
def _http(error: HTTPException) -> tuple[str, int]:
    status = error.code or 500
    return _page(status, error.description or http.HTTPStatus(status).phrase)


@blueprint.errorhandler(HemaloopError)
def _fault(error: HemaloopError) -> tuple[str, int]:
    return _page(503 if isinstance(error, (QueueError, StoreError)) else 500, str(error))


def _page(status: int, why: str) -> tuple[str, int]:
    return flask.render_template("ui/error.html", status=http.HTTPStatus(status), why=why), status


session.register(blueprint)
pages.register(blueprint)
actions.register(blueprint)
