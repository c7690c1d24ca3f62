"""The process of one job: ``python -m hemaloop.workhorse`` reads its order as JSON from standard input."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from pathlib import Path

from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.serializers import JSONSerializer

from hemaloop import logs
from hemaloop.config import load_settings
from hemaloop.errors import QueueError
from hemaloop.memory import give_back_memory
from hemaloop.queues import connect
from hemaloop.worker import HemaloopJob, HemaloopQueue, HemaloopWorker

log = logging.getLogger(__name__)


def give_way(niceness: int) -> None:
    """Let annotators' processes go first.

    Linux groups processes by session and shares the cores among groups first, so that niceness alone would count only
    among the threads of this process; the group needs it too.
    """
    os.nice(niceness)
    group = Path("/proc/self/autogroup")
    if group.exists():
        with contextlib.suppress(OSError):  # not every container may
            group.write_text(str(niceness))


def make_ready() -> None:
    """Import what a quick head needs, while nobody waits."""
    import torch
    import torch._dynamo  # left out elsewhere (`networks.compiler`); the head's optimizer asks for it, for two seconds

    from hemaloop.quick import refitting

    torch.set_num_threads(1)
    give_back_memory()
    log.debug("ready for %s", refitting.__name__)


def main() -> None:
    """Run the ordered job and end the process."""
    if "--ready" in sys.argv[1:]:
        make_ready()
    text = sys.stdin.read()
    if not text:
        return  # the worker ended before it had a job
    order = json.loads(text)
    settings = load_settings()
    logs.prepare(settings)
    connection = connect(order["redis_url"], patient=True)
    worker = HemaloopWorker.find_by_key(order["worker"], connection=connection, serializer=JSONSerializer)
    if not isinstance(worker, HemaloopWorker):
        raise QueueError(f"worker {order['worker']!r} is gone; its job {order['job']} starts again later")
    try:
        job = HemaloopJob.fetch(order["job"], connection=connection, serializer=JSONSerializer)
    except NoSuchJobError:
        raise QueueError(f"job {order['job']} was deleted before it began") from None
    worker.execution = Execution.fetch(order["execution"], job.id, connection=connection)
    if order["queue"] in ("train", "simulate"):
        give_way(settings.train_niceness)
    queue = HemaloopQueue(order["queue"], connection=connection, serializer=JSONSerializer)
    worker.main_work_horse(job, queue)


if __name__ == "__main__":
    main()
