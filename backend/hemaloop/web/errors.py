"""Errors as JSON: what was found and expected, never a traceback, a secret or a part of the request's body."""

from __future__ import annotations

import http
import logging
import traceback

import flask
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from hemaloop.errors import HemaloopError, LabelConfigError, OptionError, PluginNotFound, QueueError, RequestError
from hemaloop.errors import StoreError as _StoreError

log = logging.getLogger(__name__)

_THEIRS = (RequestError, LabelConfigError, OptionError, PluginNotFound)
"""Faults of the request or of the project's labelling config."""
_LATER = (QueueError, _StoreError)
"""Faults of something that will be back."""
_REASON_LENGTH = 200


def register(app: flask.Flask) -> None:
    """Turn every exception of a handler into a reply."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(HemaloopError, _expected)
    app.register_error_handler(Exception, _unexpected)


def reply_error(status: int, message: str) -> flask.Response:
    """A JSON error. The message is also the reason phrase: that is all of a reply that Label Studio shows its users."""
    response = flask.jsonify(error=message)
    phrase = " ".join(message.encode("ascii", "replace").decode().split())[:_REASON_LENGTH]
    response.status = f"{status} {phrase or http.HTTPStatus(status).phrase}"
    return response


def _http(error: HTTPException) -> flask.Response:
    status = error.code or 500
    message = error.description or http.HTTPStatus(status).phrase
    if isinstance(error, RequestEntityTooLarge):
        limit = flask.current_app.config["MAX_CONTENT_LENGTH"]
        message = (
            f"request body: expected at most {limit} bytes; select fewer tasks or raise HEMALOOP_MAX_REQUEST_BYTES"
        )
    response = reply_error(status, message)
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _expected(error: HemaloopError) -> flask.Response:
    status = 400 if isinstance(error, _THEIRS) else 503 if isinstance(error, _LATER) else 500
    if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s %r: %s", flask.request.method, flask.request.path, error)
    return reply_error(status, str(error))


def _unexpected(error: Exception) -> flask.Response:
    # Where, but not what: the message of a foreign exception may repeat a part of the request.
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    place = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))
    log.error("%s %r: unexpected %s at %s", flask.request.method, flask.request.path, type(error).__name__, place)
    return reply_error(500, "something unexpected went wrong; the backend's log says where")
