"""Predictions and priorities into Label Studio, and the switch to a new version; the queue is never in disorder.

The order of the steps was measured: all predictions go in under the new version while the project still names the old
one, so the queue keeps its old order; then the backend is renamed to the new version and the project follows, and
the queue is in the new order at once; then superseded predictions go, which clears the project's choice, so it is set
again.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hemaloop import metrics
from hemaloop.client import ProjectInfo
from hemaloop.debounce import WorkLock
from hemaloop.errors import InferenceError, StoreError
from hemaloop.labelconfig import LabelConfig, parse_label_config
from hemaloop.marked import keep_marks
from hemaloop.pool import lacking, listed
from hemaloop.priorities import Plan, read_plan, score
from hemaloop.projects import LiveModel, live_model
from hemaloop.ranking import HEAD, Order, order_of, rank
from hemaloop.scratch import get, put
from hemaloop.store import ArtifactStore
from hemaloop.targets import made_here, target
from hemaloop.workplace import Workplace, project_id

log = logging.getLogger(__name__)

UNCERTAINTY = "Uncertainty sampling"
LOCK_WAIT_SECONDS = 300.0
_TOLERANCE = 1e-6


def push_plan(place: Workplace, project: str, plan_id: str) -> dict[str, Any]:
    """Push what a plan's shards found, and publish its version where it is not in force yet.

    Repeating it does no harm: a task that has its prediction gets no second one.
    """
    plan = read_plan(place.store, project, plan_id)
    info = place.studio.project(project_id(project))
    config = parse_label_config(info.label_config)
    model = target(place.store, project, config)
    if model.version != plan.version:
        place.store.drop_scratch(project, plan_id)
        place.queues.request_scores(project, "another version was promoted meanwhile")
        return {"outcome": "superseded", "by": model.version}
    with WorkLock(place.queues.redis, f"push:{project}", wait=LOCK_WAIT_SECONDS) as lock:
        scored = _gather(place.store, project, plan)
        if plan.again:
            _withdraw(place, project, info, plan.version, scored)
        pushed, notes = push(place, project, info, config, model, scored, shards=_shards(place.store, project, plan))
        lock.check()
        published = place.store.published(project)
        in_force = published is not None and published.version == plan.version
        # Where a damaged version was withdrawn, the one before is in force, but not yet its name.
        if not in_force or place.studio.backend_title(info.id) != plan.version:
            switch(place, project, info, plan)
            clear(place, project, info, config, plan.version)
        elif info.model_version is None:
            # Somebody deleted predictions in Label Studio, which clears the choice; one that was made is left alone.
            place.studio.set_model_version(info.id, plan.version)
        report = _told(place, project, info, plan.version, scored, pushed, notes)
    place.store.drop_scratch(project, plan_id)
    place.queues.ledger.keep_failed(project, plan.version, [one["task"] for one in scored if one["error"]])
    failed = {one["task"] for one in scored if one["error"]}
    if any(task.id not in failed for task in lacking(place.studio, info.id, config, plan.version)):
        # Those that failed just now are left to the reconciliation.
        place.queues.request_scores(project, "tasks are left, or came while the pool was scored")
    return report


def finish_predictions(place: Workplace, project: str, task_ids: Sequence[int], version: str) -> dict[str, Any]:
    """Predict tasks under the version in force and push what they still lack."""
    published = place.store.published(project)
    info = place.studio.project(project_id(project))
    config = parse_label_config(info.label_config)
    model = (
        target(place.store, project, config)
        if published is None
        else live_model(project, config, place.store, published)
    )
    if model.version != version:
        return {"outcome": "superseded", "by": model.version}
    wanted = frozenset(task_ids)
    waiting = [task for task in lacking(place.studio, info.id, config, version) if task.id in wanted]
    scored = score(place, project, config, model, waiting)
    with WorkLock(place.queues.redis, f"push:{project}", wait=LOCK_WAIT_SECONDS):
        pushed, _ = push(place, project, info, config, model, scored)
    return {"outcome": "finished", "pushed": pushed, "faults": _faults(scored)}


def _shards(store: ArtifactStore, project: str, plan: Plan) -> Iterator[list[dict[str, Any]]]:
    """What each shard found; a shard that failed for good is left to the reconciliation."""
    for index in range(plan.shards):
        with contextlib.suppress(StoreError):
            yield get(store, project, f"{plan.id}/scores-{index}")


def _gather(store: ArtifactStore, project: str, plan: Plan) -> list[dict[str, Any]]:
    """What the shards found, without the regions: those of a large pool are more than a job may hold at once.

    Raises `InferenceError` where no shard has worked: a version without predictions must not be published.
    """
    found: list[dict[str, Any]] = []
    worked = 0
    for shard in _shards(store, project, plan):
        worked += 1
        found += [{name: value for name, value in one.items() if name != "result"} for one in shard]
    if plan.shards and not worked:
        raise InferenceError(
            f"project {project}: no shard of {plan.version} could be scored; the version before stays published"
        )
    faults = [one["error"] for one in found if not one["labelled"]]
    if faults and all(faults):
        raise InferenceError(
            f"project {project}: {plan.version} gave no prediction for any of {len(faults)} tasks; first: {faults[0]}"
        )
    return found


def push(
    place: Workplace,
    project: str,
    info: ProjectInfo,
    config: LabelConfig,
    model: LiveModel,
    scored: list[dict[str, Any]],
    *,
    shards: Iterable[Sequence[Mapping[str, Any]]] | None = None,
    still: Collection[int] | None = None,
    head: int = HEAD,
    most: int | None = None,
) -> tuple[int, list[str]]:
    """Push the predictions of tasks that still lack one. Returns how many, and remarks on their order for people.

    Sets each entry's score to what was sent. shards: the same entries with their regions, some at a time; `scored` has
    them if None. still: tasks that are known to lack one; looked up if None. head: images that are spread, where they
    are. most: how many are pushed at most, those that come first.
    """
    version = model.version
    notes = _rank(place.store, project, version, scored, order_of(config, model), head)
    if not model.blank:
        keep_marks(place.store, project, version, scored)
    if still is None:
        still = {task.id for task in lacking(place.studio, info.id, config, version)}
    ready = {
        one["task"]: one["score"]
        for one in scored
        if one["error"] is None and one["task"] in still and not one["labelled"]
    }
    if most is not None and len(ready) > most:
        ready = {task: ready[task] for task in sorted(ready, key=lambda task: ready[task])[:most]}
    pushed = 0
    for shard in [scored] if shards is None else shards:
        predictions = [
            {"task": one["task"], "result": one["result"], "score": ready[one["task"]], "model_version": version}
            for one in shard
            if one["task"] in ready
        ]
        place.progress.report(pushed, len(ready), f"pushing {len(ready)} predictions")
        pushed += place.studio.import_predictions(info.id, predictions) if predictions else 0
    place.progress.report(1, 1, f"pushed {pushed} predictions")
    return pushed, notes


def _withdraw(
    place: Workplace, project: str, info: ProjectInfo, version: str, scored: Sequence[Mapping[str, Any]]
) -> None:
    """Delete the predictions that a plan replaces: just before its own are pushed, and only where there are some.

    Of two predictions of one version Label Studio takes the lower score, so the old ones cannot stay; without them the
    order is random until the new ones are there, which takes seconds.
    """
    if any(one["error"] is None for one in scored) and version in place.studio.versions(info.id):
        place.studio.delete_version(info.id, version)
        if info.model_version is not None:  # the deletion has cleared it
            place.studio.set_model_version(info.id, info.model_version)
        place.store.drop_scratch(project, f"quantiles/{version}")


def _rank(
    store: ArtifactStore, project: str, version: str, scored: Sequence[dict[str, Any]], order: Order, head: int
) -> list[str]:
    """Give each task its score, in the distribution of the pool under this version, which the first plan has set."""
    name = f"quantiles/{version}"
    if store.get_scratch(project, name) is not None:
        _, notes = rank(
            scored, order, version, get(store, project, name), head
        )  # a few new tasks say little about the pool
        return notes
    distribution, notes = rank(scored, order, version, head=head)
    if distribution:
        store.drop_scratch(project, "quantiles")
        put(store, project, name, distribution)
    return notes


def switch(place: Workplace, project: str, info: ProjectInfo, plan: Plan) -> None:
    """The new version in force: title, project and every serving process together."""
    place.studio.retitle_backend(info.id, plan.version)
    if place.studio.project(info.id).model_version != plan.version:
        place.studio.set_model_version(info.id, plan.version)
    place.store.publish(project, replace(plan.published, created=time.time()))
    log.info("project %s: %s is published", project, plan.version)


def clear(place: Workplace, project: str, info: ProjectInfo, config: LabelConfig, version: str) -> None:
    """Delete the predictions of superseded versions, which keeps Label Studio busy for 5 ms each.

    Those that somebody else imported stay, and so do those that a person chose for the order, and those of the version
    before, for a rollback.
    """
    history = place.store.history(project)
    chosen = place.studio.project(info.id).model_version or version
    kept = {entry.version for entry in history[:2]} | {version, chosen}
    known = {entry.version for entry in history}
    there = place.studio.versions(info.id)
    superseded = [one for one in there if one not in kept and (one in known or made_here(one, config))]
    for one in superseded:
        place.studio.delete_version(info.id, one)
    if superseded:
        place.studio.set_model_version(info.id, chosen)


def _told(
    place: Workplace,
    project: str,
    info: ProjectInfo,
    version: str,
    scored: Sequence[Mapping[str, Any]],
    pushed: int,
    notes: Sequence[str],
) -> dict[str, Any]:
    for note in notes:
        log.warning("project %s: %s", project, note)
    faults = disorder(place, info.id, version, scored)
    for fault in faults:
        log.warning("project %s: the queue's order: %s", project, fault)
    report = {
        "outcome": "published",
        "version": version,
        "pushed": pushed,
        "gate": sum(1 for one in scored if one["gate"] and not one["labelled"]),
        "faults": _faults(scored),
        "ordered": not faults,
        "order": faults,
        "notes": list(notes),
    }
    place.queues.ledger.note(project, "publication", report)
    metrics.count(place.queues.redis, "pushes", outcome="ordered" if report["ordered"] else "out of order")
    metrics.count(place.queues.redis, "pushed_predictions", pushed)
    return report


def disorder(place: Workplace, number: int, version: str, scored: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why Label Studio may hand out tasks in another order than by these scores; empty where it will not.

    Reads the head of the queue rather than asking for the next task, which Label Studio would then reserve for a day.
    """
    info = place.studio.project(number)
    backend = place.studio.backend(number)
    faults = []
    if info.sampling != UNCERTAINTY:
        faults.append(f"sampling is {info.sampling!r}, expected {UNCERTAINTY!r}: scores are ignored")
    if info.model_version != version:
        faults.append(
            f"the project uses the predictions of {info.model_version!r}, expected {version!r}: the order is random"
        )
    if backend is None or backend.get("title") != version:
        found = backend.get("title") if backend else None
        faults.append(
            f"the backend's title is {found!r}, expected {version!r}: new tasks would be predicted under another name"
        )
    if info.maximum_annotations > 1:
        faults.append(
            f"each task is annotated {info.maximum_annotations} times: Label Studio first hands out tasks that others "
            "began, at random among them, and only then by score"
        )
    return faults + _wrong_head(place, number, scored)


def _wrong_head(place: Workplace, number: int, scored: Sequence[Mapping[str, Any]]) -> list[str]:
    head = place.studio.queue_head(number, 1)
    waiting = {task["id"] for task in listed(place.studio, number) if not task["annotated"]}
    sent = {int(one["task"]): float(one["score"]) for one in scored if one["error"] is None and one["task"] in waiting}
    if not head or not sent:
        return []
    first, lowest = head[0][0], min(sent.values())
    if first in sent and sent[first] > lowest + _TOLERANCE:
        return [f"task {first} comes first with score {sent[first]:.6f}, although {lowest:.6f} was pushed for another"]
    return []


def _faults(scored: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(one["error"]) for one in scored if one["error"]][:20]
