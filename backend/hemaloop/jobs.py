"""What a worker may run. Everything else that stands in a queue is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

Outcome = dict[str, Any]

# The bodies import what they need: a worker looks names up here for every job, and only a job's own process trains.


def train(project: str, reason: str) -> Outcome:
    """Look whether a training is due, and train."""
    from hemaloop import training
    from hemaloop.workplace import workplace

    with workplace(trains=True) as place:
        return training.train_project(place, project, reason)


def score_pool(project: str, reason: str, again: bool = False) -> Outcome:
    """Plan predictions for the tasks that lack one, in shards; again: for those that have one, too."""
    from hemaloop import priorities
    from hemaloop.workplace import workplace

    with workplace() as place:
        return priorities.plan_scores(place, project, reason, again)


def score_shard(project: str, plan: str, index: int) -> Outcome:
    """Score one shard of a plan."""
    from hemaloop import priorities
    from hemaloop.workplace import workplace

    with workplace() as place:
        return priorities.score_shard(place, project, plan, index)


def publish(project: str, plan: str) -> Outcome:
    """Push what the shards of a plan found, and publish its version."""
    from hemaloop import publication
    from hemaloop.workplace import workplace

    with workplace() as place:
        return publication.push_plan(place, project, plan)


def finish_predictions(project: str, task_ids: Sequence[int], version: str) -> Outcome:
    """Predict tasks that a request had no time for."""
    from hemaloop import publication
    from hemaloop.workplace import workplace

    with workplace() as place:
        return publication.finish_predictions(place, project, task_ids, version)


def portray(project: str) -> Outcome:
    """Make what the page shows of a project."""
    from hemaloop import portraying
    from hemaloop.workplace import workplace

    with workplace() as place:
        return portraying.portray(place, project)


def refit(project: str, reason: str) -> Outcome:
    """Look whether quick heads are due, learn them, and put the pool in its new order."""
    from hemaloop.quick.refitting import refit_project
    from hemaloop.workplace import workplace

    with workplace() as place:
        return refit_project(place, project, reason)


def finish_order(project: str) -> Outcome:
    """Push what the last order of a quick head left out."""
    from hemaloop.quick import reordering
    from hemaloop.workplace import workplace

    with workplace() as place:
        return reordering.finish(place, project)


def embed_shard(project: str, control: str, version: str, plan: str, index: int) -> Outcome:
    """Embed one shard of a project's images."""
    from hemaloop.quick import learning
    from hemaloop.workplace import workplace

    with workplace() as place:
        return learning.embed_shard(place, project, control, version, plan, index)


def simulate(name: str, seed: int, strategy: str, rounds: int) -> Outcome:
    """Do one seed and strategy of a simulation."""
    from hemaloop.simulation.queued import work_in_job

    return work_in_job(name, seed, strategy, rounds)


ALLOWED: Mapping[str, Callable[..., Outcome]] = MappingProxyType(
    {
        f"{function.__module__}.{function.__qualname__}": function
        for function in (
            *(train, score_pool, score_shard, publish, finish_predictions),
            *(portray, refit, finish_order, embed_shard, simulate),
        )
    }
)
NAMES = frozenset(ALLOWED)
