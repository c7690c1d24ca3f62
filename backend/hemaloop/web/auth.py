"""Who may ask: Basic auth, or the webhook's secret, both compared in constant time.

`/health` is open, because a load balancer asks it. A wrong password is refused there too: that is how Label Studio
tells a user who connects a backend that the password is wrong. Who sends many different wrong passwords has to wait
(`guesses`); events with the right secret never do.
"""

from __future__ import annotations

import hmac
import math

import flask
from flask.typing import ResponseReturnValue

from hemaloop.config import Settings
from hemaloop.web.errors import reply_error
from hemaloop.web.services import current

SECRET_HEADER = "X-Hemaloop-Secret"  # noqa: S105 - the name of the header, not the secret
_OPEN = frozenset({"/", "/health"})


def guard() -> ResponseReturnValue | None:
    """None for those who may ask; for `Flask.before_request`."""
    request, settings = flask.request, current().settings
    if request.path == "/webhook" and _knows_secret(request, settings):
        return None
    if request.path == "/ui" or request.path.startswith("/ui/"):
        return None  # the page has a guard of its own, which shows people a form (`web.ui.session`)
    if request.path in _OPEN and "Authorization" not in request.headers:
        return None
    return password_guard()


def password_guard() -> ResponseReturnValue | None:
    """None where the request has the right Basic auth; else why not, or how long to wait (`guesses`)."""
    request, settings = flask.request, current().settings
    address, guesses = request.remote_addr or "", current().guesses
    if wait := guesses.wait(address):
        return _slowed(wait)
    if _knows_password(request, settings):
        return None
    if said := request.headers.get("Authorization", "") + request.headers.get(SECRET_HEADER, ""):
        guesses.wrong(address, said)
    expected = f"the header {SECRET_HEADER} or Basic auth" if request.path == "/webhook" else "Basic auth"
    response = reply_error(401, f"who are you? expected {expected}, as the settings of the backend say")
    response.headers["WWW-Authenticate"] = 'Basic realm="hemaloop"'
    return response


def _slowed(seconds: float) -> flask.Response:
    """Before the password is looked at: a guess that is right is refused like any other."""
    response = reply_error(429, f"too many different wrong passwords: try again in {math.ceil(seconds)} s")
    response.headers["Retry-After"] = str(math.ceil(seconds))
    return response


def _knows_secret(request: flask.Request, settings: Settings) -> bool:
    return _same(request.headers.get(SECRET_HEADER, ""), settings.webhook_secret.get_secret_value())


def _knows_password(request: flask.Request, settings: Settings) -> bool:
    given = request.authorization
    return given is not None and given.type == "basic" and knows(given.username or "", given.password or "", settings)


def knows(username: str, password: str, settings: Settings) -> bool:
    """Whether a name and a password are those of the settings."""
    right_name = _same(username, settings.username)
    right_password = _same(password, settings.password.get_secret_value())
    return right_name and right_password


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
