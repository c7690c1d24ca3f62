"""What a request asks of the queues, passed on by a thread of its own: no annotator waits for Redis.

A hint that Redis does not take is kept and offered again; one that is lost with the process is found by the
reconciliation, because a training reads the project itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from hemaloop.background import Background
from hemaloop.errors import QueueError
from hemaloop.queues import Queues

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 30.0
_PREDICTING_SECONDS = 1.0

Work = Callable[[], object]


class Hints(Background):
    """Hints that wait for Redis, each once however often it is given. Thread-safe; every method returns at once.

    `close` passes on what waits, if Redis takes it at once.
    """

    def __init__(self, queues: Queues, predicting: Callable[[], bool] = lambda: False) -> None:
        """predicting: whether annotators wait for predictions, which trainings want to know."""
        super().__init__("hints")
        self._queues = queues
        self._predicting = predicting
        self._waiting: dict[tuple[object, ...], Work] = {}
        self._changed = threading.Condition()
        self._closed = False

    def training(self, project: str, reason: str) -> None:
        """Something in the project changed from which a model could learn."""
        self._give(("train", project), lambda: self._queues.request_training(project, reason))

    def scores(self, project: str, reason: str) -> None:
        """The project has tasks without a prediction."""
        self._give(("score", project), lambda: self._queues.request_scores(project, reason))

    def unfinished(self, project: str, task_ids: list[int], version: str) -> None:
        """These tasks were asked for, and there was no time."""
        key = ("finish", project, version, tuple(task_ids))
        self._give(key, lambda: self._queues.finish_predictions(project, task_ids, version))

    def remember(self, project: str) -> None:
        """The project exists."""
        self._give(("remember", project), lambda: self._queues.remember(project))

    def portrait(self, project: str, every: float) -> None:
        """Somebody looks at the project's page; it is drawn once in so many seconds."""
        self._give(("portrait", project), lambda: self._queues.request_portrait(project, every))

    def forget(self, project: str) -> None:
        """The project is no longer served."""
        self._give(("remember", project), lambda: self._queues.leave(project))

    @property
    def waiting(self) -> int:
        """Hints that Redis has not taken yet."""
        with self._changed:
            return len(self._waiting)

    def _give(self, key: tuple[object, ...], work: Work) -> None:
        with self._changed:
            self._waiting[key] = work
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                self._sleep(pause)
                if self._closed and (pause or not self._waiting):
                    return
                offered = dict(self._waiting)
            try:
                pause = self._offer(offered, pause)
            except Exception as error:  # noqa: BLE001 - whatever one hint meets, the next ones are passed on
                log.error("a hint was lost: %s: %s", type(error).__name__, error)  # noqa: TRY400

    def _sleep(self, pause: float) -> None:
        """Until there is something to do, or for as long as Redis is left alone."""
        if pause:
            self._changed.wait_for(lambda: self._closed, timeout=pause)
        else:
            self._changed.wait_for(lambda: self._closed or bool(self._waiting), timeout=_PREDICTING_SECONDS)

    def _offer(self, offered: dict[tuple[object, ...], Work], pause: float) -> float:
        """Pass hints on. Returns the seconds to wait before the next try, 0 where all went well."""
        try:
            if self._predicting():
                self._queues.mark_predicting()
            for key, work in offered.items():
                # Taken out first: a hint given meanwhile is about something newer.
                with self._changed:
                    self._waiting.pop(key, None)
                try:
                    work()
                except QueueError:
                    with self._changed:
                        self._waiting.setdefault(key, work)
                    raise
        except QueueError as error:
            if not pause:
                log.warning("%s; %d hints wait for it", error, self.waiting)
            return min(_LONGEST_PAUSE, max(0.5, 2 * pause))
        return 0.0
