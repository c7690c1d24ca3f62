"""Who is predicted next.

Small requests, an annotator who opens a task, come first. A bulk request is cut into pieces of a fraction of a second,
and several bulk requests take turns. It never keeps every child busy for long: the last free one takes a piece of it
only where a task of that project is known to be quick.

A question that an annotator draws goes to the child that answered the last one about that image, which still knows the
image. It comes after tasks that are opened and before bulk requests, and with several children one is kept for whoever
opens a task.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hemaloop.inference.wire import Question, Reply, TaskAnswer
from hemaloop.labelconfig import LabelConfig
from hemaloop.projects import LiveModel
from hemaloop.protocol import TaskRequest

SMALL = 4
"""A request of so many tasks or fewer is small."""
PIECE_SECONDS = 0.4
MAX_PIECE = 16
QUICK_SECONDS = 0.5
ATTEMPTS = 3
"""Children that may end over a task: two that something else ends at one moment both count."""


@dataclass(eq=False)
class Request:
    """Tasks that one caller waits for. deadline: monotonic seconds. answers: None where a task was not done in time.

    drawn: regions that an annotator drew on the one task; None for predictions.
    """

    project: str
    label_config: LabelConfig
    live: LiveModel
    tasks: Sequence[TaskRequest]
    deadline: float
    drawn: Sequence[Mapping[str, Any]] | None = None
    answers: list[TaskAnswer | None] = field(init=False)
    waiting: deque[int] = field(init=False)
    again: deque[int] = field(default_factory=deque)
    attempts: dict[int, int] = field(default_factory=dict)
    left: int = field(init=False)
    finished: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.answers = [None] * len(self.tasks)
        self.waiting = deque(range(len(self.tasks)))
        self.left = len(self.tasks)

    @property
    def bulk(self) -> bool:
        """Whether nobody sits in front of a screen waiting for it."""
        return self.drawn is None and len(self.tasks) > SMALL

    def child(self, children: int) -> int:
        """The child that answers what is drawn on this task's image."""
        task = self.tasks[0]
        text = json.dumps([self.project, task.id, None if task.id is not None else task.data], sort_keys=True)
        return zlib.crc32(text.encode("utf-8", "surrogatepass")) % children


@dataclass(frozen=True, eq=False)
class Piece:
    """What one child does next: tasks of a request by position, or the loading of a model where there are none."""

    request: Request
    positions: tuple[int, ...]
    until: float

    @property
    def question(self) -> Question:
        """As the child is asked."""
        tasks = [(self.request.tasks[i].id, self.request.tasks[i].data) for i in self.positions]
        request = self.request
        return Question(request.project, request.label_config.xml, request.live, tasks, request.drawn)


