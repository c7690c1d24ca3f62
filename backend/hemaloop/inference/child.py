"""One inference process as its owner sees it: ask, wait, and find out that it is gone."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time

from hemaloop.config import Settings
from hemaloop.errors import InferenceError
from hemaloop.inference.wire import Question, Reply, receive_reply, send_question, send_settings

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
"""Two requests with one thread each are quicker than one after the other with two, and a training has room."""
_POLL_SECONDS = 0.5


class Child:
    """A running ``python -m hemaloop.inference``. One thread at a time."""

    def __init__(self, settings: Settings) -> None:
        here, there = multiprocessing.Pipe()
        with there:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "hemaloop.inference", str(there.fileno())],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **_ONE_THREAD},
                # Ctrl-C reaches the group in front; the owner decides when its children end.
                process_group=0,
            )
        self._wire = here
        self._closing = threading.Lock()
        send_settings(here, settings)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def ask(self, question: Question, until: float) -> Reply:
        """Its reply. Raises `InferenceError` where the process ends, or is ended because it is later than `until`."""
        try:
            send_question(self._wire, question)
            while not self._wire.poll(_POLL_SECONDS):
                if time.monotonic() > until:
                    self.close()
                    raise InferenceError("the prediction process was ended: it did not answer in time")
            return receive_reply(self._wire)
        except (EOFError, OSError):
            self.close()
            raise InferenceError(f"the prediction process ended with status {self._process.returncode}") from None

    def close(self) -> None:
        """End the process; it has nothing to lose. Safe from another thread than the one that asks."""
        self._process.kill()
        self._process.wait()
        with self._closing:
            if not self._wire.closed:
                self._wire.close()
