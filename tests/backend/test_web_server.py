"""`hemaloop serve` as a process: quick answers beside slow ones, a clean end, and nothing heavy in memory."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import flask
import psutil
import pytest
import requests

import stub_plugin
import web_stage
from hemaloop.children import free_port
from hemaloop.web.server import SLOW_THREADS, Server
from web_stage import PASSWORD, PROJECT, SECRET, TOKEN, answers, predict_body, serving

AUTH = ("hemaloop", PASSWORD)
SETUP = {"project": PROJECT, "schema": stub_plugin.config(), "access_token": TOKEN}


def ended(process: psutil.Process) -> bool:
    """Also where nobody has asked for its exit status yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def asked(address: str, body: dict[str, Any], answered: list[Any]) -> threading.Thread:
    """Somebody who waits for a prediction. answered: gets the answer, or the error that a client sees."""

    def ask() -> None:
        try:
            answered.append(requests.post(f"{address}/predict", json=body, auth=AUTH, timeout=90).json())
        except requests.RequestException as error:
            answered.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_cleanly_with_every_child_and_lets_who_waits_go(tmp_path: Path, ending: int) -> None:
    with serving(tmp_path) as (address, process, log):
        slow = stub_plugin.config(delay_seconds=30)
        body = predict_body(web_stage.tasks(tmp_path, 1), slow)
        replies: list[Any] = []
        web_stage.wait_until(lambda: len(children(process)) >= 3)
        waiting = asked(address, body, replies)
        time.sleep(1.5)
        started = children(process)
        began = time.monotonic()
        # Ctrl-C reaches the whole foreground group.
        os.killpg(process.pid, ending) if ending == signal.SIGINT else process.send_signal(ending)
        process.wait(60)
        assert time.monotonic() - began < 15 * web_stage.slowness()
        waiting.join(30)
        assert replies == [{"results": [[]], "model_version": "stub-blobs-starter-1"}]
        web_stage.wait_until(lambda: all(map(ended, started)))
        assert process.returncode == 0
        assert "Traceback" not in log.read_text()


def test_children_do_not_outlive_a_killed_owner(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, process, _log):
        web_stage.wait_until(lambda: len(children(process)) >= 3)
        started = children(process)
        process.kill()
        process.wait()
        web_stage.wait_until(lambda: all(map(ended, started)))


