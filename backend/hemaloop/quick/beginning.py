"""The first images to label, anew once a representation knows the pool: typical and diverse by their vectors.

Before that their looks decide (`cold_start`); vectors know cells. The empty predictions that tell Label Studio the
order are replaced, which takes seconds, in which the order is random.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemaloop import priorities, publication, scratch
from hemaloop.debounce import WorkLock
from hemaloop.errors import StoreError
from hemaloop.labelconfig import LabelConfig
from hemaloop.quick import learning, listing
from hemaloop.quick.vectors import Vectors
from hemaloop.scoring import TaskScore
from hemaloop.targets import target
from hemaloop.workplace import Workplace, project_id

log = logging.getLogger(__name__)

LEAST_SPREAD = 0.05
"""Of a latent dimension, of the widest one's: narrower ones say nothing and are not blown up to the others."""


def order_anew(
    place: Workplace, project: str, config: LabelConfig, annotated: Collection[int]
) -> dict[str, Any] | None:
    """Put the pool in the order of its vectors. Returns what was done; None where there is nothing to do.

    That is once for each representation, while nothing was learned from labels, where every image has its vector.
    annotated: ids of every task with a submitted annotation.
    """
    (control, *others) = config.bound
    model, published = target(place.store, project, config), place.store.published(project)
    if others or not model.blank or published is None or published.version != model.version:
        return None
    known = learning.known_representations(place.store, project, control)
    if not known or ordered_by(place, project, control.name) == known[-1].version:
        return None
    version = known[-1].version
    plugin = learning.build_representing(control, "cpu")
    plugin.load_representation(place.store.directory(project, learning.slot_of(control.name), version))
    vectors = Vectors(place.store, project, control.name, plugin.representation).by_uri()
    broken = place.queues.ledger.failed(project, version)
    waiting = listing.waiting(place, project, control, annotated, spread=True)
    tasks = [task for task in waiting if task.id not in broken]
    if not tasks or any(task.data[control.data_key] not in vectors for task in tasks):
        return None
    found = [vectors[task.data[control.data_key]] for task in tasks]
    rows = in_deviations(np.stack([one.embedding for one in found]))
    scored = [
        priorities.entry(place, task, TaskScore(task.id, model.version, [], 0.0, 0.0, key=vector.key, features=row))
        for task, vector, row in zip(tasks, found, rows, strict=True)
    ]
    info = place.studio.project(project_id(project))
    with WorkLock(place.queues.redis, f"push:{project}", wait=publication.LOCK_WAIT_SECONDS):
        publication.withdraw(place, project, info, model.version, scored)
        still = {task.id for task in tasks}
        pushed, _ = publication.push(place, project, info, config, model, scored, still=still)
    scratch.put(place.store, project, f"{publication.BEGUN}/{control.name}", version)
    log.info("project %s: %d images come in the order of %s", project, pushed, version)
    return {"outcome": "ordered anew", "by": version, "pushed": pushed}


def ordered_by(place: Workplace, project: str, control: str) -> str | None:
    """The representation by whose vectors the pool is in order; None where looks decide."""
    try:
        return str(scratch.get(place.store, project, f"{publication.BEGUN}/{control}"))
    except StoreError:
        return None


def in_deviations(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (N, D) with a standard deviation of 1 in each dimension that has a share in how images differ."""
    spread = rows.std(axis=0)
    return np.asarray(rows / np.maximum(spread, max(LEAST_SPREAD * float(spread.max()), 1e-12)), np.float32)
