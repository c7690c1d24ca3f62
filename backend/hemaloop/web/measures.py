"""`GET /metrics` for Prometheus: what this process measures itself, and what is in Redis when somebody asks.

Every `hemaloop serve` tells its own requests and predictions; queues, workers and their counters are the same wherever
they are asked for, so a laboratory with several of them takes the largest, not the sum.
"""

from __future__ import annotations

from collections.abc import Iterator

import flask
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from hemaloop import metrics, queue_view
from hemaloop.errors import HemaloopError
from hemaloop.inference.wire import Reply
from hemaloop.labelconfig import LabelConfig
from hemaloop.live import LiveModels
from hemaloop.queues import Queues, reachable

blueprint = flask.Blueprint("metrics", __name__)

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


class Measures:
    """Counters of one process. Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Histogram(
            "hemaloop_http_seconds",
            "requests by route",
            ("route", "method", "status"),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._stages = Histogram(
            "hemaloop_predict_stage_seconds",
            "a task's share of each stage: image (fetched, decoded), model, result (written, checked)",
            ("family", "stage"),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._waits = Histogram(
            "hemaloop_predict_seconds",
            "requests for predictions from their arrival to their answer",
            ("family",),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._tasks = Counter(
            "hemaloop_predict_tasks", "tasks asked for by outcome", ("family", "outcome"), registry=self.registry
        )
        self._cache = Counter(
            "hemaloop_image_cache", "images that predictions asked the cache for", ("result",), registry=self.registry
        )

    def watch(self, queues: Queues, live: LiveModels) -> None:
        """Tell the state of these, too, whenever somebody asks."""
        self.registry.register(_Now(queues, live))

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(route, method, str(status)).observe(seconds)

    def predicted(self, config: LabelConfig, seconds: float, outcomes: dict[str, int]) -> None:
        """A request for predictions was answered. outcomes: how many tasks were "predicted", "failed" or "late"."""
        family = family_of(config)
        self._waits.labels(family).observe(seconds)
        for outcome, number in outcomes.items():
            self._tasks.labels(family, outcome).inc(number)

    def replied(self, config: LabelConfig, reply: Reply) -> None:
        """An inference process has answered."""
        family = family_of(config)
        for answer in reply.answers:
            for stage, seconds in answer.seconds.items():
                self._stages.labels(family, stage).observe(seconds)
        for result, number in reply.cache.items():
            self._cache.labels(result).inc(number)


def family_of(config: LabelConfig) -> str:
    """The families that a config binds, as one label."""
    return "+".join(control.binding.family for control in config.bound if control.binding is not None)


class _Now(Collector):
    """Gauges and workers' counters, read when they are asked for."""

    def __init__(self, queues: Queues, live: LiveModels) -> None:
        self._queues, self._live = queues, live

    def describe(self) -> list[Metric]:
        """Nothing in advance, so that registering asks nobody."""
        return []

    def collect(self) -> Iterator[Metric]:
        """What Redis knows, and `hemaloop_redis_up` 0 where it is gone."""
        up = GaugeMetricFamily("hemaloop_redis_up", "whether Redis answers")
        try:
            yield from self._of_redis()
        except HemaloopError:
            up.add_metric((), 0)
        else:
            up.add_metric((), 1)
        yield up
        versions = GaugeMetricFamily("hemaloop_model", "1 for the version that is live", labels=("project", "version"))
        for project, version in self._live.current():
            versions.add_metric((project, version), 1)
        yield versions

    def _of_redis(self) -> Iterator[Metric]:
        states = queue_view.states(self._queues)
        with reachable():
            counted = list(metrics.counted(self._queues.redis))
        jobs = GaugeMetricFamily("hemaloop_queue_jobs", "jobs in each queue", labels=("queue", "state"))
        oldest = GaugeMetricFamily(
            "hemaloop_queue_oldest_seconds", "how long the first job has waited", labels=("queue",)
        )
        workers = GaugeMetricFamily("hemaloop_queue_workers", "processes that serve a queue", labels=("queue",))
        for one in states:
            for state in ("waiting", "delayed", "running", "failed"):
                jobs.add_metric((one.name, state), getattr(one, state))
            oldest.add_metric((one.name,), one.oldest)
            workers.add_metric((one.name,), one.workers)
        yield from (jobs, oldest, workers)
        for name, kind in metrics.COUNTERS.items():
            family = CounterMetricFamily(f"hemaloop_{name}", kind.words, labels=kind.labels)
            for counter, labels, value in counted:
                if counter == name:
                    family.add_metric(labels, value)
            yield family


@blueprint.get("/metrics")
def show() -> flask.Response:
    """Everything, in Prometheus' text format."""
    from hemaloop.web.services import current

    return flask.Response(generate_latest(current().measures.registry), content_type=CONTENT_TYPE_LATEST)