class Schedule:
    """Requests that wait, shared by the threads of the children."""

    def __init__(self, children: int, hang_seconds: float = 600.0) -> None:
        """hang_seconds: how long after a request's deadline a child that still works on it counts as hanging."""
        self._children = children
        self._hang_seconds = hang_seconds
        self._changed = threading.Condition()
        self._small: deque[Request] = deque()
        self._bulk: deque[Request] = deque()
        self._prompts: deque[Request] = deque()
        self._prompted: set[int] = set()
        self._to_load: list[deque[Request]] = [deque() for _ in range(children)]
        self._on_bulk: set[int] = set()
        self._working: set[int] = set()
        self._pace: dict[str, float] = {}
        self._closed = False

    def add(self, request: Request) -> None:
        """Queue a request; its `finished` is set when every task has an answer or the schedule is closed."""
        with self._changed:
            if self._closed or not request.tasks:
                request.finished.set()
                return
            self._queue(request).append(request)
            self._changed.notify_all()

    def drop(self, request: Request) -> None:
        """Nobody waits for it any more; pieces that are being worked on are let be."""
        with self._changed:
            self._forget(request)

    def load(self, request: Request) -> None:
        """Let every child load the model of a request without tasks, when it has nothing more urgent to do."""
        with self._changed:
            for waiting in self._to_load:
                waiting.append(request)
            self._changed.notify_all()

    def take(self, child: int) -> Piece | None:
        """Wait for what a child should do next; None when the schedule is closed."""
        with self._changed:
            self._on_bulk.discard(child)
            self._prompted.discard(child)
            self._working.discard(child)
            self._changed.notify_all()
            while not self._closed:
                piece = self._next(child)
                if piece is not None:
                    if piece.positions:
                        self._working.add(child)
                    return piece
                self._changed.wait()
        return None

    def done(self, piece: Piece, reply: Reply) -> None:
        """The answers of a piece. How long they took, the loading of a model apart, decides the size of the next."""
        with self._changed:
            project = piece.request.project
            if reply.answers:
                each = sum(sum(answer.seconds.values()) for answer in reply.answers) / len(reply.answers)
                self._pace[project] = each if project not in self._pace else 0.7 * self._pace[project] + 0.3 * each
            fault = TaskAnswer(None, reply.fault, of_model=True)
            answers = reply.answers or (fault,) * len(piece.positions)
            for position, answer in zip(piece.positions, answers, strict=True):
                self._answer(piece.request, position, answer)

    def crashed(self, piece: Piece, reason: str) -> None:
        """A child ended over a piece: each of its tasks is tried alone, and given up at the last of `ATTEMPTS`."""
        with self._changed:
            request = piece.request
            for position in piece.positions:
                request.attempts[position] = request.attempts.get(position, 0) + 1
                if request.attempts[position] >= ATTEMPTS:
                    self._answer(request, position, TaskAnswer(None, f"{reason}, {ATTEMPTS} times over this task"))
                else:
                    request.again.append(position)
            self._changed.notify_all()

    def close(self) -> None:
        """Let everybody go who waits."""
        with self._changed:
            self._closed = True
            for request in (*self._small, *self._prompts, *self._bulk):
                request.finished.set()
            self._changed.notify_all()

    def waiting(self) -> dict[str, int]:
        """Tasks that wait, by kind of request."""
        with self._changed:
            return {
                "small": sum(len(r.waiting) + len(r.again) for r in self._small),
                "drawn": sum(len(r.waiting) + len(r.again) for r in self._prompts),
                "bulk": sum(len(r.waiting) + len(r.again) for r in self._bulk),
            }

    @property
    def busy(self) -> bool:
        """Whether somebody waits for a prediction."""
        with self._changed:
            return bool(self._working or self._small or self._prompts or self._bulk)

    # -- called with the lock held

    def _next(self, child: int) -> Piece | None:
        for request in self._small:
            if positions := self._cut(request):
                return self._piece(request, positions)
        for request in self._prompts:
            mine = request.child(self._children) == child
            if mine and self._keeps_one(self._prompted) and (positions := self._cut(request)):
                self._prompted.add(child)
                return self._piece(request, positions)
        if self._to_load[child]:
            return self._piece(self._to_load[child].popleft(), ())
        if self._prompts:
            return None  # a bulk request would take the next child that a question waits for
        for _ in range(len(self._bulk)):
            request = self._bulk[0]
            self._bulk.rotate(-1)
            if self._has_room(request) and (positions := self._cut(request)):
                self._on_bulk.add(child)
                return self._piece(request, positions)
        return None

    def _has_room(self, request: Request) -> bool:
        """One child is kept for small requests, unless the piece is so quick that nobody notices."""
        return self._keeps_one(self._on_bulk) or self._pace.get(request.project, 1e9) <= QUICK_SECONDS

    def _keeps_one(self, taken: set[int]) -> bool:
        """Whether a child is left for whoever opens a task when one more is taken; a single child does everything."""
        return len(taken) < max(1, self._children - 1)

    def _queue(self, request: Request) -> deque[Request]:
        if request.drawn is not None:
            return self._prompts
        return self._bulk if request.bulk else self._small

    def _cut(self, request: Request) -> tuple[int, ...]:
        if request.again:
            return (request.again.popleft(),)
        pace = self._pace.get(request.project, PIECE_SECONDS)
        size = max(1, min(MAX_PIECE, int(PIECE_SECONDS / max(pace, 1e-6))))
        return tuple(request.waiting.popleft() for _ in range(min(size, len(request.waiting))))

    def _piece(self, request: Request, positions: tuple[int, ...]) -> Piece:
        return Piece(request, positions, max(request.deadline, time.monotonic()) + self._hang_seconds)

    def _answer(self, request: Request, position: int, answer: TaskAnswer) -> None:
        request.answers[position] = answer
        request.left -= 1
        if not request.left:
            self._forget(request)
            request.finished.set()

    def _forget(self, request: Request) -> None:
        waiting = self._queue(request)
        if request in waiting:
            waiting.remove(request)
