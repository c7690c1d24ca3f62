"""Checks of what is done for a project: its images, its trainings, its last jobs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hemaloop import dataset, policy, registry
from hemaloop.doctor.finding import Finding, fail, ok, warn
from hemaloop.doctor.patient import Patient
from hemaloop.errors import HemaloopError
from hemaloop.images import ImageLoader
from hemaloop.pool import listed
from hemaloop.scoring import TaskRef, image_address
from hemaloop.training import situation_of

SAMPLE = 5
"""Images that are fetched, from the oldest task to the newest."""


def images_can_be_had(patient: Patient) -> Finding:
    """Some of the project's images, fetched and decoded as a prediction would, without this machine's cache."""
    tasks = list(listed(patient.studio, patient.project))
    if not tasks:
        return warn("the project has no task", "hemaloop project create FOLDER --title … adds images, or import some")
    chosen = [tasks[step * (len(tasks) - 1) // max(1, SAMPLE - 1)] for step in range(SAMPLE)] if tasks else []
    sample = {task["id"]: task for task in chosen}
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hemaloop-doctor-") as name:
        settings = patient.settings.model_copy(update={"data_dir": Path(name)})
        images = ImageLoader(settings, patient.studio.auth_headers)
        for task in sample.values():
            try:
                for control in patient.config.bound:
                    uri = image_address(TaskRef(task["id"], task["data"]), control)
                    images.load(uri, task["id"], project=patient.info.key)
            except HemaloopError as error:
                faults.append(str(error))
    if not faults:
        return ok(f"{len(sample)} of {len(tasks)} fetched and decoded")
    found = f"{len(faults)} of {len(sample)} cannot be had: {faults[0]}"
    remedy = faults[0].rpartition("; ")[2]
    return fail(found, remedy) if len(faults) == len(sample) else warn(found, remedy)


def trainings_start(patient: Patient) -> Finding:
    """What each bound control waits for, by the policy that starts trainings."""
    key, number = patient.info.key, patient.project
    if patient.queues.ledger.paused(key):
        return warn("trainings are paused", f"hemaloop resume {number}")
    told = list(_decisions(patient))
    stuck = [f"{name}: {why}" for name, why, asked in told if asked]
    if stuck:
        return warn("; ".join(stuck), f"hemaloop project train {number}, when the cause is mended")
    return ok("; ".join(f"{name}: {why}" for name, why, _ in told))


def _decisions(patient: Patient) -> Iterator[tuple[str, str, bool]]:
    """Control, what it waits for, and whether nothing but a person or new annotations starts it again."""
    tasks = list(patient.studio.tasks(patient.project, only="annotated"))
    for control in patient.config.bound:
        if control.binding is None:
            continue
        found = dataset.survey(tasks, control, registry.find(control.binding.family).version)
        trained = policy.latest(patient.store, patient.info.key, control.name)
        ledger = patient.queues.ledger
        situation = situation_of(patient.settings, ledger, patient.info.key, control.name, found, trained)
        decision = policy.decide(found, control.binding, patient.settings, situation)
        failed = situation.attempts >= patient.settings.train_max_attempts or situation.set_aside is not None
        yield control.name, "due" if decision.start else decision.why, failed and not decision.start


def last_jobs_ended_well(patient: Patient) -> Finding:
    """The last training and the last publication of the project."""
    outcomes = patient.queues.ledger.outcomes(patient.info.key)
    training: Mapping[str, Any] = outcomes.get("training", {}).get("controls") or {}
    failed = [f"{name}: {one.get('why')}" for name, one in training.items() if one.get("state") == "failed"]
    number = patient.project
    if failed:
        return warn(f"the last training failed: {'; '.join(failed)}", f"hemaloop project train {number}")
    publication: Mapping[str, Any] = outcomes.get("publication") or {}
    faults = [*publication.get("faults", ()), *publication.get("order", ())]
    if faults:
        return warn(f"the last publication: {faults[0]}", f"hemaloop project rescore {number}")
    return ok(f"published {publication['version']}" if publication else "nothing was published yet")
