"""How far a job is: in the job itself, in the log, as a bar in a terminal; and how it hears that it should stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import Any, Self

import redis
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rq.job import Job

from hemaloop.errors import Cancelled
from hemaloop.ledger import Ledger

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
"""Redis is written and asked at most this often."""
LOG_SECONDS = 15.0
COURSE = 120
"""Points of the losses that are kept of a training at work, for people who watch it."""


class Interrupted(BaseException):
    """The worker is being stopped and the job starts again later. Not an `Exception`, so that no family catches it."""


def interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - what a signal handler is given
    """A signal handler that ends the job at once, with its clean-up."""
    signal.signal(signum, signal.SIG_IGN)
    raise Interrupted(f"stopped by signal {signum}")


class Bar:
    """A `Progress` that draws a bar on a terminal, and nothing where there is none.

    ::

        with Bar("training") as bar:
            plugin.fit(train, tune, bar)
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console or Console(stderr=True),
            transient=True,
        )
        self._shown = self._progress.console.is_terminal
        self._title = title
        self._task = self._progress.add_task(title, total=None, figures="")

    def __enter__(self) -> Self:
        if self._shown:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._progress.stop()

    def report(self, done: float, total: float, message: str, figures: Mapping[str, float] | None = None) -> None:
        """Move the bar."""
        self._progress.update(
            self._task, completed=done, total=total, description=f"{self._title}: {message}", figures=in_words(figures)
        )


class JobProgress:
    """The `Progress` of a queued job: kept in the job's meta, logged, drawn, and asked whether it was cancelled.

    job: None for work that nobody queued. threads: torch threads while no annotator waits for a prediction, 0 for
    every core, None to leave them alone; while one waits it is a single thread.
    """

    def __init__(self, job: Job | None, ledger: Ledger, *, threads: int | None = None) -> None:
        self._job = job
        self._ledger = ledger
        self._threads = threads
        self._title = str(job.func_name).rpartition(".")[2] if job is not None else "work"
        self._bar = Bar(self._title)
        self._reported = 0.0
        self._logged = time.monotonic()
        self._lock = threading.Lock()
        self._course: list[Any] = []

    def __enter__(self) -> Self:
        if self._job is not None and self._ledger.cancelled(self._job.id):
            raise Cancelled(f"{self._title}: somebody asked to stop before it began")
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def report(self, done: float, total: float, message: str, figures: Mapping[str, float] | None = None) -> None:
        """Note the progress. Raises `Cancelled` where somebody asked the job to stop."""
        self._bar.report(done, total, message, figures)
        now = time.monotonic()
        if now - self._reported < REPORT_SECONDS and done < total:
            return
        self._reported = now
        if now - self._logged >= LOG_SECONDS or done >= total:
            self._logged = now
            log.info("%s: %s, %g of %g %s", self._title, message, done, total, in_words(figures))
        try:
            self._keep(done, total, message, figures)
            self._give_way()
            cancelled = self._job is not None and self._ledger.cancelled(self._job.id)
        except redis.RedisError:
            log.warning("progress cannot be kept: Redis is gone; the work goes on")
            return
        if cancelled:
            raise Cancelled(f"{self._title}: somebody asked to stop, at {message}, {done:g} of {total:g}")

    def _keep(self, done: float, total: float, message: str, figures: Mapping[str, float] | None) -> None:
        if self._job is None:
            return
        entry: dict[str, Any] = {"done": done, "total": total, "message": message, "at": time.time()}
        entry["figures"] = {name: float(value) for name, value in (figures or {}).items()}
        self._job.meta["progress"] = entry
        if entry["figures"]:
            self._course = thinned([*self._course, [done, entry["figures"]]])
            self._job.meta["course"] = self._course
        self._job.save_meta()  # type: ignore[no-untyped-call]

    def _give_way(self) -> None:
        torch = sys.modules.get("torch")  # a family that has not imported it has no threads to give
        if self._threads is None or torch is None:
            return
        wanted = 1 if self._ledger.predicting() else self._threads or os.cpu_count() or 1
        if torch.get_num_threads() != wanted:
            torch.set_num_threads(wanted)


def thinned(course: list[Any]) -> list[Any]:
    """At most `COURSE` points, the first and the latest among them; evenly less dense where there are more."""
    return course if len(course) <= COURSE else [*course[:-1:2], course[-1]]


def in_words(figures: Mapping[str, float] | None) -> str:
    """Named numbers for one line."""
    return " ".join(f"{name} {value:.4g}" for name, value in (figures or {}).items())
