"""Long work on the command line: a bar with its figures, and an end when somebody presses Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any, Self

from rich.console import Console

from hemaloop.errors import Cancelled
from hemaloop.progress import Bar, in_words

_LINE_SECONDS = 15.0
"""Where there is no terminal, a line at most this often."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Watch:
    """A `Progress` that draws a bar (or writes lines where there is no terminal) and turns Ctrl-C into `Cancelled`.

    The first Ctrl-C ends the work at its next report, so that everything is cleaned up; a second one ends it at once.
    kept: what is then left of the work, in words. patience: seconds before anything is shown; nothing is, of work that
    takes no longer.
    """

    def __init__(
        self, title: str, console: Console | None = None, *, kept: str = "nothing was written", patience: float = 0.0
    ) -> None:
        self._kept = kept
        self._patience = patience
        self._console = console or Console(stderr=True)
        self._title = title
        self._bar = Bar(title, self._console)
        self._stop = False
        self._begun = self._said = 0.0
        self._shown = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python delivers signals to no other
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._interrupt)
        self._begun = time.monotonic()
        if not self._patience:
            self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._bar.__exit__(kind, error, trace)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def report(self, done: float, total: float, message: str, figures: Mapping[str, float] | None = None) -> None:
        """Show how far it is. Raises `Cancelled` after Ctrl-C."""
        if self._stop:
            raise Cancelled(f"{self._title} was stopped at {message}; {self._kept}")
        if not self._shown:
            if time.monotonic() - self._begun < self._patience:
                return
            self._show()
        # A terminal is narrow, and of a training everybody knows that these are losses
        figures = {name.removeprefix("loss_"): value for name, value in (figures or {}).items()}
        self._bar.report(done, total, message, figures)
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._said >= _LINE_SECONDS or done >= total):
            self._said = now
            percent = 100 * done / total if total else 0
            line = f"{self._title}: {message}, {percent:.0f} % {in_words(figures)}"
            self._console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)

    def _show(self) -> None:
        self._shown = True
        self._bar.__enter__()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._stop:
            before: Callable[[int, FrameType | None], Any] | int | None = self._before.get(number)
            if callable(before):
                before(number, frame)
            raise KeyboardInterrupt
        self._stop = True
        self._console.print("stopping after this step; press Ctrl-C again to stop at once", style="yellow")
