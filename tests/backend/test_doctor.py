"""What the doctor says where no real Label Studio is needed to see it."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import loop_stage
import stub_plugin
from hemaloop import doctor
from hemaloop.config import Settings
from hemaloop.doctor import Finding, Level, Patient
from hemaloop.doctor.connection import config_is_bound, model_knows_the_labels
from hemaloop.doctor.label_studio import token_kind
from hemaloop.doctor.machine import families_import
from hemaloop.doctor.work import images_can_be_had, last_jobs_ended_well
from hemaloop.errors import StoreError
from hemaloop.labelconfig import parse_label_config
from hemaloop.plugin import Detections, Example, Silent
from hemaloop.projects import build_plugin
from hemaloop.store import Manifest, Published
from loop_stage import PROJECT, Studio


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """Label Studio's double with a project of the stub."""
    stub_plugin.install(monkeypatch)
    with loop_stage.label_studio(stub_plugin.config()) as found:
        yield found
    stub_plugin.forget()


@pytest.fixture
def patient(studio: Studio, tmp_path: Path, redis_url: str) -> Iterator[Patient]:
    """Project 7, with images."""
    studio.add_images(tmp_path, 4)
    with closing(Patient(loop_stage.settings(tmp_path, studio.url, redis_url=redis_url), 7)) as found:
        yield found


def token(kind: str) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"token_type": kind}).encode()).decode().rstrip("=")
    return f"x.{claims}.y"


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("", "none"),
        ("0123456789abcdef0123456789abcdef01234567", "legacy"),
        (token("refresh"), "personal"),
        (token("access"), "access"),
        (token("other"), "other"),
        ("a.b.c", "other"),
        ("a.bm90IGpzb24.c", "other"),
        ("my token", "other"),
    ],
)
def test_the_kind_of_a_key_is_told_by_its_form(key: str, kind: str) -> None:
    assert token_kind(key) == kind


def test_every_check_is_a_small_function_with_a_name_for_people() -> None:
    names = [doctor.name_of(check) for check in (*doctor.INSTALLATION, *doctor.PROJECT)]
    assert len(set(names)) == len(names)
    assert all(name.replace(" ", "").isalpha() for name in names)


def test_a_trained_model_that_lacks_a_label_of_the_config_is_named(studio: Studio, patient: Patient) -> None:
    control = parse_label_config(studio.config).bound[0]
    plugin = build_plugin(control, labels=("red", "green"))
    cells = [cell for cell in stub_plugin.random_cells(1, 12) if cell[4] != "blue"]
    truth = Detections.truth([cell[:4] for cell in cells], [plugin.labels.index(cell[4]) for cell in cells])
    plugin.fit([Example(stub_plugin.draw(cells), truth, "k")], [], Silent())
    version = patient.store.put(PROJECT, "cells", plugin, Manifest("stub", "1", plugin.labels, {}))
    patient.store.publish(PROJECT, Published(version, {"cells": version}))
    found = model_knows_the_labels(patient)
    assert found.level is Level.WARN
    assert f"{version} does not know 'blue'" in found.found
    assert "hemaloop project train 7" in found.remedy


def test_a_binding_that_cannot_be_served_is_named_with_its_place(studio: Studio, patient: Patient) -> None:
    studio.config = stub_plugin.config(threshold="a lot")
    found = config_is_bound(patient)
    assert found.level is Level.FAIL
    assert "threshold" in found.found
    assert "Labeling Interface" in found.remedy


def test_an_image_from_a_host_that_is_not_allowed_names_the_setting(studio: Studio, patient: Patient) -> None:
    studio.tasks[2]["data"]["image"] = "https://images.example.org/1.png"
    found = images_can_be_had(patient)
    assert found.level is Level.WARN
    assert "1 of 4" in found.found
    assert "HEMALOOP_IMAGE_HOSTS" in found.remedy


def test_the_cache_hides_no_image_that_is_gone(studio: Studio, patient: Patient, tmp_path: Path) -> None:
    assert images_can_be_had(patient).level is Level.OK
    for path in tmp_path.glob("*.png"):
        path.unlink()
    assert images_can_be_had(patient).level is Level.FAIL


def test_a_training_that_failed_is_told_with_its_reason(studio: Studio, patient: Patient) -> None:
    outcome = {"controls": {"cells": {"state": "failed", "why": "a loss that is not a number"}}}
    patient.queues.ledger.note(PROJECT, "training", outcome)
    found = last_jobs_ended_well(patient)
    assert found.level is Level.WARN
    assert "a loss that is not a number" in found.found
    assert found.remedy == "hemaloop project train 7"


def test_a_family_that_cannot_be_imported_is_named(
    studio: Studio, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("hemaloop_stub", "hemaloop_stub.parts"):
        monkeypatch.setitem(sys.modules, module, None)
    stub_plugin.forget()
    found = families_import(patient)
    assert found.level is Level.FAIL
    assert "'stub' is disabled" in found.found
    assert "'parts' is disabled" in found.found
    assert found.remedy == "hemaloop plugins list"


def test_whatever_a_check_stumbles_over_ends_no_examination(
    studio: Studio, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Patient) -> Finding:
        raise StoreError("published.json: not JSON; restore it from a copy")

    monkeypatch.setattr("hemaloop.doctor.examination.INSTALLATION", (broken,))
    monkeypatch.setattr("hemaloop.doctor.examination.PROJECT", (broken,))
    first, second = doctor.examine(patient)
    assert first.level is Level.FAIL
    assert "restore it from a copy" in first.found
    assert second.level is Level.SKIP


def test_the_doctor_changes_nothing_in_label_studio(studio: Studio, patient: Patient) -> None:
    list(doctor.examine(patient))
    changes = {(method, path) for method, path in studio.calls if method != "GET"}
    assert changes == {("POST", "/api/ml/"), ("POST", "/api/webhooks/")}, "two that name no project and are refused"


def test_settings_are_no_part_of_what_it_says(studio: Studio, tmp_path: Path, redis_url: str) -> None:
    chosen: Settings = loop_stage.settings(tmp_path, studio.url, redis_url=redis_url)
    with closing(Patient(chosen, 7)) as patient:
        told = " ".join(f"{one.found} {one.remedy}" for one in doctor.examine(patient))
    secrets = (chosen.password, chosen.webhook_secret, chosen.label_studio_api_key)
    assert not any(secret.get_secret_value() in told for secret in secrets)
