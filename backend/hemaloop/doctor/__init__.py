"""Causes of silence, looked for one by one, each with the command or setting that mends it.

    for finding in examine(Patient(settings, number=17)):
        ...

machine        backend, Redis, workers, disk, store         label_studio   address, key, version, clock
connection     binding, labels, backend, webhook            order          sampling, versions, predictions
work           images, trainings, last jobs                 examination    all of them in order

A check is a small function from a `Patient` to a `Finding`; it changes nothing that anybody would notice.
"""

from __future__ import annotations

from hemaloop.doctor.examination import INSTALLATION, PROJECT, examine, name_of
from hemaloop.doctor.finding import Finding, Level
from hemaloop.doctor.patient import Patient

__all__ = ["INSTALLATION", "PROJECT", "Finding", "Level", "Patient", "examine", "name_of"]
