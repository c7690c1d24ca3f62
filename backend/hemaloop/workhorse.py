"""The process of one job: ``python -m hemaloop.workhorse`` reads its order as JSON from standard input."""

from __future__ import annotations

import json
import os
import sys

from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.serializers import JSONSerializer

from hemaloop.config import load_settings
from hemaloop.errors import QueueError
from hemaloop.queues import connect
from hemaloop.worker import HemaloopJob, HemaloopQueue, HemaloopWorker, prepare_logging


def main() -> None:
    """Run the ordered job and end the process."""
    order = json.loads(sys.stdin.read())
    settings = load_settings()
    prepare_logging(settings)
    connection = connect(order["redis_url"], patient=True)
    worker = HemaloopWorker.find_by_key(order["worker"], connection=connection, serializer=JSONSerializer)
    if not isinstance(worker, HemaloopWorker):
        raise QueueError(f"worker {order['worker']!r} is gone; its job {order['job']} starts again later")
    try:
        job = HemaloopJob.fetch(order["job"], connection=connection, serializer=JSONSerializer)
    except NoSuchJobError:
        raise QueueError(f"job {order['job']} was deleted before it began") from None
    worker.execution = Execution.fetch(order["execution"], job.id, connection=connection)
    if order["queue"] == "train":
        os.nice(settings.train_niceness)
    queue = HemaloopQueue(order["queue"], connection=connection, serializer=JSONSerializer)
    worker.main_work_horse(job, queue)


if __name__ == "__main__":
    main()
