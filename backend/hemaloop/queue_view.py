"""The queues as people and monitoring see them: how much waits and since when, who works, what failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rq import Queue
from rq.job import Job
from rq.registry import FailedJobRegistry, ScheduledJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker, Worker

from hemaloop.errors import QueueError
from hemaloop.queues import NAMES, Queues, reachable

LATEST = 200
"""Failed jobs of a queue that are looked at."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue now. delayed: jobs that start at a time of their own. oldest: seconds that the first one has waited."""

    name: str
    waiting: int
    delayed: int
    running: int
    failed: int
    oldest: float
    workers: int


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker process. seen: seconds since its last sign of life. job: what it works on, for people."""

    name: str
    queues: tuple[str, ...]
    state: str
    seen: float
    job: str
    project: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that failed and is not tried again by itself. at: seconds since the epoch."""

    job: str
    kind: str
    why: str
    at: float


def states(queues: Queues) -> list[QueueState]:
    """Every queue. Raises `QueueError` where Redis is gone."""
    with reachable():
        serving = [name for worker in Worker.all(queues.redis) for name in worker.queue_names()]
        return [_state(queues.queue(name), serving.count(name)) for name in NAMES]


def _state(queue: Queue, workers: int) -> QueueState:
    waiting = queue.get_job_ids()
    return QueueState(
        queue.name,
        len(waiting),
        _size(ScheduledJobRegistry, queue),
        _size(StartedJobRegistry, queue),
        _size(FailedJobRegistry, queue),
        _waited(queue, waiting[0]) if waiting else 0.0,
        workers,
    )


def _size(kind: Any, queue: Queue) -> int:
    registry = kind(queue.name, connection=queue.connection, serializer=JSONSerializer)
    return int(queue.connection.zcard(registry.key))


def _waited(queue: Queue, job_id: str) -> float:
    job = queue.fetch_job(job_id)
    return _since(job.enqueued_at) if job is not None else 0.0


def _since(moment: datetime | None) -> float:
    if moment is None:
        return 0.0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (datetime.now(UTC) - aware).total_seconds())


def workers(queues: Queues) -> list[WorkerState]:
    """Every worker process that gave a sign of life lately. Raises `QueueError` where Redis is gone."""
    with reachable():
        return sorted((_worker(queues, one) for one in Worker.all(queues.redis)), key=lambda one: one.name)


def _worker(queues: Queues, worker: BaseWorker) -> WorkerState:
    job_id = worker.get_current_job_id()
    job = queues.fetch(job_id) if job_id else None
    kind, project = (_kind(job), _project(job)) if job is not None else ("", "")
    state = str(getattr(worker.get_state(), "value", worker.get_state()))
    names = tuple(worker.queue_names())
    return WorkerState(worker.name, names, state, _since(worker.last_heartbeat), kind, project)


def _kind(job: Job) -> str:
    return str(job.func_name).rpartition(".")[2]


def _project(job: Job) -> str:
    return str(job.args[0]) if job.args else ""


def failures(queues: Queues, project: str) -> list[Failure]:
    """Failed jobs of a project, the latest first. Raises `QueueError` where Redis is gone."""
    with reachable():
        found = [_failure(job) for job in _failed(queues, NAMES) if _project(job) == project]
    return sorted(found, key=lambda one: -one.at)


def _failed(queues: Queues, names: Sequence[str]) -> Iterator[Job]:
    for name in names:
        registry = FailedJobRegistry(name, connection=queues.redis, serializer=JSONSerializer)
        ids = registry.get_job_ids(-LATEST, -1, cleanup=False)
        jobs = Job.fetch_many(ids, connection=queues.redis, serializer=JSONSerializer)
        yield from (job for job in jobs if job is not None and not job.get_meta(refresh=False).get("cancelled"))


def _failure(job: Job) -> Failure:
    why = job.get_meta(refresh=False).get("error")
    if not why:
        result = job.latest_result()
        why = (result.exc_string or "").strip().rpartition("\n")[2] if result else ""
    ended = job.ended_at or job.enqueued_at
    at = (ended if ended is None or ended.tzinfo else ended.replace(tzinfo=UTC)) if ended else None
    return Failure(job.id, _kind(job), str(why or "no reason was kept"), at.timestamp() if at else 0.0)


def retry(queues: Queues, project: str, job_id: str) -> str:
    """Ask anew for what a failed job was for, and forget those that failed at the same. Returns the new job.

    What is asked for is the work, not the job: a training reads the project as it is now, a plan that is gone is made
    again. Raises `QueueError` for a job that is not one of the project's failures.
    """
    with reachable():
        mine = [job for job in _failed(queues, NAMES) if _project(job) == project]
    job = next((one for one in mine if one.id == job_id), None)
    if job is None:
        raise QueueError(f"job {job_id}: not among the failed jobs of project {project}; it may run again already")
    work = _WORK.get(_kind(job), "scores")
    if work == "training":
        asked = queues.request_training(project, "tried again by hand", now=True)
    elif work == "portrait":
        asked = queues.request_portrait(project)
    else:
        asked = queues.request_scores(project, "tried again by hand")
    with reachable():
        for one in mine:
            if _WORK.get(_kind(one), "scores") == work:
                one.delete()
    return str(asked)


_WORK = {"train": "training", "portray": "portrait"}
"""What the kinds of jobs are parts of; all others are parts of scoring the pool and publishing it."""
