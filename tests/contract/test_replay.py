"""What Label Studio 1.23.2 was recorded to send is answered as Label Studio was recorded to need it.

The captures are the bodies and headers that a real Label Studio sent, with its tokens replaced. The labelling configs
in them bind no model, so each is replayed twice: as it is, and with its rectangles bound to the stub family.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest

import stub_plugin
import web_stage
from recorded import CAPTURES, RECORDED, bound, exchanges, storable
from web_stage import PASSWORD, SECRET, RecordingQueues, ask


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contract")


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[tuple[flask.Flask, RecordingQueues]]:
    with pytest.MonkeyPatch.context() as patch:
        stub_plugin.install(patch)
        with web_stage.backend(folder, inference_processes=1) as running:
            yield running
    stub_plugin.forget()


def replay(app: flask.Flask, exchange: dict[str, Any], body: Any) -> Any:
    """Send a recorded request with its own headers, and with the login or secret that set-up gives Label Studio."""
    kept = {
        name: value for name, value in exchange["headers"].items() if name in ("User-Agent", "Accept", "Content-Type")
    }
    if exchange["path"] == "/webhook" and exchange["body"]["action"] != "START_TRAINING":
        return ask(
            app, exchange["method"], exchange["path"], body, auth=None, headers={**kept, "X-Hemaloop-Secret": SECRET}
        )
    return ask(app, exchange["method"], exchange["path"], body, auth=("hemaloop", PASSWORD), headers=kept)


def test_every_address_that_label_studio_called_was_recorded() -> None:
    assert {exchange.values[0]["path"] for exchange in RECORDED} == {
        "/health",
        "/setup",
        "/predict",
        "/webhook",
        "/versions",
    }


@pytest.mark.parametrize("exchange", RECORDED)
def test_a_recorded_request_gets_what_label_studio_needs(
    stage: tuple[flask.Flask, RecordingQueues], folder: Path, exchange: dict[str, Any]
) -> None:
    app, _ = stage
    body = bound(exchange["body"])
    if exchange["path"] == "/predict":
        for task in body["tasks"]:
            task["data"]["image"] = web_stage.image_file(folder, f"{task['id']}.png", task["id"])
    reply = replay(app, exchange, body)
    assert 200 <= reply.status_code < 300
    assert isinstance(reply.json, dict)
    checks = {
        "/health": lambda: reply.json["status"] == "UP",
        "/setup": lambda: reply.json == {"model_version": "stub-blobs-starter-1"},
        "/versions": lambda: isinstance(reply.json["versions"], list),
        "/webhook": lambda: reply.json["status"] in ("accepted", "ignored"),
        "/predict": lambda: storable(reply.json, body),
    }
    assert checks[exchange["path"]]()


@pytest.mark.parametrize("exchange", RECORDED)
def test_a_recorded_project_without_a_model_is_left_alone(
    stage: tuple[flask.Flask, RecordingQueues], exchange: dict[str, Any]
) -> None:
    app, queues = stage
    queues.asked.clear()
    reply = replay(app, exchange, exchange["body"])
    if exchange["path"] in ("/setup", "/predict"):
        assert reply.status_code == 400
        assert "model_family" in reply.json["error"]
    elif exchange["path"] == "/webhook":
        assert reply.json["status"] == "ignored"
        assert queues.of_kind("training") == []


def test_label_studios_own_webhook_without_headers_is_refused(stage: tuple[flask.Flask, RecordingQueues]) -> None:
    app, _ = stage
    (exchange,) = exchanges(json.loads((CAPTURES / "q4_webhook_ANNOTATION_CREATED.json").read_text()))
    reply = ask(app, "POST", "/webhook", exchange["body"], auth=None, headers={"Content-Type": "application/json"})
    assert reply.status_code == 401


def test_label_studios_own_check_finds_no_fault_in_a_prediction(
    stage: tuple[flask.Flask, RecordingQueues], folder: Path
) -> None:
    from label_studio_sdk.label_interface import LabelInterface

    app, _ = stage
    (exchange,) = exchanges(json.loads((CAPTURES / "q3_predict_on_open_task.json").read_text()))
    body = bound(exchange["body"])
    body["tasks"] = web_stage.tasks(folder, 5)
    for entry in replay(app, exchange, body).json["results"]:
        assert entry["result"]
        assert LabelInterface(body["label_config"]).validate_prediction(entry, return_errors=True) == []
