"""`hemaloop worker`: worker processes, started again when they end; the clock of delayed jobs; the reconciliation."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import redis
from pydantic import SecretStr
from rq.registry import ScheduledJobRegistry
from rq.serializers import JSONSerializer

from hemaloop.config import Settings
from hemaloop.errors import HemaloopError
from hemaloop.lifetime import owned
from hemaloop.queues import NAMES, Queues
from hemaloop.redis_server import EmbeddedRedis, redis_url
from hemaloop.worker import STOP_SECONDS, HemaloopQueue, release_abandoned

log = logging.getLogger(__name__)

DEFAULT_WORKERS = (("train", "simulate"), ("push", "score"), ("refit",))
"""One process trains, so that two trainings never share the cores; one serves the queue of annotators; one learns quick
heads, behind neither."""
TICK_SECONDS = 0.5
ABANDONED_SECONDS = 15.0
FIRST_RECONCILIATION_SECONDS = 3.0
AGAIN_SECONDS = 10.0
"""From trouble with Label Studio to the next look at the projects."""
RESTART_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0


class Supervisor:
    """Everything of `hemaloop worker` in one process and its children.

    ::

        with Supervisor(settings) as supervisor:
            supervisor.run()        # until stop() or SIGTERM

    workers: the queues of each worker process, the first before the others. reconciles: whether this one looks for
    what no webhook told.
    """

    def __init__(
        self, settings: Settings, workers: Sequence[Sequence[str]] = DEFAULT_WORKERS, *, reconciles: bool = True
    ) -> None:
        self.settings = settings
        self.queues = Queues(settings)
        self._specifications = [tuple(names) for names in workers]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._started: dict[int, float] = {}
        self._pauses: dict[int, float] = {}
        self._url = ""
        self._redis = EmbeddedRedis(settings.data_dir) if settings.redis_url is None else None
        self._stop = threading.Event()
        self._reconciles = reconciles
        self._reconciler = threading.Thread(target=self._reconcile, name="reconciliation", daemon=True)

    def __enter__(self) -> Self:
        if self._redis is not None:
            self._redis.start()
        for place in range(len(self._specifications)):
            self._start(place)
        if self._reconciles:
            self._reconciler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._end_workers()
        if self._reconciler.is_alive():
            self._reconciler.join(timeout=5.0)
        if self._redis is not None:
            self._redis.stop()

    @property
    def pids(self) -> list[int]:
        """Of the worker processes."""
        return [process.pid for process in self._processes.values()]

    def stop(self) -> None:
        """Let `run` return."""
        self._stop.set()

    def run(self) -> None:
        """Keep the workers running and the clock ticking until `stop`.

        Call it from the thread that made this object: a worker that it starts again ends with the thread that did so.
        """
        last_look = 0.0
        while not self._stop.wait(TICK_SECONDS):
            self._follow_redis()
            ended = self._restart_ended()
            with _tolerated("the queues"):
                enqueue_due(self.queues)
                if ended or time.monotonic() - last_look > ABANDONED_SECONDS:
                    last_look = time.monotonic()
                    release_abandoned(self.queues.redis, NAMES)

    def run_until_signal(self) -> None:
        """`run`, until SIGTERM or Ctrl-C."""

        def stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler
            self.stop()

        before = {sign: signal.signal(sign, stop) for sign in (signal.SIGTERM, signal.SIGINT)}
        try:
            self.run()
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)

    def _start(self, place: int) -> None:
        command = owned([sys.executable, "-m", "hemaloop.worker", *self._specifications[place]])
        # A session of its own: Ctrl-C reaches this process alone, which then stops its workers in order.
        self._processes[place] = subprocess.Popen(  # noqa: S603 - our own module
            command, env=environment(self.settings), stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._started[place] = time.monotonic()

    def _restart_ended(self) -> bool:
        ended = [one for one, process in self._processes.items() if process.poll() is not None]
        for place in ended:
            lived = time.monotonic() - self._started[place]
            pause = self._pauses.get(place, RESTART_SECONDS)
            if lived < pause:
                continue  # one that cannot start at all is not started in a loop
            self._pauses[place] = RESTART_SECONDS if lived > MAX_PAUSE_SECONDS else min(2 * pause, MAX_PAUSE_SECONDS)
            names, status = ", ".join(self._specifications[place]), self._processes[place].returncode
            log.warning("the worker of %s ended with status %s and is started again", names, status)
            self._start(place)
        return bool(ended)

    def _follow_redis(self) -> None:
        """Start the workers anew where the embedded server had to take another port."""
        with _tolerated("Redis"):
            url = redis_url(self.settings)
            if self._url and url != self._url:
                log.warning("the embedded Redis has moved; the workers are started again")
                self._end_workers()
            self._url = url

    def _end_workers(self) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS + 5
        for process in self._processes.values():
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()  # its job's process dies with it
                process.wait()

    def _reconcile(self) -> None:
        """Look at all projects now and then; soon again where Label Studio did not answer, or a job failed for it.

        One that answers and lets jobs fail all the same is looked at less and less often, down to the usual interval.
        """
        interval = self.settings.reconcile_interval_seconds
        left, pause = min(FIRST_RECONCILIATION_SECONDS, interval), AGAIN_SECONDS
        while not self._stop.wait(min(left, pause)):
            left -= pause
            troubled = False
            with _tolerated("Redis"):
                troubled = self.queues.ledger.take_trouble()
            if left > 0 and not troubled:
                continue
            answered = self._look_at_projects()
            pause = min(2 * pause, max(interval, AGAIN_SECONDS)) if troubled and answered else AGAIN_SECONDS
            left = interval if answered else min(AGAIN_SECONDS, interval)

    def _look_at_projects(self) -> bool:
        """Whether they could be looked at."""
        from hemaloop.client import LabelStudio
        from hemaloop.reconciliation import reconcile
        from hemaloop.store import ArtifactStore

        with _tolerated("reconciliation"):
            studio = LabelStudio.from_settings(self.settings)
            try:
                reconcile(self.settings, self.queues, ArtifactStore(self.settings.artifacts), studio)
            finally:
                studio.close()
            return True
        return False


def enqueue_due(queues: Queues) -> int:
    """Put delayed jobs whose time has come into their queues; how many. Several processes may do so at once."""
    connection = queues.redis
    moved = 0
    for name in NAMES:
        queue = HemaloopQueue(name, connection=connection, serializer=JSONSerializer)
        registry = ScheduledJobRegistry(  # type: ignore[no-untyped-call]
            name, connection=connection, job_class=queue.job_class, serializer=JSONSerializer
        )
        for job_id in registry.get_jobs_to_schedule():
            if not connection.zrem(registry.key, job_id):
                continue  # another process was first
            job = queue.fetch_job(job_id)
            if job is not None:
                queue.enqueue_job(job)
                moved += 1
    return moved


def environment(settings: Settings, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment from which `load_settings` reads the same settings: how children learn them, secrets included."""
    found = dict(os.environ if inherited is None else inherited)
    for name, field in type(settings).model_fields.items():
        variable = str(field.validation_alias or f"HEMALOOP_{name.upper()}")
        value = getattr(settings, name)
        if value is None:
            found.pop(variable, None)
        elif isinstance(value, SecretStr):
            found[variable] = value.get_secret_value()
        elif isinstance(value, tuple):
            found[variable] = ",".join(str(one) for one in value)
        elif isinstance(value, Path):
            found[variable] = str(value.resolve())
        else:
            found[variable] = str(value)
    return found


@contextlib.contextmanager
def _tolerated(what: str) -> Iterator[None]:
    """What fails now is tried again at the next turn."""
    try:
        yield
    except (HemaloopError, redis.RedisError, OSError) as error:
        log.warning(
            "%s: %s; tried again later", what, error if isinstance(error, HemaloopError) else type(error).__name__
        )
