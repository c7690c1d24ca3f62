"""The queues as the rest of hemaloop sees them: ask for work, look at it, stop it.

Jobs carry ids, not data, and are named, not imported: the web process queues a training without loading anything
that trains.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry as RedisRetry
from rq import Queue, Retry
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Dependency, Job, JobStatus
from rq.serializers import JSONSerializer
from rq.worker import Worker

from hemaloop.config import Settings
from hemaloop.debounce import Debounce
from hemaloop.errors import QueueError
from hemaloop.ledger import Ledger
from hemaloop.redis_server import redis_url

NAMES = ("train", "push", "score", "refit", "simulate")
CLAIMS = {
    "train": "train",
    "score": "score_pool",
    "refit": "refit",
    "rest": "finish_order",
    "portrait": "portray",
}
"""Kinds of work that is claimed (`debounce`), with the function that gives the claim up when it begins."""
KEEP_SECONDS = 7 * 24 * 3600
"""How long finished and failed jobs can be asked about."""
DRAWN_SECONDS = 600
"""How long a page that could not be drawn is shown as a failure."""
REST_SECONDS = 20.0
"""Quiet time after which what a new order left out is pushed."""
SCORE_SECONDS = 3600
"""Longest time of one scoring or publishing job."""

_JOB_ID = re.compile(r"[A-Za-z0-9_-]+")
_TO_COME = frozenset({JobStatus.QUEUED, JobStatus.SCHEDULED, JobStatus.STARTED, JobStatus.DEFERRED})


def connect(url: str, *, patient: bool = False) -> redis.Redis:
    """A connection with short time-outs, for callers that answer people; `patient` for workers, which block."""
    if patient:
        return redis.Redis.from_url(url, socket_connect_timeout=5.0, health_check_interval=30)
    return redis.Redis.from_url(
        url, socket_connect_timeout=0.5, socket_timeout=2.0, retry=RedisRetry(NoBackoff(), 1), health_check_interval=30
    )


class Queues:
    """Every queue of one Redis. Thread-safe; connects on first use. Methods raise `QueueError` where Redis is gone.

    connection: instead of the one that the settings name.
    """

    def __init__(self, settings: Settings, connection: redis.Redis | None = None) -> None:
        self.settings = settings
        self._given = connection
        self._connected: tuple[str, redis.Redis] | None = None

    @property
    def redis(self) -> redis.Redis:
        """The connection; a new one where the embedded server has moved. Raises `QueueError` where none is known."""
        if self._given is not None:
            return self._given
        url = redis_url(self.settings)
        if self._connected is None or self._connected[0] != url:
            self._connected = (url, connect(url))
        return self._connected[1]

    @property
    def ledger(self) -> Ledger:
        """What the loop remembers of each project."""
        return Ledger(self.redis)

    def close(self) -> None:
        """Give the connection back, if it is this object's own."""
        if self._connected is not None:
            self._connected[1].close()
            self._connected = None

    def queue(self, name: str) -> Queue:
        """One of `NAMES` as rq knows it."""
        return Queue(name, connection=self.redis, serializer=JSONSerializer)

    # -- asking for work

    def request_training(self, project: str, reason: str, now: bool = False, delay: float | None = None) -> str | None:
        """Ask for a training. Returns the id of the job that will look whether one is due.

        However many ask within `train_debounce_seconds`, one job starts, after that time, and reads everything there is
        then. `now` (a person asked): it starts at once and policy gives way, except that nothing is trained twice.
        """
        with reachable():
            job_id = uuid.uuid4().hex
            claims = Debounce(self.redis, "train")
            self.ledger.remember(project)
            if self.ledger.quick(project):
                self.request_refit(project, reason)
            if now:
                self.ledger.ask(project)
                claims.take_over(project, job_id)
            elif (holder := claims.claim(project, job_id, self.to_come)) != job_id:
                return holder
            wait = 0.0 if now else self.settings.train_debounce_seconds if delay is None else delay
            retries = self.settings.train_max_attempts - 1
            return self._enqueue(
                "train",
                "train",
                (project, reason),
                job_id=job_id,
                delay=wait,
                timeout=self.settings.train_timeout_seconds,
                retry=Retry(retries, interval=int(self.settings.train_retry_seconds)) if retries else None,
            )

    def request_refit(self, project: str, reason: str) -> str:
        """Ask for new heads of the project's representations, in a queue of their own that no training holds up.

        At once: the job takes what has come until it reads, and the first event after that asks for another. Returns
        the id of the job that will look whether one is due.
        """
        with reachable():
            job_id = uuid.uuid4().hex
            holder = Debounce(self.redis, "refit").claim(project, job_id, self.to_come)
            if holder != job_id:
                return holder
            again = Retry(2, interval=[2, 15])
            return self._enqueue("refit", "refit", (project, reason), job_id=job_id, retry=again)

    def request_vectors(self, project: str, control: str, version: str, plan: str, count: int) -> str:
        """Queue the shards of a plan of images to embed and, behind them, a look for new heads. Returns its id."""
        with reachable():
            shards = [
                self._enqueue(
                    "score",
                    "embed_shard",
                    (project, control, version, plan, index),
                    retry=Retry(2, interval=5),
                    job_id=f"{plan}-{index}",
                )
                for index in range(count)
            ]
            return self._enqueue(
                "refit",
                "refit",
                (project, "images were embedded"),
                retry=Retry(2, interval=[2, 15]),
                depends_on=Dependency(jobs=shards, allow_failure=True),
            )

    def request_scores(self, project: str, reason: str, again: bool = False) -> str:
        """Ask for predictions and priorities of what has none in the version to come. Returns the planning job's id.

        again: of what has one, too; whoever asks for that does not share another's job.
        """
        with reachable():
            job_id = uuid.uuid4().hex
            self.ledger.remember(project)
            claims = Debounce(self.redis, "score")
            if again:
                claims.take_over(project, job_id)
            elif (holder := claims.claim(project, job_id, self.to_come)) != job_id:
                return holder
            retry = Retry(2, interval=[5, 30])
            return self._enqueue("score", "score_pool", (project, reason, again), job_id=job_id, retry=retry)

    def request_rest(self, project: str, delay: float = REST_SECONDS) -> str:
        """Ask for the predictions that a new order of a quick head left out. Returns the id of the job that will."""
        with reachable():
            job_id = uuid.uuid4().hex
            holder = Debounce(self.redis, "rest").claim(project, job_id, self.to_come)
            if holder != job_id:
                return holder
            return self._enqueue("push", "finish_order", (project,), job_id=job_id, delay=delay, retry=Retry(2))

    def finish_predictions(self, project: str, task_ids: Sequence[int], version: str) -> list[str]:
        """Ask for predictions of tasks that a request had no time for. Returns the jobs' ids."""
        size = self.settings.score_shard_size
        with reachable():
            return [
                self._enqueue("score", "finish_predictions", (project, list(task_ids[start : start + size]), version))
                for start in range(0, len(task_ids), size)
            ]

    def request_shards(self, project: str, plan: str, count: int) -> str:
        """Queue the shards of a plan and, behind them, the job that pushes what they found. Returns that job's id."""
        with reachable():
            publish_id = uuid.uuid4().hex
            shards = [
                self._enqueue(
                    "score", "score_shard", (project, plan, index), retry=Retry(2, interval=5), job_id=f"{plan}-{index}"
                )
                for index in range(count)
            ]
            return self._enqueue(
                "push",
                "publish",
                (project, plan),
                job_id=publish_id,
                retry=Retry(3, interval=[5, 30, 120]),
                depends_on=Dependency(jobs=shards, allow_failure=True) if shards else None,
            )

    def request_portrait(self, project: str, every: float = 0.0) -> str | None:
        """Ask for what the page shows of a project; people wait for it, so it goes first. Returns the job's id.

        every: seconds within which it is asked for once, whatever came of it: annotators' predictions share its worker.
        """
        with reachable():
            if every and not self.redis.set(f"hemaloop:drawn:{project}", "1", nx=True, px=int(every * 1000)):
                return None
            job_id = uuid.uuid4().hex
            holder = Debounce(self.redis, "portrait").claim(project, job_id, self.to_come)
            if holder != job_id:
                return holder
            return self._enqueue(
                "score", "portray", (project,), job_id=job_id, timeout=600, failure_ttl=DRAWN_SECONDS, at_front=True
            )

    def request_simulation(self, name: str, seed: int, strategy: str, rounds: int) -> str:
        """Ask for one seed and strategy of a simulation, unless somebody has. Returns the job's id."""
        with reachable():
            job_id = f"simulate-{name}-{seed}-{strategy}-{rounds}"
            job = self.fetch(job_id)
            if job is not None and job.get_status() in _TO_COME:
                return job_id
            if job is not None:
                job.delete()
            self.ledger.uncancel(job_id)
            retries = self.settings.train_max_attempts - 1
            return self._enqueue(
                "simulate",
                "simulate",
                (name, seed, strategy, rounds),
                job_id=job_id,
                timeout=self.settings.train_timeout_seconds,
                retry=Retry(retries) if retries else None,
            )

    # -- looking at work

    def waiting(self, name: str) -> int:
        """Jobs in a queue that no worker has begun."""
        with reachable():
            return int(self.queue(name).count)

    def served(self, name: str) -> bool:
        """Whether a worker takes jobs from a queue."""
        with reachable():
            return bool(Worker.count(self.redis, self.queue(name)))

    def job_status(self, job_id: str) -> dict[str, Any]:
        """What is known of a job: id, status, what it is for, progress, result, reason of a failure.

        status is one of rq's ("queued", "started", "finished", "failed", "scheduled"…), "cancelled" or "unknown".
        """
        with reachable():
            job = self.fetch(job_id)
            if job is None:
                return {"id": job_id, "status": "unknown"}
            status = str(job.get_status().value)
            meta: Mapping[str, Any] = job.get_meta()
            found = {
                "id": job_id,
                "status": "cancelled" if status == "canceled" or meta.get("cancelled") else status,
                "kind": str(job.func_name).rpartition(".")[2],
                "progress": dict(meta.get("progress", {})),
                "course": list(meta.get("course", ())),
                "result": job.return_value() if status == "finished" else None,
                "error": meta.get("error") if status != "finished" else None,
                "retries_left": job.retries_left,
            }
            if status == "failed" and not found["error"]:
                result = job.latest_result()
                found["error"] = (result.exc_string or "").strip().rpartition("\n")[2] if result else None
            return found

    def to_come(self, job_id: str) -> bool:
        """Whether a job of that id is queued, scheduled or at work."""
        job = self.fetch(job_id)
        return job is not None and job.get_status() in _TO_COME

    def cancel(self, job_id: str) -> bool:
        """Stop a job: at once where it waits, at its next step where it works. False where it is over or unknown."""
        with reachable():
            job = self.fetch(job_id)
            if job is None or job.get_status() not in _TO_COME:
                return False
            self.ledger.cancel(job_id)
            # A job that others wait for is ended by its worker: rq lets none go on after one that was cancelled.
            if job.get_status() != JobStatus.STARTED and not job.dependent_ids:
                with contextlib.suppress(InvalidJobOperation):
                    job.cancel()
                for kind, function in CLAIMS.items():
                    claims = Debounce(self.redis, kind)
                    if str(job.func_name).endswith(f".{function}") and claims.holder(job.args[0]) == job_id:
                        claims.give_up(job.args[0])
            return True

    def running(self, project: str) -> list[dict[str, Any]]:
        """Jobs of a project that wait or work, as `job_status` shows them, those that were asked for first first.

        rq's own lists miss a job on its way from one to the next; its status does not.
        """
        with reachable():
            while ids := self.ledger.jobs(project):
                ended = [job_id for job_id in ids if not self.to_come(job_id)]
                self.ledger.drop_jobs(project, ended)
                if len(ended) < len(ids):
                    return [self.job_status(job_id) for job_id in ids if job_id not in ended]
                # The last of them may have asked for another before it was over: look again.
            return []

    def pause(self, project: str) -> None:
        """Start no training of the project until `resume`; one at work goes on."""
        with reachable():
            self.ledger.remember(project)
            self.ledger.pause(project)

    def resume(self, project: str) -> None:
        """Let the project's trainings start again; what came meanwhile is looked at now."""
        with reachable():
            self.ledger.resume(project)
        self.request_training(project, "resumed")

    def remember(self, project: str) -> None:
        """Let the reconciliation look at a project that Label Studio spoke of."""
        with reachable():
            self.ledger.remember(project)

    def leave(self, project: str) -> None:
        """Let the reconciliation look at a project no longer: this backend does not serve it any more."""
        with reachable():
            self.ledger.forget(project)

    def forget(self, project: str) -> None:
        """Keep nothing of a project that is gone."""
        with reachable():
            self.ledger.erase(project)
            for kind in CLAIMS:
                Debounce(self.redis, kind).give_up(project)

    def mark_predicting(self, seconds: float = 2.0) -> None:
        """Say that annotators wait for predictions, so that a training keeps to one thread for that long."""
        with reachable():
            self.ledger.mark_predicting(seconds)

    # -- inside

    def fetch(self, job_id: str) -> Job | None:
        if not _JOB_ID.fullmatch(job_id):
            return None  # rq gives no job such an id, and raises where it is asked for one
        try:
            return Job.fetch(job_id, connection=self.redis, serializer=JSONSerializer)
        except NoSuchJobError:
            return None

    def _enqueue(
        self,
        queue: str,
        function: str,
        args: tuple[Any, ...],
        *,
        delay: float = 0.0,
        timeout: int = SCORE_SECONDS,
        **fields: Any,
    ) -> str:
        fields = {
            "args": args,
            "job_timeout": timeout,
            "result_ttl": KEEP_SECONDS,
            "failure_ttl": KEEP_SECONDS,
            "job_id": uuid.uuid4().hex,
            **fields,
        }
        target = self.queue(queue)
        name = f"hemaloop.jobs.{function}"
        if delay > 0:
            job = target.enqueue_in(timedelta(seconds=delay), name, **fields)
        else:
            job = target.enqueue(name, **fields)
        # Whoever asks for a job is at work itself until here, so that a project is never idle in between.
        self.ledger.keep_job(args[0], job.id, KEEP_SECONDS)
        return str(job.id)


@contextlib.contextmanager
def reachable() -> Iterator[None]:
    """Redis's own errors as one `QueueError`, without the address, which holds the password."""
    try:
        yield
    except redis.RedisError as error:
        raise QueueError(
            f"Redis: cannot be used ({type(error).__name__}); is it running, and REDIS_URL right?"
        ) from error
