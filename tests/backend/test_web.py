"""What leaves the backend: predictions that Label Studio can store, `[]`, or an error in JSON that names the fault."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest

import stub_plugin
import web_stage
from hemaloop.web import services
from web_stage import PASSWORD, PROJECT, SECRET, TOKEN, RecordingQueues, ask, predict_body

SETUP = {
    "project": PROJECT,
    "schema": stub_plugin.config(),
    "hostname": "http://localhost:8080",
    "access_token": TOKEN,
    "extra_params": None,
}
UNBOUND = """<View><Image name="image" value="$image"/>
<RectangleLabels name="cells" toName="image"><Label value="RBC"/></RectangleLabels></View>"""
ROUTES = [
    ("POST", "/setup", SETUP),
    ("POST", "/predict", predict_body([], stub_plugin.config())),
    ("GET", "/versions", None),
    ("POST", "/validate", {"config": stub_plugin.config()}),
    ("POST", "/job_status", {"job": "job-1"}),
    ("POST", "/delete", {"project": "99.1790000000"}),
    ("POST", "/train", {"project": PROJECT}),
    ("POST", "/duplicate_model", {"project_src": PROJECT, "project_dst": "98.1790000000"}),
]


def event(action: str, config: str | None = None, **extra: Any) -> dict[str, Any]:
    project = {
        "id": 7,
        "created_at": "2026-09-21T14:13:20.123456Z",
        "label_config": stub_plugin.config() if config is None else config,
        "token": TOKEN,
    }
    return {"action": action, "project": project, **extra}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("web")


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[tuple[flask.Flask, RecordingQueues]]:
    with pytest.MonkeyPatch.context() as patch:
        stub_plugin.install(patch)
        with web_stage.backend(folder, inference_processes=2) as running:
            yield running
    stub_plugin.forget()


@pytest.fixture
def app(stage: tuple[flask.Flask, RecordingQueues]) -> flask.Flask:
    return stage[0]


@pytest.fixture
def queues(stage: tuple[flask.Flask, RecordingQueues]) -> Iterator[RecordingQueues]:
    stage[1].asked.clear()
    yield stage[1]
    stage[1].gone = False


# -- who may ask


@pytest.mark.parametrize(("method", "path", "body"), ROUTES, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize(
    "options",
    [
        {"auth": None},
        {"auth": ("hemaloop", "wrong password")},
        {"auth": ("someone", PASSWORD)},
        {"auth": ("hemaloop", "")},
        {"auth": None, "headers": {"Authorization": "Bearer " + PASSWORD}},
        {"auth": None, "headers": {"Authorization": "Basic %%%"}},
        {"auth": None, "headers": {"X-Hemaloop-Secret": SECRET}},
    ],
    ids=str,
)
def test_without_the_password_nothing_is_answered(
    app: flask.Flask, method: str, path: str, body: Any, options: dict[str, Any]
) -> None:
    reply = ask(app, method, path, body, **options)
    assert reply.status_code == 401
    assert set(reply.json) == {"error"}
    assert reply.headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize(("method", "path", "body"), ROUTES, ids=lambda value: value if isinstance(value, str) else "")
def test_with_the_password_everything_is_answered(
    app: flask.Flask, queues: RecordingQueues, method: str, path: str, body: Any
) -> None:
    assert ask(app, method, path, body).status_code in (200, 201)


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Hemaloop-Secret": ""}, {"X-Hemaloop-Secret": SECRET + "x"}, {"X-Hemaloop-Secret": "sécret"}],
    ids=str,
)
def test_a_webhook_without_its_secret_starts_nothing(
    app: flask.Flask, queues: RecordingQueues, headers: dict[str, str]
) -> None:
    reply = ask(app, "POST", "/webhook", event("ANNOTATION_CREATED"), auth=None, headers=headers)
    assert reply.status_code == 401
    assert "X-Hemaloop-Secret" in reply.json["error"]
    time.sleep(0.1)
    assert queues.of_kind("training") == []


def test_health_is_open_but_says_so_where_a_password_is_wrong(app: flask.Flask) -> None:
    assert ask(app, "GET", "/health", auth=None).json["status"] == "UP"
    assert ask(app, "GET", "/", auth=None).json["status"] == "UP"
    assert ask(app, "GET", "/health").status_code == 200
    assert ask(app, "GET", "/health", auth=("hemaloop", "wrong")).status_code == 401


# -- setup and versions


def test_setup_answers_with_the_live_version(app: flask.Flask, queues: RecordingQueues) -> None:
    reply = ask(app, "POST", "/setup", SETUP)
    assert reply.json == {"model_version": "stub-blobs-starter-1"}
    assert "stub-blobs-starter-1" in ask(app, "GET", "/versions").json["versions"]
    web_stage.wait_until(lambda: queues.of_kind("remember"))


def test_a_project_without_starter_weights_is_untrained(app: flask.Flask) -> None:
    body = SETUP | {"schema": stub_plugin.config("bare"), "project": "8.1790000000"}
    assert ask(app, "POST", "/setup", body).json == {"model_version": "stub-untrained"}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (UNBOUND, "model_family"),
        ("<View>", "not well-formed"),
        ("", "expected XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>', "entity"),
        (stub_plugin.config().replace('"stub"', '"nobody"'), "nobody"),
        (stub_plugin.config(threshold="loud"), "threshold"),
        (stub_plugin.config("no_such_preset"), "no_such_preset"),
    ],
    ids=["unbound", "cut off", "empty", "entity", "unknown family", "wrong option", "unknown preset"],
)
def test_a_config_that_cannot_be_served_is_refused_with_its_reason(app: flask.Flask, schema: str, words: str) -> None:
    for path, body in (
        ("/setup", SETUP | {"schema": schema}),
        ("/predict", predict_body([], schema)),
        ("/validate", {"config": schema}),
    ):
        reply = ask(app, "POST", path, body)
        assert reply.status_code == 400, path
        assert words in reply.json["error"], path
        # Label Studio shows its users the status line and nothing else.
        assert len(reply.status) > len("400 BAD REQUEST")
        assert reply.status.isascii()
        assert "\n" not in reply.status


def test_validate_names_the_controls(app: flask.Flask) -> None:
    assert ask(app, "POST", "/validate", {"config": stub_plugin.config()}).json["controls"] == ["cells"]


# -- predict


def test_each_task_gets_one_valid_entry_in_order(app: flask.Flask, folder: Path) -> None:
    tasks = web_stage.tasks(folder, 9)
    reply = ask(app, "POST", "/predict", predict_body(tasks, stub_plugin.config())).json
    assert reply["model_version"] == "stub-blobs-starter-1"
    assert len(reply["results"]) == 9
    for number, entry in enumerate(reply["results"], start=1):
        assert set(entry) == {"result", "score", "model_version"}
        assert isinstance(entry["score"], float)
        labels = [region["value"]["rectanglelabels"][0] for region in entry["result"]]
        assert sorted(labels) == sorted(cell[4] for cell in stub_plugin.random_cells(number))


def test_a_task_that_fails_gets_an_empty_list_and_its_reason_is_logged(
    app: flask.Flask, queues: RecordingQueues, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = web_stage.tasks(folder, 6)
    tasks[1]["data"] = {"image": str(folder / "gone.png")}
    tasks[2]["data"] = {}
    (folder / "text.png").write_text("not an image")
    tasks[3]["data"] = {"image": str(folder / "text.png")}
    tasks[4]["data"] = {"image": web_stage.image_file(folder, "crash.png", 4, (255, 0, 255))}
    with caplog.at_level(logging.WARNING):
        results = ask(app, "POST", "/predict", predict_body(tasks, stub_plugin.config())).json["results"]
    assert [entry == [] for entry in results] == [False, True, True, True, True, False]
    for number in (2, 3, 4, 5):
        assert f"task {number}: no prediction" in caplog.text
    time.sleep(0.1)
    assert queues.of_kind("finish") == [], "what failed would fail again"


def test_an_untrained_project_stores_nothing(app: flask.Flask, folder: Path) -> None:
    body = predict_body(web_stage.tasks(folder, 2), stub_plugin.config("bare"), project="8.1790000000")
    assert ask(app, "POST", "/predict", body).json == {"results": [[], []], "model_version": "stub-untrained"}


def test_no_tasks_no_entries(app: flask.Flask) -> None:
    assert ask(app, "POST", "/predict", predict_body([], stub_plugin.config())).json["results"] == []


def test_past_the_deadline_the_rest_is_left_to_a_job(folder: Path, stage: Any) -> None:
    slow = stub_plugin.config(delay_seconds=0.3)
    with web_stage.backend(folder, predict_deadline_seconds=10, inference_processes=2) as (app, queues):
        one = predict_body(web_stage.tasks(folder, 1), slow)
        web_stage.wait_until(lambda: ask(app, "POST", "/predict", one).json["results"] != [[]])
        queues.asked.clear()
        began = time.monotonic()
        reply = ask(app, "POST", "/predict", predict_body(web_stage.tasks(folder, 300), slow)).json
        assert time.monotonic() - began < 10 + 2 * web_stage.slowness()
        late = [number for number, entry in enumerate(reply["results"], start=1) if entry == []]
        assert 0 < len(late) < 300
        job = ("finish", PROJECT, late, reply["model_version"])
        web_stage.wait_until(lambda: job in queues.of_kind("finish"))


def test_one_bulk_request_too_many_is_left_to_a_job_at_once(
    app: flask.Flask, queues: RecordingQueues, folder: Path
) -> None:
    bulk = services.of(app).bulk
    taken = 0
    while bulk.acquire(blocking=False):
        taken += 1
    try:
        reply = ask(app, "POST", "/predict", predict_body(web_stage.tasks(folder, 5), stub_plugin.config())).json
        assert reply["results"] == [[]] * 5
        web_stage.wait_until(lambda: queues.of_kind("finish"))
        one = ask(app, "POST", "/predict", predict_body(web_stage.tasks(folder, 1), stub_plugin.config())).json
        assert one["results"][0]["result"]
    finally:
        bulk.release(taken)


# -- interactive calls


def drawn(box: tuple[float, float, float, float]) -> dict[str, Any]:
    x, y, width, height = box
    return {"type": "rectanglelabels", "value": {"x": x, "y": y, "width": width, "height": height, "rotation": 0}}


def test_an_interactive_call_gets_the_boxes_inside_what_was_drawn(app: flask.Flask, folder: Path) -> None:
    tasks = web_stage.tasks(folder, 1)
    everything = ask(
        app, "POST", "/predict", predict_body(tasks, stub_plugin.config(), {"result": [drawn((0, 0, 100, 100))]})
    ).json["results"][0]
    assert len(everything["result"]) == 4
    one = everything["result"][0]["value"]
    body = predict_body(
        tasks,
        stub_plugin.config(),
        {"result": [drawn((one["x"] - 1, one["y"] - 1, one["width"] + 2, one["height"] + 2))]},
    )
    assert [r["value"] for r in ask(app, "POST", "/predict", body).json["results"][0]["result"]] == [one]
    point = {
        "type": "keypointlabels",
        "value": {"x": one["x"] + 1, "y": one["y"] + 1, "width": 0.2, "keypointlabels": ["x"]},
    }
    body = predict_body(tasks, stub_plugin.config(), {"result": [point]})
    assert [r["value"] for r in ask(app, "POST", "/predict", body).json["results"][0]["result"]] == [one]


def test_regions_of_the_model_that_are_sent_along_ask_nothing(app: flask.Flask, folder: Path) -> None:
    everywhere = {**drawn((0, 0, 100, 100)), "origin": "prediction"}
    for region, expected in ((everywhere, 0), ({**everywhere, "origin": "manual"}, 4)):
        body = predict_body(web_stage.tasks(folder, 1), stub_plugin.config(), {"result": [region]})
        assert len(ask(app, "POST", "/predict", body).json["results"][0]["result"]) == expected


def test_of_boxes_that_were_drawn_with_a_label_only_the_last_one_asks(app: flask.Flask, folder: Path) -> None:
    """Label Studio sends along every box of that label, those of earlier answers too."""
    tasks = web_stage.tasks(folder, 1)
    everywhere = {"result": [drawn((0, 0, 100, 100))]}
    found = ask(app, "POST", "/predict", predict_body(tasks, stub_plugin.config(), everywhere)).json["results"][0]
    boxes = [{**region, "origin": "manual", "from_name": "cells"} for region in found["result"]]
    body = predict_body(tasks, stub_plugin.config(), {"result": boxes})
    (answer,) = ask(app, "POST", "/predict", body).json["results"][0]["result"]
    assert answer["value"] == boxes[-1]["value"]
    elsewhere = [{**region, "from_name": "around", "type": "rectangle"} for region in boxes]
    body = predict_body(tasks, stub_plugin.config(), {"result": elsewhere})
    assert len(ask(app, "POST", "/predict", body).json["results"][0]["result"]) == len(boxes)


@pytest.mark.parametrize(
    "region",
    [
        {},
        {"value": None},
        {"value": {}},
        {"value": {"x": "a", "y": 1, "width": 1, "height": 1}},
        {"value": {"rle": [1]}},
    ],
    ids=str,
)
def test_an_interactive_call_is_always_answered_with_a_dict(
    app: flask.Flask, folder: Path, region: dict[str, Any]
) -> None:
    tasks = web_stage.tasks(folder, 1)
    for context in ({"result": []}, {"result": [region]}):
        (entry,) = ask(app, "POST", "/predict", predict_body(tasks, stub_plugin.config(), context)).json["results"]
        assert entry["result"] == []
    tasks[0]["data"] = {"image": str(folder / "gone.png")}
    (entry,) = ask(app, "POST", "/predict", predict_body(tasks, stub_plugin.config(), {"result": [region]})).json[
        "results"
    ]
    assert entry["result"] == []


# -- webhooks, trainings, jobs


@pytest.mark.parametrize(
    "action",
    [
        "ANNOTATION_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATIONS_CREATED",
        "ANNOTATIONS_DELETED",
        "TASKS_CREATED",
        "TASKS_DELETED",
    ],
)
def test_what_a_model_could_learn_from_asks_for_a_training(
    app: flask.Flask, queues: RecordingQueues, action: str
) -> None:
    headers = {"X-Hemaloop-Secret": SECRET}
    assert ask(app, "POST", "/webhook", event(action), auth=None, headers=headers).status_code == 200
    web_stage.wait_until(lambda: queues.of_kind("training"))
    assert queues.of_kind("training") == [("training", PROJECT, action, False)]
    if action == "TASKS_CREATED":
        web_stage.wait_until(lambda: queues.of_kind("scores"))


@pytest.mark.parametrize("action", ["PROJECT_UPDATED", "PROJECT_CREATED", "LABEL_LINK_CREATED", "SOMETHING_NEW"])
def test_what_a_model_cannot_learn_from_starts_nothing(app: flask.Flask, queues: RecordingQueues, action: str) -> None:
    assert ask(app, "POST", "/webhook", event(action)).json["status"] == "ignored"
    time.sleep(0.1)
    assert queues.asked == []


def test_a_project_that_binds_no_model_starts_nothing(app: flask.Flask, queues: RecordingQueues) -> None:
    assert ask(app, "POST", "/webhook", event("ANNOTATION_CREATED", UNBOUND)).json["status"] == "ignored"
    time.sleep(0.1)
    assert queues.asked == []


def test_the_button_starts_a_training_and_names_its_job(app: flask.Flask, queues: RecordingQueues) -> None:
    assert ask(app, "POST", "/webhook", event("START_TRAINING")).json["job"] == "job-1"
    assert ask(app, "POST", "/train", {"project": PROJECT, "annotations": []}).json["job"] == "job-1"
    assert queues.of_kind("training") == [
        ("training", PROJECT, "START_TRAINING", True),
        ("training", PROJECT, "train", True),
    ]
    status = ask(app, "POST", "/job_status", {"job": "job-1"})
    assert status.json["job_status"] == "started"
    assert ask(app, "POST", "/job_status", {"job": "job-9"}).status_code == 410


def test_without_redis_a_webhook_is_answered_at_once_and_kept(app: flask.Flask, queues: RecordingQueues) -> None:
    queues.gone = True
    began = time.monotonic()
    assert ask(app, "POST", "/webhook", event("ANNOTATION_CREATED")).status_code == 200
    assert time.monotonic() - began < 0.1 * web_stage.slowness()
    button = ask(app, "POST", "/webhook", event("START_TRAINING"))
    assert button.status_code == 503
    assert "Redis" in button.json["error"]
    assert ask(app, "POST", "/job_status", {"job": "job-1"}).status_code == 503
    queues.gone = False
    web_stage.wait_until(lambda: queues.of_kind("training"))


# -- faults


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook", "/validate", "/job_status", "/delete", "/train"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 50_000, b'{"project": 3}'], ids=repr)
def test_a_body_that_is_wrong_is_refused_in_json(app: flask.Flask, path: str, body: bytes) -> None:
    reply = app.test_client().post(path, data=body[:60_000], auth=("hemaloop", PASSWORD))
    assert reply.status_code == 400
    assert isinstance(reply.json, dict)
    assert set(reply.json) == {"error"}


def test_a_body_that_is_too_long_is_refused(app: flask.Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.config, "MAX_CONTENT_LENGTH", 1000)
    reply = app.test_client().post("/predict", data=b"x" * 2000, auth=("hemaloop", PASSWORD))
    assert reply.status_code == 413
    assert isinstance(reply.json, dict)
    assert "1000 bytes" in reply.json["error"]


def test_an_unknown_address_and_a_wrong_method_are_refused_in_json(app: flask.Flask) -> None:
    assert set(ask(app, "GET", "/nothing").json) == {"error"}
    assert ask(app, "GET", "/nothing").status_code == 404
    assert ask(app, "GET", "/predict").status_code == 405
    assert ask(app, "GET", "/predict").headers["Allow"]


def test_what_nobody_expected_is_an_error_without_its_text(
    app: flask.Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise KeyError(f"{TOKEN} in the text of a foreign exception")

    monkeypatch.setattr(services.of(app).live, "of", broken)
    reply = ask(app, "POST", "/setup", SETUP)
    assert reply.status_code == 500
    for text in (reply.text, reply.status, caplog.text):
        assert TOKEN not in text
        assert "Traceback" not in text
    assert "KeyError" in caplog.text
    assert "test_web.py:" in caplog.text


def test_no_secret_and_no_traceback_in_any_reply_or_log(
    app: flask.Flask, queues: RecordingQueues, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret_body = SETUP | {"project": f"not a project {SECRET}", "access_token": [TOKEN]}
    task = {"id": 1, "data": {"image": f"http://user:{PASSWORD}@images.example/a.png?token={TOKEN}"}}
    texts = []
    for method, path, body in [
        *ROUTES,
        ("POST", "/setup", secret_body),
        ("POST", "/webhook", event("ANNOTATION_CREATED")),
        ("POST", "/webhook", event("START_TRAINING") | {"project": TOKEN}),
        ("POST", "/predict", predict_body([task], stub_plugin.config())),
        ("POST", "/predict", {"params": {"password": [PASSWORD]}}),
        ("POST", f"/{TOKEN[:5]}", None),
    ]:
        reply = ask(app, method, path, body)
        texts += [reply.text, reply.status, str(reply.headers)]
    queues.gone = True
    texts.append(ask(app, "POST", "/webhook", event("START_TRAINING")).text)
    texts.append(caplog.text)
    for text in texts:
        for secret in (PASSWORD, SECRET, TOKEN, "a-redis-password", "Traceback", 'File "/'):
            assert secret not in text


def test_anything_json_is_answered_without_a_server_error(app: flask.Flask, queues: RecordingQueues) -> None:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
    bodies = {
        "/setup": SETUP,
        "/predict": predict_body([{"id": 1, "data": {"image": "x"}}], stub_plugin.config()),
        "/webhook": event("ANNOTATION_CREATED", tasks=[{"id": 1}]),
        "/validate": {"config": stub_plugin.config()},
        "/job_status": {"job": "job-1"},
        "/delete": {"project": PROJECT},
        "/train": {"project": PROJECT},
        "/duplicate_model": {"project_src": PROJECT, "project_dst": PROJECT},
    }

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sorted(bodies)), st.data())
    def check(path: str, data: st.DataObject) -> None:
        body = dict(bodies[path])
        body[data.draw(st.sampled_from(sorted(body)))] = data.draw(values)
        raw = json.dumps(body).encode("utf-8", "surrogatepass")
        reply = app.test_client().post(path, data=raw, auth=("hemaloop", PASSWORD))
        assert reply.status_code < 500, (path, reply.text)

    check()
