"""A pool rescored from its vectors, pushed and in force in one job, where `priorities` and `publication` take three.

The steps and their order are theirs. Label Studio lists the pool once instead of at every step; whatever comes
meanwhile is asked for by its own event, or found by the reconciliation.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hemaloop import priorities, publication
from hemaloop.debounce import WorkLock
from hemaloop.labelconfig import LabelConfig
from hemaloop.plugin import Representing
from hemaloop.pool import Waiting, all_waiting
from hemaloop.projects import LiveModel
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
    place: Workplace, project: str, config: LabelConfig, bases: Mapping[str, Base], reason: str
) -> dict[str, Any]:
    """Score every open task from its vector under the promoted model, push, and put that model in force.

    Where other controls have a say too, or images lack a vector, the ordinary jobs do it instead.
    """
    model = target(place.store, project, config)
    (first, *others) = config.bound
    base = bases.get(first.name)
    if others or base is None or first.heat is not None:
        return _left_to_jobs(place, project, reason, "other controls have a say")
    waiting = all_waiting(place.studio, project_id(project), config, model.version, spread=config.spreads)
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
            place, project, info, config, model, scored, still={task.id for task in waiting}, head=HEAD
        )
        lock.check()
        publication.switch(place, project, info, config, plan)
    report = {"outcome": "published", "version": model.version, "pushed": pushed, "notes": notes}
    place.queues.ledger.note(project, "publication", {**report, "faults": [], "ordered": True, "order": []})
    if missing:
        place.queues.request_scores(project, "images had no vector while the pool was put in order")
    return report


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
