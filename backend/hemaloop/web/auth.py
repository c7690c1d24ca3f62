"""Who may ask: Basic auth, or the webhook's secret, both compared in constant time.

`/health` is open, because a load balancer asks it. A wrong password is refused there too: that is how Label Studio
tells a user who connects a backend that the password is wrong.
"""

from __future__ import annotations

import hmac

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
    if knows_password(request, settings):
        return None
    expected = f"the header {SECRET_HEADER} or Basic auth" if request.path == "/webhook" else "Basic auth"
    response = reply_error(401, f"who are you? expected {expected}, as the settings of the backend say")
    response.headers["WWW-Authenticate"] = 'Basic realm="hemaloop"'
    return response


def _knows_secret(request: flask.Request, settings: Settings) -> bool:
    return _same(request.headers.get(SECRET_HEADER, ""), settings.webhook_secret.get_secret_value())


def knows_password(request: flask.Request, settings: Settings) -> bool:
    """Whether the request has the right Basic auth."""
    given = request.authorization
    return given is not None and given.type == "basic" and knows(given.username or "", given.password or "", settings)


def knows(username: str, password: str, settings: Settings) -> bool:
    """Whether a name and a password are those of the settings."""
    right_name = _same(username, settings.username)
    right_password = _same(password, settings.password.get_secret_value())
    return right_name and right_password


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
