"""hemaloop inside label-studio-ml: its folder is started, and its model answers as hemaloop itself does."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import flask
import pydantic
import pytest
import requests

import stub_plugin
import web_stage
from hemaloop import hosting
from hemaloop.children import free_port
from hemaloop.web import services
from recorded import RECORDED, bound, storable
from web_stage import RecordingQueues

ROOT = Path(__file__).parents[2]
OURS = tuple[flask.Flask, RecordingQueues]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hosted")


@pytest.fixture(scope="module")
def ours(folder: Path) -> Iterator[OURS]:
    """hemaloop's own application, whose services the hosted model uses too."""
    with pytest.MonkeyPatch.context() as patch:
        stub_plugin.install(patch)
        patch.syspath_prepend(str(ROOT / "backend"))
        with web_stage.backend(folder, inference_processes=1) as (app, queues):
            patch.setattr(hosting, "running", lambda: services.of(app))
            patch.setattr(hosting, "load_settings", lambda: services.of(app).settings)
            patch.setattr(hosting, "Queues", lambda settings: _Closable(queues))
            yield app, queues
    stub_plugin.forget()


class _Closable:
    """Queues that outlive the call that closes them."""

    def __init__(self, queues: RecordingQueues) -> None:
        self.request_training, self.request_scores = queues.request_training, queues.request_scores

    def close(self) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def theirs(ours: OURS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[flask.Flask]:
    """The server of label-studio-ml 1.0.9 with hemaloop's model; what it runs in a process of its own runs here."""
    from label_studio_ml import api
    from label_studio_ml.model import SimpleJobManager

    model = importlib.import_module("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimpleJobManager, "run_job", lambda self, cls, arguments: self.job(cls, *arguments))
        yield api.init_app(model.Hemaloop, model_dir=str(tmp_path_factory.mktemp("models")))


@pytest.mark.parametrize("exchange", RECORDED)
def test_its_server_answers_what_was_recorded(
    ours: OURS, theirs: flask.Flask, folder: Path, exchange: dict[str, Any]
) -> None:
    app, queues = ours
    body = bound(exchange["body"])
    if exchange["path"] == "/predict":
        for task in body["tasks"]:
            task["data"]["image"] = web_stage.image_file(folder, f"{task['id']}.png", task["id"])
        setup = {"project": body["project"], "schema": body["label_config"]}
        assert theirs.test_client().post("/setup", json=setup).status_code == 200
    queues.asked.clear()
    reply = theirs.test_client().open(exchange["path"], method=exchange["method"], json=body)
    if exchange["path"] == "/versions":
        assert reply.status_code == 405  # known: 1.0.9 has no such address for GET
        return
    assert 200 <= reply.status_code < 300, reply.text
    if exchange["path"] == "/predict":
        own = web_stage.ask(app, "POST", "/predict", body)
        assert reply.json["results"] == own.json["results"]
        assert storable(reply.json, body)
    elif exchange["path"] == "/webhook":
        learns = exchange["body"]["action"] in hosting.EVENTS
        assert bool(queues.of_kind("training")) == learns
    elif exchange["path"] == "/setup":
        assert reply.json == {"model_version": "INITIAL"}  # known: versions of its own


def test_two_projects_on_its_one_model_get_their_own_answers(ours: OURS, theirs: flask.Flask, folder: Path) -> None:
    app, _ = ours
    client = theirs.test_client()
    first = web_stage.predict_body(web_stage.tasks(folder, 1), stub_plugin.config())
    second = web_stage.predict_body(
        first["tasks"], stub_plugin.config().replace('name="cells"', 'name="blobs"'), project="8.1790000000"
    )
    for body in (first, second):
        client.post("/setup", json={"project": body["project"], "schema": body["label_config"]})
    for body in (first, second):
        found = client.post("/predict", json=body).json["results"]
        assert found == web_stage.ask(app, "POST", "/predict", body).json["results"]
        assert found[0]["result"]


def test_an_interactive_call_gets_the_boxes_inside(ours: OURS, theirs: flask.Flask, folder: Path) -> None:
    app, _ = ours
    rectangle = {"value": {"x": 0, "y": 0, "width": 50, "height": 100}}
    body = web_stage.predict_body(web_stage.tasks(folder, 1), stub_plugin.config(), {"result": [rectangle]})
    theirs.test_client().post("/setup", json={"project": body["project"], "schema": body["label_config"]})
    found = theirs.test_client().post("/predict", json=body).json["results"]
    assert found == web_stage.ask(app, "POST", "/predict", body).json["results"]


class _Response(pydantic.BaseModel):
    """As 2.x has it: predictions, each of which may be a list, and the version."""

    model_config = pydantic.ConfigDict(protected_namespaces=())
    model_version: str | None = None
    predictions: list[Any]


class _Base:
    """The constructor and the store of 2.x."""

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.kept = {"model_version": "0.0.1"}
        self.setup()

    def set(self, key: str, value: str) -> None:
        self.kept[key] = value


@pytest.fixture
def second(ours: OURS, monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """hemaloop's model on a stand-in for label-studio-ml 2.x, which the package index does not have."""
    modules = {name: ModuleType(f"label_studio_ml.{name}") for name in ("model", "response")}
    modules["model"].LabelStudioMLBase = _Base  # type: ignore[attr-defined]
    modules["response"].ModelResponse = _Response  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, f"label_studio_ml.{name}", module)
    monkeypatch.delitem(sys.modules, "model", raising=False)
    found = importlib.import_module("model").Hemaloop
    monkeypatch.delitem(sys.modules, "model")
    return found


def test_under_2x_the_version_in_setup_is_the_live_one(ours: OURS, second: type[Any]) -> None:
    app, _ = ours
    body = {"project": web_stage.PROJECT, "schema": stub_plugin.config()}
    with app.test_request_context("/setup", method="POST", json=body):
        assert second(project_id="7", label_config=body["schema"]).kept["model_version"] == "stub-blobs-starter-1"


def test_under_2x_predictions_and_trainings_are_hemaloops(ours: OURS, second: type[Any], folder: Path) -> None:
    app, queues = ours
    body = web_stage.predict_body(web_stage.tasks(folder, 2), stub_plugin.config())
    own = web_stage.ask(app, "POST", "/predict", body).json
    with app.test_request_context("/predict", method="POST", json=body):
        response = second(project_id="7", label_config=body["label_config"]).predict(
            body["tasks"], context={}, login=None, password=None
        )
    assert response.model_dump() == {"predictions": own["results"], "model_version": own["model_version"]}
    queues.asked.clear()
    payload = {"project": {"id": 7, "created_at": "2026-09-21T14:13:20Z", "label_config": stub_plugin.config()}}
    assert second(project_id="7").fit("START_TRAINING", payload) == {"status": "scheduled", "job": "job-1"}
    assert [what[3] for what in queues.of_kind("training")] == [True]


def test_its_init_makes_a_backend_of_our_model(tmp_path: Path) -> None:
    from label_studio_ml.server import create_dir

    made = tmp_path / "mine"
    create_dir(
        argparse.Namespace(
            root_dir=str(tmp_path), project_name="mine", force=False, script=f"{ROOT / 'backend' / 'model.py'}:Hemaloop"
        )
    )
    assert (made / "model.py").read_text() == (ROOT / "backend" / "model.py").read_text()
    assert "from model import Hemaloop" in (made / "_wsgi.py").read_text()


def test_its_start_runs_the_folder_backend(tmp_path: Path) -> None:
    port = free_port()
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HEMALOOP_PASSWORD": web_stage.PASSWORD,
        "HEMALOOP_WEBHOOK_SECRET": web_stage.SECRET,
        "HEMALOOP_DATA_DIR": str(tmp_path / "data"),
        "HEMALOOP_INFERENCE_PROCESSES": "1",
    }
    environment.pop("REDIS_URL", None)
    command = [str(Path(sys.executable).with_name("label-studio-ml")), "start", "backend"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-p", str(port), "--host", "127.0.0.1"],
            cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        web_stage.wait_until(lambda: process.poll() is not None or web_stage.answers(address), 240)
        assert process.poll() is None, (tmp_path / "log").read_text()
        versions = requests.get(f"{address}/versions", auth=("hemaloop", web_stage.PASSWORD), timeout=30)
        assert versions.json() == {"versions": []}
        assert requests.get(f"{address}/versions", timeout=30).status_code == 401
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
