"""What worker processes count, kept in Redis: their jobs live for seconds, and on other machines than is asked.

Prometheus' own way for many processes, files in a folder, knows one machine and keeps a file of every process that ever
was, of which there is one a job here. So a job adds to one hash, and each `hemaloop serve` tells it (`web.measures`).
Losing Redis sets the counters back to 0, which whoever reads counters expects.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis

log = logging.getLogger(__name__)

KEY = "hemaloop:metrics"


@dataclass(frozen=True, slots=True)
class Kind:
    """A counter of workers: what it counts, and the names of its labels."""

    words: str
    labels: tuple[str, ...] = ()


COUNTERS: Mapping[str, Kind] = {
    "jobs": Kind("jobs that ended in workers", ("kind", "outcome")),
    "job_seconds": Kind("time that jobs took", ("kind",)),
    "trainings": Kind("looks at whether a training is due, by what came of them", ("family", "outcome")),
    "training_seconds": Kind("time that fits took", ("family",)),
    "scored_tasks": Kind("tasks scored in workers", ("family", "outcome")),
    "score_stage_seconds": Kind("time that scoring in workers took", ("family", "stage")),
    "pushes": Kind("plans pushed into Label Studio", ("outcome",)),
    "pushed_predictions": Kind("predictions pushed into Label Studio"),
    "worker_image_cache": Kind("images that workers asked the cache for", ("result",)),
}
"""By name, without `hemaloop_` before and `_total` behind."""


def count(connection: redis.Redis, name: str, value: float = 1.0, **labels: str) -> None:
    """Add to a counter. A Redis that is gone loses the count and nothing else."""
    field = json.dumps([name, *(str(labels[label]) for label in COUNTERS[name].labels)])
    try:
        connection.hincrbyfloat(KEY, field, value)
    except redis.RedisError as error:
        log.debug("metric %s was not counted: %s", name, type(error).__name__)


def counted(connection: redis.Redis) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Name, values of labels, and value of every counter; what is none of ours is left out. Raises `RedisError`."""
    found: Any = connection.hgetall(KEY)
    for field, value in sorted(found.items()):
        try:
            name, *labels = json.loads(field)
            number = float(value)
        except (ValueError, TypeError):
            continue
        kind = COUNTERS.get(str(name))
        if kind is not None and len(labels) == len(kind.labels):
            yield str(name), tuple(map(str, labels)), number
