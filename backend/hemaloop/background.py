"""Work that a thread of its own does beside the one that asks for it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

JOIN_SECONDS = 5.0


class Background(ABC):
    """A thread between `start` and `close`, or for the length of a ``with``.

    A subclass says what the thread does (`_run`) and how it is told to end (`_end`).
    """

    def __init__(self, name: str) -> None:
        """name: of the thread, as logs show it."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Let the thread end what it is at, and wait for it, though not for ever."""
        self._end()
        if self._thread.is_alive():
            self._thread.join(JOIN_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _run(self) -> None:
        """What the thread does until `_end` was called."""

    @abstractmethod
    def _end(self) -> None:
        """Let `_run` return soon."""