def predicting(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [child for child in children(process) if "hemaloop.inference" in child.cmdline()]


def test_a_server_killed_in_a_prediction_is_an_error_to_who_waits_leaves_nothing_behind_and_starts_again(
    tmp_path: Path,
) -> None:
    slow = predict_body(web_stage.tasks(tmp_path, 1), stub_plugin.config(delay_seconds=30))
    answered: list[Any] = []
    with serving(tmp_path, HEMALOOP_INFERENCE_PROCESSES="1") as (address, process, _log):
        web_stage.wait_until(lambda: predicting(process))
        waiting = asked(address, slow, answered)
        time.sleep(1.5)
        started = children(process)
        process.kill()
        process.wait()
        web_stage.wait_until(lambda: all(map(ended, started)), 2.0 * web_stage.slowness())
        waiting.join(10)
        assert isinstance(answered[0], requests.ConnectionError)
    with serving(tmp_path, HEMALOOP_INFERENCE_PROCESSES="1") as (address, _, log):
        quick = predict_body(web_stage.tasks(tmp_path, 1), stub_plugin.config())
        found = requests.post(f"{address}/predict", json=quick, auth=AUTH, timeout=60).json()
        assert found["results"][0]["result"]
        assert "Traceback" not in log.read_text()
    halves = [path for path in (tmp_path / "data").rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"]
    assert not halves, "no half file is left"


def test_an_inference_process_killed_in_a_prediction_is_replaced_and_who_waits_is_answered(tmp_path: Path) -> None:
    slow = predict_body(web_stage.tasks(tmp_path, 1), stub_plugin.config(delay_seconds=3))
    answered: list[Any] = []
    with serving(tmp_path, HEMALOOP_INFERENCE_PROCESSES="1") as (address, process, _log):
        (before,) = web_stage.wait_until(lambda: predicting(process))
        waiting = asked(address, slow, answered)
        time.sleep(1.5)
        before.kill()
        waiting.join(60)
        assert answered[0]["results"][0]["result"]
        (after,) = predicting(process)
        assert after.pid != before.pid


def test_no_secret_and_no_traceback_is_logged(tmp_path: Path) -> None:
    with serving(tmp_path) as (address, process, log):
        requests.post(f"{address}/setup", json=SETUP, auth=AUTH, timeout=60)
        requests.post(f"{address}/setup", json={**SETUP, "project": TOKEN}, auth=AUTH, timeout=60)
        requests.post(f"{address}/predict", json={"password": PASSWORD}, auth=("hemaloop", "guess"), timeout=60)
        task = {"id": 1, "data": {"image": f"http://127.0.0.1:9/data/upload/1/a.png?token={TOKEN}"}}
        requests.post(f"{address}/predict", json=predict_body([task], stub_plugin.config()), auth=AUTH, timeout=120)
        event = {
            "action": "ANNOTATION_CREATED",
            "project": {"id": 7, "created_at": "2026-09-21T14:13:20Z", "token": TOKEN},
        }
        requests.post(f"{address}/webhook", json=event, headers={"X-Hemaloop-Secret": SECRET}, timeout=60)
        requests.get(f"{address}/health?key={TOKEN}", timeout=60)
        redis = json.loads((tmp_path / "data" / "redis.json").read_text())
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        text = log.read_text()
        assert "/predict" in text
        assert "task 1: no prediction" in text
        for secret in (PASSWORD, SECRET, TOKEN, redis["password"], "guess", "Traceback"):
            assert secret not in text


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    with serving(tmp_path) as (address, _, _log):
        port = address.rpartition(":")[2]
        second = subprocess.run(
            [sys.executable, "-c", "from hemaloop.cli import main; main()", "serve", "--port", port],
            env={
                **os.environ,
                "HEMALOOP_PASSWORD": PASSWORD,
                "HEMALOOP_WEBHOOK_SECRET": SECRET,
                "HEMALOOP_DATA_DIR": str(tmp_path / "other"),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert second.returncode == 1
        assert f"127.0.0.1:{port} cannot be listened on" in second.stderr
        assert "Traceback" not in second.stderr


def test_the_web_process_imports_neither_torch_nor_the_sdk(tmp_path: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(Path(web_stage.__file__).parent)!r})
sys.path.insert(0, {str(stub_plugin.DISTRIBUTION)!r})
from pathlib import Path
import web_stage, stub_plugin
from hemaloop import registry
registry.all_registered()
import hemaloop.cli.serve, hemaloop.web.server, hemaloop.redis_server
with web_stage.backend(Path({str(tmp_path)!r}), inference_processes=1) as (app, queues):
    config = stub_plugin.config()
    setup = {{"project": web_stage.PROJECT, "schema": config}}
    assert web_stage.ask(app, "POST", "/setup", setup).status_code == 200
    assert web_stage.ask(app, "POST", "/validate", {{"config": config}}).status_code == 200
    body = web_stage.predict_body(web_stage.tasks(Path({str(tmp_path)!r}), 2), config)
    assert web_stage.ask(app, "POST", "/predict", body).json["results"][0]["result"]
    cbc = config.replace('model_family="stub" model_preset="blobs"', 'model_family="faster_rcnn"')
    web_stage.ask(app, "POST", "/setup", {{"project": "2.2", "schema": cbc}})
    page = f"/ui/projects/{{web_stage.PROJECT}}"
    for path in ("/ui/", page, f"{{page}}/parts/now", "/metrics"):
        assert web_stage.ask(app, "GET", path).status_code == 200, path
unwanted = ("torch", "torchvision", "label_studio_sdk", "matplotlib", "scipy", "skimage")
heavy = sorted(name for name in unwanted if name in sys.modules)
assert not heavy, heavy
"""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(stub_plugin.DISTRIBUTION), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr


def test_predictions_that_fill_every_slow_thread_hold_up_no_quick_answer(tmp_path: Path) -> None:
    app = flask.Flask("slow")
    release = threading.Event()

    @app.post("/predict")
    def predict() -> str:
        release.wait(120)
        return "done"

    @app.get("/health")
    def health() -> str:
        return "up"

    server = Server(app, web_stage.settings(tmp_path, port=free_port()), release.set)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.port}"
    web_stage.wait_until(lambda: answers(address))
    with concurrent.futures.ThreadPoolExecutor(SLOW_THREADS + 10) as pool:
        slow = [
            pool.submit(requests.post, f"{address}/predict", data=b"{}", timeout=60) for _ in range(SLOW_THREADS + 10)
        ]
        time.sleep(1.0)
        waits = []
        for _ in range(50):
            began = time.monotonic()
            assert requests.get(f"{address}/health", timeout=60).text == "up"
            waits.append(time.monotonic() - began)
        assert sorted(waits)[-3] < 0.2 * web_stage.slowness()
        release.set()
        assert all(one.result().text == "done" for one in slow)
    server.stop()
    thread.join(30)
    assert not thread.is_alive()
