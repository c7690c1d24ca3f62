"""The published model of each project in inference processes, so that a web process can wait for a prediction.

::

    with Inference(settings) as inference:
        outcomes = inference.predict("12.1700000000", label_config, live, tasks, seconds=20)
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from hemaloop.config import Settings
from hemaloop.errors import InferenceError
from hemaloop.inference.child import Child
from hemaloop.inference.schedule import Piece, Request, Schedule
from hemaloop.inference.wire import Reply, TaskAnswer
from hemaloop.labelconfig import LabelConfig
from hemaloop.projects import LiveModel
from hemaloop.protocol import TaskRequest

log = logging.getLogger(__name__)

_LOAD_SECONDS = 60.0
_LONGEST_PAUSE = 10.0


Told = Callable[[LabelConfig, Reply], None]
"""Hears the config of a question and its reply."""


def _nobody(config: LabelConfig, reply: Reply) -> None:
    """Nobody listens."""


class Inference:
    """A few children and what waits for them. Thread-safe."""

    def __init__(self, settings: Settings, *, hang_seconds: float = 600.0) -> None:
        """hang_seconds: how long past a deadline a child may work before it is ended as hanging."""
        self._settings = settings
        self._schedule = Schedule(settings.inference_processes, hang_seconds)
        self._told: Told = _nobody
        self._slots = [
            _Slot(number, settings, self._schedule, self._tell) for number in range(settings.inference_processes)
        ]

    def listen(self, told: Told) -> None:
        """Have a function told of every reply of a child."""
        self._told = told

    def _tell(self, config: LabelConfig, reply: Reply) -> None:
        self._told(config, reply)

    def start(self) -> Self:
        """Start the children; they get ready in the background."""
        for slot in self._slots:
            slot.start()
        return self

    def close(self) -> None:
        """End the children; whoever waits gets what is done so far."""
        self._schedule.close()
        for slot in self._slots:
            slot.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def predict(
        self,
        project: str,
        label_config: LabelConfig,
        live: LiveModel,
        tasks: Sequence[TaskRequest],
        seconds: float,
        drawn: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[TaskAnswer | None]:
        """One answer a task, in order; None for those that are not done within `seconds`.

        drawn: regions that an annotator drew on a single task, to be answered in place of a prediction.
        """
        request = Request(project, label_config, live, tasks, time.monotonic() + seconds, drawn)
        self._schedule.add(request)
        request.finished.wait(seconds)
        self._schedule.drop(request)
        return list(request.answers)

    def load(self, project: str, label_config: LabelConfig, live: LiveModel) -> None:
        """Have every child load these models soon, so that the first who opens a task does not wait for it."""
        self._schedule.load(Request(project, label_config, live, (), time.monotonic() + _LOAD_SECONDS))

    @property
    def pids(self) -> list[int]:
        """Of the children that run."""
        return [slot.pid for slot in self._slots if slot.pid is not None]

    @property
    def busy(self) -> bool:
        """Whether somebody waits for a prediction."""
        return self._schedule.busy

    def waiting(self) -> dict[str, int]:
        """Tasks that wait, by kind of request."""
        return self._schedule.waiting()


class _Slot:
    """A thread that keeps one child busy, and starts another when it ends."""

    def __init__(self, number: int, settings: Settings, schedule: Schedule, told: Told) -> None:
        self._number = number
        self._settings = settings
        self._schedule = schedule
        self._told = told
        self._child: Child | None = None
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"inference-{number}", daemon=True)

    @property
    def pid(self) -> int | None:
        child = self._child
        return child.pid if child is not None and child.alive else None

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            if self._child is not None:
                self._child.close()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        self._prepare()
        while (piece := self._schedule.take(self._number)) is not None:
            try:
                reply = self._living().ask(piece.question, piece.until)
            except (InferenceError, OSError) as error:
                self._recover(piece, error)
                continue
            self._failures = 0
            if reply.fault:
                log.error("project %s: %s", piece.request.project, reply.fault)
            self._told(piece.request.label_config, reply)
            self._schedule.done(piece, reply)

    def _prepare(self) -> None:
        try:
            self._living()
        except (InferenceError, OSError) as error:
            log.error("no prediction process could be started: %s", error)  # noqa: TRY400 - the message says it all

    def _living(self) -> Child:
        """The child, or another one where it ended while nobody asked it anything."""
        with self._lock:
            if self._closing.is_set():
                raise InferenceError("the backend is shutting down")
            if self._child is None or not self._child.alive:
                self._child = Child(self._settings)
            return self._child

    def _recover(self, piece: Piece, error: Exception) -> None:
        if self._closing.is_set():
            return
        numbers = [piece.request.tasks[position].id for position in piece.positions]
        log.error("project %s: %s; tasks %s", piece.request.project, error, numbers)
        self._schedule.crashed(piece, str(error))
        self._failures += 1
        # A machine without memory would otherwise start processes as fast as they die.
        if self._failures > 1:
            self._closing.wait(min(0.1 * 2**self._failures, _LONGEST_PAUSE))
