"""Log lines of long-running processes, without the chatter of libraries that repeats what must not be logged."""

from __future__ import annotations

import logging

_DISCREET = ("httpx", "httpcore", "urllib3", "redis", "fsspec", "asyncio")
"""Their details hold addresses with signatures, cookies and passwords."""
_CHATTY = ("waitress.queue",)
"""Says how many requests wait, which is no news."""


def prepare(level: str) -> None:
    """Lines on standard error from `level` on."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    for name in _DISCREET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
