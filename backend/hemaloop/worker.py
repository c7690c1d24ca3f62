"""A worker that runs hemaloop's own jobs and nothing else, each in a process of its own.

rq imports whatever function name a job holds, so whoever can write to Redis could run anything as the worker's user.
Here a job is refused unless its function is in `hemaloop.jobs.ALLOWED`; callbacks and webhooks are never followed.
The process of a job is a new one, not a fork, which torch and threads survive badly; what it needs to know reaches it
by a pipe and its environment, not on the command line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import redis
from rq import Queue
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.worker import Worker

from hemaloop import logs, metrics
from hemaloop.config import load_settings
from hemaloop.errors import Cancelled, HemaloopError, LabelStudioError, QueueError
from hemaloop.ledger import Ledger
from hemaloop.lifetime import owned
from hemaloop.progress import Interrupted, interrupt
from hemaloop.queues import connect
from hemaloop.redis_server import redis_url

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5
QUICK = "refit"
"""The queue whose jobs should take seconds, so that their processes are made ready before they are needed."""
STOP_SECONDS = 10.0
"""Time that a job has to clean up when its worker is stopped."""


class HemaloopJob(Job):
    """A job whose function comes from the list of allowed ones, and which calls nobody back."""

    @property
    def func(self) -> Callable[..., Any]:
        """Raises `QueueError` that names what is refused."""
        fault = refusal(self)
        if fault is not None:
            raise QueueError(fault)
        from hemaloop.jobs import ALLOWED  # imports what trains; only the process of a job gets here

        return ALLOWED[str(self.func_name)]

    def execute_success_callback(self, *args: Any, **kwargs: Any) -> None:
        """Never followed."""

    def execute_failure_callback(self, *args: Any, **kwargs: Any) -> None:
        """Never followed."""

    def execute_stopped_callback(self, *args: Any, **kwargs: Any) -> None:
        """Never followed."""

    def send_webhooks(self, *args: Any, **kwargs: Any) -> None:
        """Never sent."""


class HemaloopQueue(Queue):
    """A queue of `HemaloopJob`s."""

    job_class = HemaloopJob


def _horse(*arguments: str) -> subprocess.Popen[bytes]:
    """A process that waits for the order of one job; it ends with this one."""
    command = owned([sys.executable, "-m", "hemaloop.workhorse", *arguments], signal.SIGKILL)
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - our own module


def refusal(job: Job) -> str | None:
    """Why a job is not run, or None where it may."""
    from hemaloop.jobs import NAMES

    try:
        name, instance = job.func_name, job.instance
    except DeserializationError:
        return f"job {job.id}: refused, its content is not JSON"
    if name not in NAMES or instance is not None:
        return f"job {job.id}: refused, found function {str(name)[:80]!r}, expected one of {', '.join(sorted(NAMES))}"
    if job._success_callback_name or job._failure_callback_name or job._stopped_callback_name or job.webhooks:
        return f"job {job.id}: refused, found a callback or webhook, expected none"
    return None


class HemaloopWorker(Worker):
    """rq's worker with the list of allowed jobs and its own work-horse."""

    job_class = HemaloopJob
    queue_class = HemaloopQueue
    _spare: subprocess.Popen[bytes] | None = None

    # -- in the worker

    def perform_job(self, job: Job, queue: Queue) -> bool:
        """In the job's own process: what came of it, and how long it took, is counted."""
        began = time.monotonic()
        kind = str(job.func_name).rpartition(".")[2]
        with logs.about(logs.job_id, job.id):
            done = bool(super().perform_job(job, queue))
        outcome = "finished" if done else "cancelled" if job.meta.get("cancelled") else "failed"
        metrics.count(self.connection, "jobs", kind=kind, outcome=outcome)
        metrics.count(self.connection, "job_seconds", time.monotonic() - began, kind=kind)
        return done

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Start the job's process and watch it, or refuse the job."""
        fault = refusal(job)
        if fault is None:
            super().execute_job(job, queue)
            return
        log.error("%s", fault)
        self.prepare_execution(job)
        job.retries_left = 0
        job.meta = {"error": fault}
        job.save_meta()  # type: ignore[no-untyped-call]
        self.handle_job_failure(job, queue, exc_string=fault)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """A new process that reads what it is to do from its standard input."""
        if self.execution is None:
            raise QueueError(f"job {job.id}: no execution was prepared")
        order = {
            "redis_url": redis_url(load_settings()),
            "worker": self.key,
            "job": job.id,
            "queue": queue.name,
            "execution": self.execution.id,
        }
        horse, self._spare = self._spare or _horse(), None
        if horse.poll() is not None:
            horse = _horse()
        self._horse = horse  # kept, so that only `wait_for_horse` reaps it
        self._horse_pid = horse.pid
        if horse.stdin is not None:
            try:
                horse.stdin.write(json.dumps(order).encode())
                horse.stdin.close()
            except BrokenPipeError:
                log.warning("job %s: its process ended before it read its order", job.id)
        self.make_ready()

    def make_ready(self) -> None:
        """Start the process of the next job where jobs should take seconds; it holds its memory while it waits.

        It imports what it needs while the job before is at work. Where no project has a quick head yet, none is kept:
        the job that learns the first one makes the next ready.
        """
        if self._spare is None and self.queue_names() == [QUICK]:
            with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
                if Ledger(self.connection).any_quick():
                    self._spare = _horse("--ready")

    def teardown(self) -> None:
        """The process that was made ready is not needed any more."""
        if self._spare is not None:
            self._spare.kill()
            self._spare.wait()
        super().teardown()  # type: ignore[no-untyped-call]

    def maintain_heartbeats(self, job: Job) -> None:
        """A Redis that is gone for a moment ends no job."""
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            super().maintain_heartbeats(job)

    def set_current_job_working_time(self, current_job_working_time: float, pipeline: Any = None) -> None:
        """As above: this is written with every heartbeat."""
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            super().set_current_job_working_time(current_job_working_time, pipeline)

    def handle_warm_shutdown_request(self) -> None:
        """Ask the job to clean up and end, and end it where it does not."""
        if self.horse_pid:
            self.kill_horse(signal.SIGTERM)
            timer = threading.Timer(STOP_SECONDS, self._kill_late_horse, (self.horse_pid,))
            timer.daemon = True
            timer.start()

    def _kill_late_horse(self, pid: int) -> None:
        if self.horse_pid == pid:
            self.kill_horse(signal.SIGKILL)

    def handle_work_horse_killed(self, job: Job, retpid: Any, ret_val: Any, rusage: Any) -> None:  # noqa: ARG002
        """Keep the reason where people look for it."""
        if ret_val is not None and os.WIFSIGNALED(ret_val):
            name = signal.Signals(os.WTERMSIG(ret_val)).name
            why = f"its process was ended by {name}" + (", for example for want of memory" if name == "SIGKILL" else "")
        else:
            why = f"its process ended with status {os.waitstatus_to_exitcode(ret_val) if ret_val is not None else '?'}"
        _keep_error(job, why)
        metrics.count(self.connection, "jobs", kind=str(job.func_name).rpartition(".")[2], outcome="killed")

    # -- in the process of a job

    def setup_work_horse_signals(self) -> None:
        """Ctrl-C is the worker's to handle; SIGTERM ends the job with its clean-up."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, interrupt)

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Decide about a retry, and keep the reason where people look for it."""
        error = exc_info[1]
        if isinstance(error, Interrupted):
            job.retries_left = (job.retries_left or 0) + 1  # being stopped is no failure of the job
            job.retry_intervals = None
            log.info("job %s: %s, it starts again later", job.id, error)
            return
        if isinstance(error, Cancelled):
            job.retries_left = 0
            job.meta["cancelled"] = True
        if isinstance(error, LabelStudioError):
            Ledger(self.connection).note_trouble()
        _keep_error(job, f"{error}" if isinstance(error, HemaloopError) else f"{type(error).__name__}: {error}")
        if isinstance(error, HemaloopError):
            log.error("job %s: %s", job.id, error)
        else:
            log.error("job %s: %s", job.id, error, exc_info=exc_info)


