"""What the loop remembers of each project in Redis, beside its artifacts: attempts, pauses, cancels, last outcomes.

Nothing here is needed for correctness after a loss of Redis: what was trained on stands in the artifacts' manifests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import redis

from hemaloop.errors import QueueError

PROJECTS = "hemaloop:projects"
PAUSED = "hemaloop:paused"
QUICK = "hemaloop:quick"
TROUBLE = "hemaloop:trouble"
PREDICTING = "hemaloop:predicting"
CANCEL_SECONDS = 24 * 3600
ATTEMPT_SECONDS = 30 * 24 * 3600


class Ledger:
    """Small facts by project. Methods raise `redis.RedisError` where Redis is gone."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection

    # -- projects

    def remember(self, project: str) -> None:
        """Let the reconciliation look at this project from now on."""
        self._redis.sadd(PROJECTS, project)

    def forget(self, project: str) -> None:
        """Let the reconciliation look at it no longer."""
        self._redis.srem(PROJECTS, project)
        self._redis.srem(QUICK, project)

    def erase(self, project: str) -> None:
        """Forget it with all that was remembered of it."""
        self.forget(project)
        self.resume(project)
        keys = [f"hemaloop:{name}:{project}" for name in ("asked", "attempts", "plan", "outcome", "jobs")]
        for pattern in (f"hemaloop:aside:{project}:*", f"hemaloop:failed:{project}:*"):
            keys += self._redis.scan_iter(match=pattern)
        self._redis.delete(*keys)

    def projects(self) -> list[str]:
        """Projects that this backend has heard of."""
        return sorted(_texts(self._redis.smembers(PROJECTS)))

    def pause(self, project: str) -> None:
        """Start no training until `resume`."""
        self._redis.sadd(PAUSED, project)

    def resume(self, project: str) -> None:
        """Let trainings start again."""
        self._redis.srem(PAUSED, project)

    def paused(self, project: str) -> bool:
        """Whether somebody paused the project's trainings."""
        return bool(self._redis.sismember(PAUSED, project))

    def mark_quick(self, project: str) -> None:
        """The project has a representation: its heads learn on their own, at once."""
        self._redis.sadd(QUICK, project)

    def quick(self, project: str) -> bool:
        """Whether the project has heads that learn on their own."""
        return bool(self._redis.sismember(QUICK, project))

    def any_quick(self) -> bool:
        """Whether some project has heads that learn on their own."""
        return bool(self._redis.scard(QUICK))

    # -- Label Studio

    def note_trouble(self) -> None:
        """Something failed because Label Studio did not answer, or not well: the projects are looked at again soon."""
        self._redis.set(TROUBLE, "1")

    def take_trouble(self) -> bool:
        """Whether there was trouble since the last call."""
        return self._redis.getdel(TROUBLE) is not None

    # -- trainings

    def ask(self, project: str) -> None:
        """Somebody asked for a training by hand."""
        self._redis.set(f"hemaloop:asked:{project}", "1", ex=CANCEL_SECONDS)

    def take_ask(self, project: str) -> bool:
        """Whether somebody asked since the last call."""
        return bool(self._redis.delete(f"hemaloop:asked:{project}"))

    def begin(self, project: str, fingerprint: str) -> int:
        """Count an attempt on this data, before it starts, so that one that kills its process counts too."""
        key = f"hemaloop:attempts:{project}"
        count = int(self._redis.hincrby(key, fingerprint, 1))
        self._redis.expire(key, ATTEMPT_SECONDS)
        return count

    def take_back(self, project: str, fingerprint: str) -> None:
        """The attempt says nothing about the data: it was interrupted from outside."""
        self._redis.hincrby(f"hemaloop:attempts:{project}", fingerprint, -1)

    def attempts(self, project: str, fingerprint: str) -> int:
        """Attempts on this data that did not end well."""
        found = self._redis.hget(f"hemaloop:attempts:{project}", fingerprint)
        return int(found) if found else 0

    def clear_attempts(self, project: str) -> None:
        """Begin to count anew."""
        self._redis.delete(f"hemaloop:attempts:{project}")

    def set_aside(self, project: str, control: str, fingerprint: str, why: str, seconds: int = ATTEMPT_SECONDS) -> None:
        """Start no training by itself on this data: somebody cancelled one, or it would end as the last one did."""
        entry = json.dumps({"fingerprint": fingerprint, "why": why})
        self._redis.set(f"hemaloop:aside:{project}:{control}", entry, ex=seconds)

    def aside(self, project: str, control: str, fingerprint: str) -> str | None:
        """Why this data was set aside, or None where it was not."""
        text = _text(self._redis.get(f"hemaloop:aside:{project}:{control}"))
        try:
            entry = json.loads(text) if text else {}
        except ValueError as error:
            raise QueueError(f"Redis: what was set aside of project {project} is not JSON: {error}") from None
        return str(entry["why"]) if entry.get("fingerprint") == fingerprint else None

    # -- scoring

    def keep_plan(self, project: str, plan: Mapping[str, str]) -> None:
        """Remember the scoring plan that is under way: its id, its version and the job that ends it."""
        self._redis.set(f"hemaloop:plan:{project}", json.dumps(dict(plan)), ex=ATTEMPT_SECONDS)

    def plan(self, project: str) -> dict[str, str] | None:
        """The last scoring plan, or None."""
        text = _text(self._redis.get(f"hemaloop:plan:{project}"))
        try:
            return dict(json.loads(text)) if text else None
        except ValueError as error:
            raise QueueError(f"Redis: the scoring plan of project {project} is not JSON: {error}") from None

    def keep_failed(self, project: str, version: str, tasks: Iterable[int], seconds: int = 3600) -> None:
        """Remember for a while which tasks a version could not predict, so that they are not tried all the time."""
        key = f"hemaloop:failed:{project}:{version}"
        names = [str(task) for task in tasks]
        if names:
            self._redis.sadd(key, *names)
            self._redis.expire(key, seconds)

    def failed(self, project: str, version: str) -> frozenset[int]:
        """Tasks that a version could not predict lately."""
        return frozenset(int(name) for name in _texts(self._redis.smembers(f"hemaloop:failed:{project}:{version}")))

    # -- outcomes, shown to people

    def note(self, project: str, subject: str, value: Mapping[str, Any]) -> None:
        """Keep the last outcome of a subject such as "training" or "publication"."""
        entry = json.dumps({**value, "at": time.time()}, default=str)
        self._redis.hset(f"hemaloop:outcome:{project}", subject, entry)

    def outcomes(self, project: str) -> dict[str, Any]:
        """The last outcome of each subject. Raises `QueueError` where a foreign value is there."""
        found: Any = self._redis.hgetall(f"hemaloop:outcome:{project}")
        try:
            return {_text(name) or "": json.loads(value) for name, value in found.items()}
        except ValueError as error:
            raise QueueError(f"Redis: outcomes of project {project} are not JSON: {error}") from None

    # -- jobs

    def keep_job(self, project: str, job_id: str, seconds: int) -> None:
        """Remember a job that was queued for a project, for at most so long."""
        key = f"hemaloop:jobs:{project}"
        now = time.time()
        self._redis.zadd(key, {job_id: now})
        self._redis.zremrangebyscore(key, "-inf", now - seconds)
        self._redis.expire(key, seconds)

    def drop_jobs(self, project: str, job_ids: Iterable[str]) -> None:
        """Forget jobs that are over."""
        names = list(job_ids)
        if names:
            self._redis.zrem(f"hemaloop:jobs:{project}", *names)

    def jobs(self, project: str) -> list[str]:
        """Jobs that were queued for a project and not dropped since, oldest first."""
        return _texts(self._redis.zrange(f"hemaloop:jobs:{project}", 0, -1))

    def cancel(self, job_id: str) -> None:
        """Ask a running job to stop at its next report."""
        self._redis.set(f"hemaloop:cancel:{job_id}", "1", ex=CANCEL_SECONDS)

    def uncancel(self, job_id: str) -> None:
        """A job of that id is asked for anew."""
        self._redis.delete(f"hemaloop:cancel:{job_id}")

    def cancelled(self, job_id: str) -> bool:
        """Whether somebody asked the job to stop."""
        return bool(self._redis.exists(f"hemaloop:cancel:{job_id}"))

    def mark_predicting(self, seconds: float = 2.0) -> None:
        """Annotators wait for predictions: trainings keep to one thread for this long."""
        self._redis.set(PREDICTING, "1", px=int(seconds * 1000))

    def predicting(self) -> bool:
        """Whether annotators wait for predictions."""
        return bool(self._redis.exists(PREDICTING))


def _text(value: Any) -> str | None:
    # Foreign bytes become a text that is no key and no JSON, which callers expect; decoding must not end their work.
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else None


def _texts(values: Any) -> list[str]:
    return [text for text in map(_text, values) if text is not None]
