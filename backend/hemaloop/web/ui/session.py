"""Who is signed in at the page: the name and password of the backend, once, then a signed cookie.

Basic auth would do for reading, but a browser sends it along with whatever another site makes it send, and nobody can
sign out of it. So the page has a cookie (HttpOnly, SameSite=Strict, for `/ui` alone, twelve hours) whose key is made of
the password and the webhook's secret: every process of a laboratory knows it, and a new password signs everybody out.
Programs may read with Basic auth; changes need the cookie and the token that only the page itself knows.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from datetime import timedelta

import flask
from flask.typing import ResponseReturnValue

from hemaloop.config import Settings
from hemaloop.web import auth
from hemaloop.web.services import current

LIFETIME = timedelta(hours=12)
TOKEN = "token"  # noqa: S105 - the name of the form's field
_OPEN = frozenset({"ui.static", "ui.sign_in"})


def configure(app: flask.Flask, settings: Settings) -> None:
    """Let an application sign the page's cookie."""
    material = "\n".join(
        ("hemaloop session 1", settings.username, *(one.get_secret_value() for one in settings.page_secrets))
    )
    app.secret_key = hashlib.sha256(material.encode()).digest()
    app.permanent_session_lifetime = LIFETIME
    app.config.update(
        SESSION_COOKIE_NAME="hemaloop",
        SESSION_COOKIE_PATH="/ui",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_SECURE=settings.page_https,
        SESSION_REFRESH_EACH_REQUEST=False,
    )


def register(blueprint: flask.Blueprint) -> None:
    """Guard every page, and add signing in and out."""
    blueprint.before_request(_guard)
    blueprint.add_url_rule("/sign-in", "sign_in", sign_in, methods=["GET", "POST"])
    blueprint.add_url_rule("/sign-out", "sign_out", sign_out, methods=["POST"])
    blueprint.context_processor(lambda: {"token": token, "signed_in": signed_in})


def signed_in() -> bool:
    """Whether this request comes from a browser that signed in."""
    return flask.session.get("in") is True


def token() -> str:
    """What a form of the page has to bring back; one a session."""
    if "token" not in flask.session:
        flask.session["token"] = secrets.token_urlsafe(24)
    return str(flask.session["token"])


def _guard() -> ResponseReturnValue | None:
    request = flask.request
    if request.method not in ("GET", "HEAD"):
        _refuse_foreign()
    if request.endpoint in _OPEN or signed_in():
        return None
    if request.method in ("GET", "HEAD") and request.authorization is not None:
        return auth.password_guard()
    if request.endpoint in ("ui.part", "ui.thumbnail"):
        flask.abort(401, "signed out; sign in again to go on")
    return flask.redirect(flask.url_for("ui.sign_in", to=request.path if request.method == "GET" else None))


def _refuse_foreign() -> None:
    """A change comes from a form of the page itself: the browser says so, and the form knows the token."""
    origin = flask.request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != flask.request.host:
        flask.abort(403, "this form was sent from another site")
    given, expected = flask.request.form.get(TOKEN, ""), flask.session.get("token")
    if not isinstance(expected, str) or not hmac.compare_digest(given.encode(), expected.encode()):
        flask.abort(403, "this form is too old, or cookies are off; go back, load the page again and try once more")


def sign_in() -> ResponseReturnValue:
    """The form, and what it sends."""
    if flask.request.method == "GET":
        return _form()
    services, address = current(), flask.request.remote_addr or ""
    if wait := services.guesses.wait(address):
        return _form(f"Too many wrong passwords. Try again in {math.ceil(wait)} s.", 429)
    name, password = flask.request.form.get("name", ""), flask.request.form.get("password", "")
    if not auth.knows(name, password, services.settings):
        services.guesses.wrong(address, f"{name}\n{password}")
        return _form("That name and password do not belong together.", 403)
    flask.session.clear()  # a token that was given out before belongs to nobody
    flask.session.permanent = True
    flask.session["in"] = True
    return flask.redirect(_inside(flask.request.form.get("to", "")), 303)


def _form(fault: str = "", status: int = 200) -> ResponseReturnValue:
    to = flask.request.values.get("to", "")
    return flask.render_template("ui/sign_in.html", fault=fault, to=to), status


def _inside(path: str) -> str:
    """A path of the page, whatever was asked for: nobody is sent elsewhere after signing in."""
    index = flask.url_for("ui.index")
    inside = path.startswith(index) and "\\" not in path and "//" not in path
    return path if inside else index


def sign_out() -> ResponseReturnValue:
    """Forget the browser."""
    flask.session.clear()
    return flask.redirect(flask.url_for("ui.sign_in"), 303)
