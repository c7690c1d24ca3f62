"""The body of the current request, as a dataclass of `hemaloop.protocol`."""

from __future__ import annotations

from typing import TypeVar

import flask

from hemaloop import protocol

T = TypeVar("T")


def read(kind: type[T]) -> T:
    """Raises `RequestError` for a body that is not of this kind, and werkzeug's 413 for one that is too long."""
    return protocol.read(kind, flask.request.get_data(cache=False))
