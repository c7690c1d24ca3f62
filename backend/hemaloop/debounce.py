"""Many events, one piece of work; and one piece of work of a kind at a time.

The first event claims the work for a job that starts a little later; the others find the claim and do nothing. The job
gives the claim up before it reads anything, so that an event during the work leads to one more piece of work after it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import redis
from redis.exceptions import LockError

from hemaloop.errors import QueueError

CLAIM_SECONDS = 24 * 3600
"""Longest time that a claim survives its job; it is given up much earlier in every ordinary case."""
GRACE_SECONDS = 5.0
"""Time between a claim and the job that it names, within which the job is not missed."""
LOCK_SECONDS = 10.0
"""A lock outlives a killed worker by this much at most."""


class Debounce:
    """Claims of one kind of work on projects: ``SET hemaloop:pending:<kind>:<project> <job id> NX EX``."""

    def __init__(self, connection: redis.Redis, kind: str) -> None:
        self._redis = connection
        self._kind = kind

    def claim(self, project: str, job_id: str, alive: Callable[[str], bool]) -> str:
        """Claim the work for a job. Returns the id of the job that has it: this one or one that is still to start.

        alive: whether a job of that id is still to run; a claim without such a job was left by a process that died.
        """
        key = self._key(project)
        if self._redis.set(key, job_id, nx=True, ex=CLAIM_SECONDS):
            return job_id
        holder = self.holder(project)
        if holder is not None:
            age = CLAIM_SECONDS - int(self._redis.pttl(key)) / 1000
            if alive(holder) or age < GRACE_SECONDS:
                return holder
        self._redis.set(key, job_id, ex=CLAIM_SECONDS)
        return job_id

    def take_over(self, project: str, job_id: str) -> None:
        """Claim the work for a job that does not wait for the one that had it."""
        self._redis.set(self._key(project), job_id, ex=CLAIM_SECONDS)

    def give_up(self, project: str) -> None:
        """Let the next event claim again: the first thing that a job does."""
        self._redis.delete(self._key(project))

    def holder(self, project: str) -> str | None:
        """Id of the job that has claimed the work."""
        found = self._redis.get(self._key(project))
        return found.decode() if isinstance(found, bytes) else None

    def _key(self, project: str) -> str:
        return f"hemaloop:pending:{self._kind}:{project}"


class Busy(QueueError):
    """Another worker is at the same work."""


class WorkLock:
    """One worker at a time for a name; expires with its worker.

    ::

        with WorkLock(connection, "train:7.1763000000") as lock:
            ...
            lock.check()   # before what must not happen twice

    Raises `Busy` on entry where another worker holds it for longer than `wait` seconds.
    """

    def __init__(self, connection: redis.Redis, name: str, seconds: float = LOCK_SECONDS, wait: float = 0.0) -> None:
        self.name = name
        self._seconds = seconds
        self._wait = wait
        self._lock = connection.lock(f"hemaloop:lock:{name}", timeout=seconds, thread_local=False)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if not self._lock.acquire(blocking=self._wait > 0, blocking_timeout=self._wait or None):
            raise Busy(f"lock {self.name!r}: another worker holds it")
        self._thread = threading.Thread(target=self._renew, name=f"lock-{self.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(LockError, redis.RedisError):  # it expired, or Redis is gone and it will
            self._lock.release()

    def check(self) -> None:
        """Raises `QueueError` where another worker has the lock now: Redis was gone for longer than it lasts."""
        if not self._lock.owned() and not self._lock.acquire(blocking=False):
            raise QueueError(f"lock {self.name!r}: lost while working; another worker may be at the same work")

    def _renew(self) -> None:
        while not self._stop.wait(self._seconds / 3):
            with contextlib.suppress(redis.RedisError):
                try:
                    self._lock.reacquire()
                except LockError:
                    self._lock.acquire(blocking=False)  # nobody may have taken it; `check` decides
