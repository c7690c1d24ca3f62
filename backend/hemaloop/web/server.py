"""waitress with lanes of threads: a prediction that lasts a minute holds up no answer that takes a millisecond, and
neither does a page that waits for a store on another continent."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import flask
from waitress import wasyncore
from waitress.server import create_server
from waitress.task import ThreadedTaskDispatcher

from hemaloop.config import Settings

log = logging.getLogger(__name__)

QUICK_THREADS = 8
SLOW_THREADS = 32
PAGE_THREADS = 4
_SLOW_PATHS = ("/predict",)
_PAGE_PATHS = ("/ui", "/metrics")
_CONNECTIONS = 1000
_LAST_SECONDS = 1.0
_TURN_SECONDS = 0.5


class Lanes:
    """waitress' task dispatcher, three times; a request goes by its path. `stopping` is called first on shutdown."""

    def __init__(self, stopping: Callable[[], None]) -> None:
        self._stopping = stopping
        self._quick, self._slow, self._page = (ThreadedTaskDispatcher() for _ in range(3))
        self._quick.set_thread_count(QUICK_THREADS)
        self._slow.set_thread_count(SLOW_THREADS)
        self._page.set_thread_count(PAGE_THREADS)

    def add_task(self, channel: Any) -> None:
        """Called by waitress' loop with a connection whose first request is complete."""
        path = getattr(channel.requests[0], "path", "") if channel.requests else ""
        self._lane(path).add_task(channel)

    def _lane(self, path: str) -> ThreadedTaskDispatcher:
        if path in _SLOW_PATHS:
            return self._slow
        return self._page if path in _PAGE_PATHS or path.startswith("/ui/") else self._quick

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """Let the threads finish what they do."""
        self._stopping()
        ended = [bool(lane.shutdown(cancel_pending, timeout)) for lane in (self._quick, self._slow, self._page)]
        return all(ended)


class Server:
    """A bound server; `run` until Ctrl-C, `SystemExit` or `stop`."""

    def __init__(self, app: flask.Flask, settings: Settings, stopping: Callable[[], None]) -> None:
        """Binds. Raises `OSError` where the address is taken. stopping: ends what requests wait for."""
        self._sockets: dict[int, Any] = {}
        self._stopped = threading.Event()
        self._lanes = Lanes(stopping)
        self._server = create_server(
            app,
            map=self._sockets,
            _dispatcher=self._lanes,
            host=settings.host,
            port=settings.port,
            ident=None,
            max_request_body_size=settings.max_request_bytes + 1,
            connection_limit=_CONNECTIONS,
            backlog=_CONNECTIONS,
            channel_timeout=120,
            clear_untrusted_proxy_headers=True,
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        listening = getattr(self._server, "effective_listen", None)
        return int(listening[0][1] if listening else self._server.effective_port)

    def run(self) -> None:
        """Serve. On the way out, answers that are ready still leave."""
        try:
            while not self._stopped.is_set():
                self._turn(_TURN_SECONDS)
        except (KeyboardInterrupt, SystemExit):
            log.info("stopping")
        finally:
            self._lanes.shutdown()
            until = time.monotonic() + _LAST_SECONDS
            while time.monotonic() < until and self._unsent():
                self._turn(0.05)
            wasyncore.close_all(self._sockets)

    def stop(self) -> None:
        """Let `run` return; from another thread."""
        self._stopped.set()

    def _turn(self, seconds: float) -> None:
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._sockets, count=1)

    def _unsent(self) -> bool:
        return any(getattr(channel, "total_outbufs_len", 0) for channel in list(self._sockets.values()))
