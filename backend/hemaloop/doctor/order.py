"""Checks of what makes Label Studio hand out the most relevant task: sampling, version, predictions, people."""

from __future__ import annotations

from hemaloop.doctor.finding import Finding, fail, ok, warn
from hemaloop.doctor.patient import Patient
from hemaloop.pool import listed
from hemaloop.project_setup import SAMPLING, order_notes


def sampling_follows_the_scores(patient: Patient) -> Finding:
    """Any other sampling ignores scores."""
    found = patient.info.sampling
    if found != SAMPLING:
        return fail(f"sampling is {found!r}, which ignores scores; expected {SAMPLING!r}", patient.setup)
    return ok(found)


def versions_agree(patient: Patient) -> Finding:
    """The live model, the backend's title and the version that the project uses have one name; else order is random."""
    title = (patient.backend or {}).get("title")
    used, live = patient.info.model_version, patient.live.version
    if not used == title == live:
        return fail(
            f"the project uses {used!r}, the backend is called {title!r}, the live model is {live!r}: the order is "
            "random until all three are one",
            patient.setup,
        )
    return ok(live)


def tasks_have_predictions(patient: Patient) -> Finding:
    """Tasks without a prediction of the live model come last, at random."""
    live, number = patient.live.version, patient.project
    waiting = [task for task in listed(patient.studio, number) if not task["annotated"]]
    missing = [task["id"] for task in waiting if live not in task["versions"]]
    if not waiting:
        return ok("no task waits to be labelled")
    if not missing:
        return ok(f"{len(waiting)} tasks wait, each with a prediction of {live}")
    jobs = patient.queues.running(patient.info.key)
    found = f"{len(missing)} of {len(waiting)} tasks that wait have no prediction of {live}"
    if jobs:
        return warn(f"{found}; {len(jobs)} job(s) are at it", "wait, or look at `hemaloop worker`'s log")
    remedy = f"hemaloop project rescore {number}"
    return fail(found, remedy) if len(missing) == len(waiting) else warn(found, remedy)


def one_annotation_a_task(patient: Patient) -> Finding:
    """With several, Label Studio first hands out tasks that others began, at random."""
    notes = order_notes(patient.info)
    if notes:
        return warn(notes[0], "project settings, Quality: annotations per task 1")
    return ok("exact order")