def _keep_error(job: Job, why: str) -> None:
    job.meta["error"] = why[:2000]
    job.save_meta()  # type: ignore[no-untyped-call]


def machine() -> str:
    """Short name of this machine and its process numbers: two containers are two machines, a reboot makes another."""
    parts = [socket.gethostname(), str(psutil.boot_time())]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        if os.path.lexists(path):
            parts.append(str(Path(path).readlink()) if Path(path).is_symlink() else Path(path).read_text().strip())
            parts[1] = ""  # more exact than a time that the clock shifts
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10]


def build_worker(queues: Sequence[str], connection: redis.Redis) -> HemaloopWorker:
    """A worker of these queues, the first before the others. Its name says where its process is."""
    return HemaloopWorker(
        list(queues),
        name=f"{machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
        connection=connection,
        serializer=JSONSerializer,
        job_monitoring_interval=HEARTBEAT_SECONDS,
        maintenance_interval=60,
    )


def release_abandoned(connection: redis.Redis, queues: Sequence[str]) -> list[str]:
    """Let jobs whose worker is gone be tried again, or fail where no try is left. Returns their ids.

    A worker of this machine is gone when its process is; another one when its heartbeats stop.
    """
    found = []
    for name in queues:
        queue = HemaloopQueue(name, connection=connection, serializer=JSONSerializer)
        registry = StartedJobRegistry(name, connection, job_class=HemaloopJob, serializer=JSONSerializer)
        for job_id, execution_id in registry.get_job_and_execution_ids(cleanup=False):
            owner = connection.hget(f"rq:execution:{job_id}:{execution_id}", "worker_name")
            if isinstance(owner, bytes) and gone(owner.decode(), connection):
                connection.zadd(registry.key, {f"{job_id}:{execution_id}": 1}, xx=True)
                found.append(job_id)
        _tell_abandoned(registry, queue)
        registry.cleanup()
    return found


def _tell_abandoned(registry: StartedJobRegistry, queue: Queue) -> None:
    for job_id in registry.get_expired_job_ids():
        job = queue.fetch_job(job_id)
        if job is not None:
            log.warning("job %s: its worker is gone", job_id)
            _keep_error(job, "its worker was killed or lost")


def gone(worker: str, connection: redis.Redis) -> bool:
    """Whether a worker's process is: by its number on this machine, by its heartbeats elsewhere."""
    where, _, rest = worker.partition("-")
    pid = rest.partition("-")[0]
    if where == machine() and pid.isdigit():
        return not psutil.pid_exists(int(pid))
    return not connection.exists(Worker.redis_worker_namespace_prefix + worker)


def main(arguments: Sequence[str]) -> None:
    """``python -m hemaloop.worker train``: one worker process, until SIGTERM."""
    settings = load_settings()
    logs.prepare(settings)
    worker = build_worker(arguments, connect(redis_url(settings), patient=True))
    worker.make_ready()
    worker.work(logging_level=None)


if __name__ == "__main__":
    main(sys.argv[1:])
