"""A pool rescored from its vectors, its head pushed and in force in one job, where the ordinary jobs take three.

    all scored ─▶ the first `FIRST` pushed ─▶ version in force      while somebody waits
    a quiet `REST_SECONDS` later ─▶ the rest pushed, superseded predictions gone      by the ordinary jobs

Label Studio stores 400 predictions a second and deletes 200, and holds up annotators meanwhile; the next few
annotations bring another order. Tasks without a prediction of the version in force come last in its order, and get one
when they are opened.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hemaloop import priorities, publication
from hemaloop.debounce import Debounce, WorkLock
from hemaloop.labelconfig import LabelConfig, parse_label_config
from hemaloop.plugin import Representing
from hemaloop.pool import Waiting
from hemaloop.projects import LiveModel
from hemaloop.queues import REST_SECONDS
from hemaloop.quick import listing
from hemaloop.quick.vectors import Vector
from hemaloop.ranking import packed
from hemaloop.results import Answer, relevance_of, task_prediction
from hemaloop.scoring import TaskScore
from hemaloop.targets import publication_of, target
from hemaloop.validation import validate
from hemaloop.workplace import Workplace, project_id

log = logging.getLogger(__name__)

HEAD = 200
"""Images that are spread; the next few annotations bring another order."""
FIRST = 500
"""Predictions that are pushed before the version is in force: nobody labels as many before the rest is there."""


class Base(Protocol):
    """`refitting.Base`: a plugin with its new head, and vectors by address."""

    @property
    def version(self) -> str:
        """Of the representation."""

    @property
    def plugin(self) -> Representing:
        """With its head."""

    @property
    def vectors(self) -> Mapping[str, Vector]:
        """By address."""


def stacked(vectors: Sequence[Vector]) -> NDArray[np.float32]:
    """(N, D); (0, 0) of none."""
    return np.stack([one.embedding for one in vectors]) if vectors else np.zeros((0, 0), np.float32)


def reorder(
    place: Workplace,
    project: str,
    config: LabelConfig,
    bases: Mapping[str, Base],
    annotated: Collection[int],
    reason: str,
) -> dict[str, Any]:
    """Score every open task from its vector under the promoted model, push the first, and put that model in force.

    Where other controls have a say too, or images lack a vector, the ordinary jobs do it instead. annotated: ids of
    every task with a submitted annotation.
    """
    model = target(place.store, project, config)
    (first, *others) = config.bound
    base = bases.get(first.name)
    if others or base is None or first.heat is not None:
        return _left_to_jobs(place, project, reason, "other controls have a say")
    waiting = listing.waiting(place, project, first, annotated, spread=config.spreads)
    known = [task for task in waiting if task.data.get(first.data_key) in base.vectors]
    broken = place.queues.ledger.failed(project, base.version)
    missing = {task.id for task in waiting} - {task.id for task in known} - broken
    if missing:
        place.queues.request_training(project, "images have no vector yet")
        if 2 * len(known) < len(waiting):
            return _left_to_jobs(place, project, reason, f"{len(missing)} images have no vector yet")
    scored = _scores(place, config, model, base, known)
    info = place.studio.project(project_id(project))
    published = publication_of(model, reason)
    plan = priorities.Plan(uuid.uuid4().hex, published.version, published.parts, 0, reason)
    with WorkLock(place.queues.redis, f"push:{project}", wait=publication.LOCK_WAIT_SECONDS) as lock:
        pushed, notes = publication.push(
            place, project, info, config, model, scored, still={task.id for task in waiting}, head=HEAD, most=FIRST
        )
        lock.check()
        publication.switch(place, project, info, plan)
    place.queues.request_rest(project)
    report = {"outcome": "published", "version": model.version, "pushed": pushed, "notes": notes}
    place.queues.ledger.note(project, "publication", {**report, "faults": [], "ordered": True, "order": []})
    return report


def finish(place: Workplace, project: str) -> dict[str, Any]:
    """Delete what the last new orders superseded, and let the ordinary jobs push what they left out: once there was no
    other for `REST_SECONDS`.
    """
    claims = Debounce(place.queues.redis, "rest")
    published = place.store.published(project)
    left = published.created + REST_SECONDS - time.time() if published is not None else 0.0
    claims.give_up(project)
    if 0 < left <= REST_SECONDS:  # longer where the clock was set back
        place.queues.request_rest(project, left)
        return {"outcome": "later", "why": f"another order came meanwhile; the rest is pushed {left:.0f} s from now"}
    if published is not None:
        info = place.studio.project(project_id(project))
        with WorkLock(place.queues.redis, f"push:{project}", wait=publication.LOCK_WAIT_SECONDS):
            publication.clear(place, project, info, parse_label_config(info.label_config), published.version)
    return {"outcome": "queued", "job": place.queues.request_scores(project, "the rest of the pool")}


def _left_to_jobs(place: Workplace, project: str, reason: str, why: str) -> dict[str, Any]:
    place.queues.request_scores(project, reason)
    return {"outcome": "queued", "why": why}


def _scores(
    place: Workplace, config: LabelConfig, model: LiveModel, base: Base, tasks: Sequence[Waiting]
) -> list[dict[str, Any]]:
    """As `priorities.score` gives them."""
    (control,) = config.bound
    vectors = [base.vectors[task.data[control.data_key]] for task in tasks]
    answers = base.plugin.score_embedded(stacked(vectors)) if vectors else []
    found = []
    for task, vector, scored in zip(tasks, vectors, answers, strict=True):
        answer = Answer(control, scored, base.plugin.labels, vector.width, vector.height)
        prediction = task_prediction([answer], model.version)
        faults = validate(prediction, config)
        one = TaskScore(
            task.id,
            model.version,
            None if faults else prediction["result"],
            prediction["score"],
            relevance_of([answer]),
            error=f"prediction of task {task.id} is not valid for its labelling config: {faults[0]}"
            if faults
            else None,
            key=vector.key,
            features=scored.features,
        )
        found.append({**priorities.entry(place, task, one), "features": packed(scored.features)})
    return found
