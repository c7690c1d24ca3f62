"""The pool scored by the model to come, in shards that several workers share.

A plan names a version and the tasks that lack a prediction of it. Where the version is not published yet, `publication`
pushes everything and then switches to it; where it is, the new tasks' predictions are added.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hemaloop import metrics
from hemaloop.cold_start import looks
from hemaloop.dataset import split_of
from hemaloop.debounce import Debounce
from hemaloop.labelconfig import LabelConfig, parse_label_config
from hemaloop.marked import marks_of
from hemaloop.pool import Waiting, having, labelled, lacking
from hemaloop.projects import LiveModel, live_model
from hemaloop.quarantine import withdraw_damaged
from hemaloop.quick.vectors import Vector, Vectors
from hemaloop.ranking import packed
from hemaloop.scoring import Scorer, TaskRef, TaskScore
from hemaloop.scratch import get, put
from hemaloop.store import ArtifactStore, Published
from hemaloop.targets import publication_of, target
from hemaloop.workplace import Workplace, project_id

log = logging.getLogger(__name__)

BATCH = 8
"""Tasks scored between two looks at whether somebody cancelled."""
FIRST = 64
"""Tasks, evenly spaced, that are scored and published before all others where nothing was published yet: whoever
begins to label has their predictions and their order within a minute, however many tasks there are."""
_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """A version, the parts it is made of, and how many shards its tasks fill.

    again: its predictions take the place of those that the version has.
    """

    id: str
    version: str
    parts: Mapping[str, str]
    shards: int
    reason: str
    again: bool = False

    @property
    def published(self) -> Published:
        """The publication that this plan leads to."""
        return Published(self.version, self.parts, reason=self.reason)


def plan_scores(place: Workplace, project: str, reason: str, again: bool = False) -> dict[str, Any]:
    """Queue the scoring of every task that lacks a prediction of the version to come, and its publication.

    again: of those that have one, too.
    """
    Debounce(place.queues.redis, "score").give_up(project)
    info = place.studio.project(project_id(project))
    config = parse_label_config(info.label_config)
    withdraw_damaged(place.store, project, config)
    model = target(place.store, project, config)
    published = place.store.published(project)
    in_force = published is not None and published.version == model.version
    in_force = in_force and place.studio.backend_title(info.id) in (model.version, None)
    running = place.queues.ledger.plan(project)
    at_work = running is not None and running["version"] == model.version and place.queues.to_come(running["job"])
    if running is not None and at_work and not again:
        # What came after that plan was made is looked at when it is pushed.
        return {"outcome": "running", "plan": running["plan"], "job": running["job"]}
    waiting = lacking(place.studio, info.id, config, model.version)
    if again:
        waiting += having(place.studio, info.id, config, model.version)
    if in_force and not waiting:
        return {"outcome": "nothing", "why": f"every task that waits has a prediction of {model.version}"}
    if model.blank or config.spreads:
        there = {task.id for task in waiting}
        others = labelled(place.studio, info.id, config, model.version) if waiting else []
        waiting += [task for task in others if task.id not in there]
    elif published is None and len(waiting) > FIRST:
        waiting = [waiting[step * len(waiting) // FIRST] for step in range(FIRST)]
    return _queue(place, project, model, waiting, reason, again)


def _queue(
    place: Workplace, project: str, model: LiveModel, waiting: Sequence[Waiting], reason: str, again: bool
) -> dict[str, Any]:
    size = place.settings.score_shard_size
    shards = [waiting[start : start + size] for start in range(0, len(waiting), size)]
    publication = publication_of(model, reason)
    plan = Plan(uuid.uuid4().hex, publication.version, publication.parts, len(shards), reason, again)
    for index, shard in enumerate(shards):
        put(place.store, project, f"{plan.id}/tasks-{index}", [task.to_json() for task in shard])
    put(place.store, project, f"{plan.id}/plan", {**_as_json(plan)})
    job = place.queues.request_shards(project, plan.id, len(shards))
    place.queues.ledger.keep_plan(project, {"plan": plan.id, "version": plan.version, "job": job})
    log.info(
        "project %s: %d tasks to score in %d shards under %s (%s)",
        project,
        len(waiting),
        len(shards),
        plan.version,
        reason,
    )
    return {"outcome": "queued", "plan": plan.id, "version": plan.version, "tasks": len(waiting), "job": job}


def score_shard(place: Workplace, project: str, plan_id: str, index: int) -> dict[str, Any]:
    """Score one shard and keep what came of it for `publication.push_plan`."""
    plan = read_plan(place.store, project, plan_id)
    tasks = [Waiting(**task) for task in get(place.store, project, f"{plan_id}/tasks-{index}")]
    config = parse_label_config(place.studio.project(project_id(project)).label_config)
    model = live_model(project, config, place.store, plan.published)
    scores = score(place, project, config, model, tasks)
    put(place.store, project, f"{plan_id}/scores-{index}", scores)
    faults = [str(one["error"]) for one in scores if one["error"]]
    for fault in faults[:_FAULTS]:
        log.warning("project %s: no prediction: %s", project, fault)
    return {"scored": len(scores) - len(faults), "faults": faults[:_FAULTS]}


def score(
    place: Workplace, project: str, config: LabelConfig, model: LiveModel, tasks: Sequence[Waiting]
) -> list[dict[str, Any]]:
    """Each task's prediction as JSON, with its relevance, its features where they are asked for, and whether its image
    is one of the gate's. Where nothing was trained yet, what the picture itself looks like takes the model's place.
    """

    def known(of: str, control: str, representation: str) -> Mapping[str, Vector]:
        return Vectors(place.store, of, control, representation).by_uri()

    scorer = Scorer(place.settings, auth=place.studio.auth_headers, vectors=known)
    found: list[dict[str, Any]] = []
    stages: Counter[str] = Counter()
    for start in range(0, len(tasks), BATCH):
        batch = tasks[start : start + BATCH]
        refs = [TaskRef(task.id, task.data) for task in batch]
        scored = (
            looks(place.images, project, config, model.version, refs)
            if model.blank
            else scorer.score(project, config, model, refs)
        )
        for one in scored:
            stages.update(one.seconds)
        found += [
            entry(place, task, one)
            for task, one in zip(batch, scored, strict=True)
            if not (task.labelled and one.error)  # it has its prediction; that it keeps no other away is no fault
        ]
        place.progress.report(start + len(batch), len(tasks), f"scoring under {model.version}")
    _count(place, config, found, stages, scorer.images.taken())
    return found


def _count(
    place: Workplace,
    config: LabelConfig,
    scored: Sequence[Mapping[str, Any]],
    stages: Mapping[str, float],
    cache: Mapping[str, int],
) -> None:
    family = "+".join(control.binding.family for control in config.bound if control.binding is not None)
    failed = sum(1 for one in scored if one["error"])
    for outcome, number in (("scored", len(scored) - failed), ("failed", failed)):
        metrics.count(place.queues.redis, "scored_tasks", number, family=family, outcome=outcome)
    for stage, seconds in stages.items():
        metrics.count(place.queues.redis, "score_stage_seconds", seconds, family=family, stage=stage)
    for result, number in cache.items():
        metrics.count(place.queues.redis, "worker_image_cache", number, result=result)


def entry(place: Workplace, task: Waiting, scored: TaskScore) -> dict[str, Any]:
    shares = {"gate": place.settings.gate_fraction, "tune": place.settings.tune_fraction}
    gate = scored.key is not None and split_of(scored.key, task.group, **shares) == "gate"
    return {
        "task": task.id,
        "result": scored.result,
        "score": scored.score,
        "relevance": scored.relevance,
        "key": scored.key,
        "gate": gate,
        "error": scored.error,
        "features": packed(scored.features),
        "marks": None if scored.result is None else marks_of(scored.result),
        "labelled": task.labelled,
    }


def read_plan(store: ArtifactStore, project: str, plan_id: str) -> Plan:
    """A plan that was kept. Raises `StoreError` where it is gone."""
    return Plan(**get(store, project, f"{plan_id}/plan"))


def _as_json(plan: Plan) -> dict[str, Any]:
    return {
        "id": plan.id,
        "version": plan.version,
        "parts": dict(plan.parts),
        "shards": plan.shards,
        "reason": plan.reason,
        "again": plan.again,
    }
