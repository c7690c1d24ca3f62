"""Log lines of long-running processes: JSON for machines, text for a terminal, and no secret in either.

Lines carry the id of the request or job that they are about. Libraries that repeat what must not be logged are kept
quiet; whatever secret gets into a line all the same (a foreign exception quotes what it was given) is struck out.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from hemaloop.config import Settings

_DISCREET = ("httpx", "httpcore", "urllib3", "redis", "fsspec", "asyncio", "PIL")
"""Their details hold addresses with signatures, cookies and passwords, or fill a log with chunks of images."""
_CHATTY = ("waitress.queue",)
"""Says how many requests wait, which is no news."""
_RQ = ("rq", "rq.worker", "rq.job", "rq.scheduler")
_SHORTEST = 6
"""Shorter secrets are not struck out: they would take half of the words along."""
STRUCK = "[secret]"

request_id: ContextVar[str] = ContextVar("request_id", default="")
job_id: ContextVar[str] = ContextVar("job_id", default="")

_secrets: set[str] = set()
_lock = threading.Lock()


def prepare(settings: Settings) -> None:
    """Lines on standard error from the level of the settings on, with their secrets struck out."""
    for value in (getattr(settings, name) for name in type(settings).model_fields):
        if isinstance(value, SecretStr):
            hide(value.get_secret_value())
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(Text() if as_text else Json())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in _DISCREET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in _RQ:
        logging.getLogger(name).setLevel("DEBUG" if settings.log_level == "DEBUG" else "WARNING")


def hide(secret: str) -> None:
    """Strike a text out of every line from now on; of an address, its password."""
    found = urlsplit(secret).password if "://" in secret else secret
    if found and len(found) >= _SHORTEST:
        with _lock:
            _secrets.update((found, quote(found, safe="")))


def struck(text: str) -> str:
    """A text without the secrets that are known."""
    with _lock:
        known = sorted(_secrets, key=len, reverse=True)
    for secret in known:
        text = text.replace(secret, STRUCK)
    return text


@contextmanager
def about(variable: ContextVar[str], name: str) -> Iterator[None]:
    """Lines within are about this request or job."""
    token = variable.set(name)
    try:
        yield
    finally:
        variable.reset(token)


class Text(logging.Formatter):
    """A line for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s%(about)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The line, with the first letters of what it is about."""
        known = (("job", job_id.get()), ("request", request_id.get()))
        record.about = "".join(f" ({kind} {name[:8]})" for kind, name in known if name)
        return struck(super().format(record))


class Json(logging.Formatter):
    """A line for machines: at, level, logger, message, process, and request, job and error where there are any."""

    def format(self, record: logging.LogRecord) -> str:
        """One object on one line, whatever is in the message."""
        entry: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": struck(record.getMessage()),
            "process": record.process,
        }
        for kind, name in (("request", request_id.get()), ("job", job_id.get())):
            if name:
                entry[kind] = struck(name)
        if record.exc_info:
            entry["error"] = struck(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)
