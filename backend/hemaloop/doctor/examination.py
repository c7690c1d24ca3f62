"""The checks in their order, and what comes of them when one cannot be done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import httpx
from redis.exceptions import RedisError

from hemaloop.doctor import connection, label_studio, machine, order, work
from hemaloop.doctor.finding import Finding, Level
from hemaloop.doctor.patient import Patient
from hemaloop.errors import HemaloopError

Check = Callable[[Patient], Finding]

INSTALLATION: tuple[Check, ...] = (
    machine.backend_answers,
    machine.redis_answers,
    machine.workers_run,
    machine.disk_has_room,
    machine.store_can_be_written,
    machine.families_import,
    label_studio.label_studio_answers,
    label_studio.key_is_accepted,
    label_studio.address_is_let_through,
    label_studio.version_is_known,
    label_studio.clocks_agree,
)
PROJECT: tuple[Check, ...] = (
    connection.config_is_bound,
    connection.model_knows_the_labels,
    connection.backend_is_connected,
    connection.webhook_is_set,
    order.sampling_follows_the_scores,
    order.versions_agree,
    order.tasks_have_predictions,
    order.one_annotation_a_task,
    work.images_can_be_had,
    work.trainings_start,
    work.last_jobs_ended_well,
)


FOUNDATIONS: tuple[Check, ...] = (label_studio.label_studio_answers, label_studio.key_is_accepted)
"""Where one of these fails, nothing after it can be looked at, and each try would take a while to fail."""


def name_of(check: Check) -> str:
    """What people call a check."""
    function = check.func if isinstance(check, partial) else check
    return str(function.__name__).replace("_", " ")


def examine(patient: Patient) -> Iterator[Finding]:
    """Every check, as it is done. After a FAIL, what cannot be looked at because of it is a SKIP."""
    failed: list[str] = []
    for check in (*INSTALLATION, *(PROJECT if patient.number is not None else ())):
        finding = replace(_done(check, patient, failed), check=name_of(check))
        if finding.level is Level.FAIL:
            failed.append(finding.check)
        yield finding


def _done(check: Check, patient: Patient, failed: list[str]) -> Finding:
    missing = [name_of(one) for one in FOUNDATIONS if name_of(one) in failed]
    if missing:
        return Finding(Level.SKIP, "not looked at", f"mend first: {', '.join(missing)}")
    try:
        return check(patient)
    except (HemaloopError, RedisError, httpx.HTTPError, OSError) as error:
        told = str(error) if isinstance(error, HemaloopError) else type(error).__name__
        if failed:
            return Finding(Level.SKIP, f"not looked at ({told})", f"mend first: {', '.join(failed)}")
        return Finding(Level.FAIL, told, "see the message")
