"""Log lines: what they are about, and that no secret of a running system gets into any of them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

import loop_stage
import stub_plugin
import web_stage
from hemaloop import logs
from web_stage import PASSWORD, SECRET, TOKEN, predict_body, serving

AUTH = ("hemaloop", PASSWORD)


@pytest.fixture(autouse=True)
def _no_secret_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_secrets", set())


def record(message: str, *arguments: Any) -> logging.LogRecord:
    return logging.LogRecord("hemaloop.test", logging.INFO, __file__, 1, message, arguments, None)


def test_a_json_line_is_one_object_whatever_the_message_holds() -> None:
    with logs.about(logs.request_id, "r-1"), logs.about(logs.job_id, "j-1"):
        line = logs.Json().format(record('quote " newline \n {"level": "fake"} %s', "é"))
    assert "\n" not in line
    entry = json.loads(line)
    assert entry["message"] == 'quote " newline \n {"level": "fake"} é'
    assert (entry["level"], entry["request"], entry["job"]) == ("INFO", "r-1", "j-1")
    assert "job" not in json.loads(logs.Json().format(record("later")))


def test_a_text_line_says_what_it_is_about() -> None:
    with logs.about(logs.job_id, "0123456789"):
        assert logs.Text().format(record("trained")).endswith("INFO hemaloop.test: trained (job 01234567)")


@pytest.mark.parametrize("form", [logs.Json, logs.Text])
def test_a_known_secret_is_struck_out_also_from_a_foreign_exception(form: type[logging.Formatter]) -> None:
    logs.hide("redis://:p/ss word@host:6379/0".replace("p/ss word", "p%2Fss-word"))
    logs.hide('he said "hello"')
    one = record("failed with %s", 'he said "hello"')
    one.exc_info = (ValueError, ValueError('cannot use he said "hello" at p%2Fss-word'), None)
    line = form().format(one)
    assert "hello" not in line
    assert "ss-word" not in line
    assert logs.STRUCK in line


def test_no_log_of_a_running_system_holds_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_plugin.install(monkeypatch)
    with loop_stage.label_studio(stub_plugin.config("bare")) as studio:
        for task in studio.add_images(tmp_path, 16)[:12]:
            studio.annotate(task)
        policy = {
            "LABEL_STUDIO_URL": studio.url,
            "HEMALOOP_GATE_MIN_IMAGES": "1",
            "HEMALOOP_LOG_FORMAT": "json",
            "HEMALOOP_TRAIN_DEBOUNCE_SECONDS": "0",
            "HEMALOOP_TRAIN_NICENESS": "0",
        }
        with serving(tmp_path, **policy) as (address, _, served):
            worked = tmp_path / "worker.log"
            with worked.open("wb") as output:
                worker = subprocess.Popen(
                    [sys.executable, "-m", "hemaloop", "worker"],
                    env={**os.environ, **environment(tmp_path), **policy},
                    cwd=tmp_path,
                    stdout=output,
                    stderr=output,
                )
            try:
                use(address, studio, tmp_path)
            finally:
                worker.terminate()
                worker.wait(60)
            password = json.loads((tmp_path / "data" / "redis.json").read_text())["password"]
            lines = [*served.read_text().splitlines(), *worked.read_text().splitlines()]
    text = "\n".join(lines)
    assert "cannot be read" in text or "no prediction" in text, "failures were logged"
    assert '"job": "' in text
    assert '"request": "known-request-1"' in text
    for secret in (PASSWORD, SECRET, TOKEN, password, "a-guessed-password", "signature-of-an-image", "Traceback"):
        assert secret not in text, secret
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(entries) > 20
    assert [line for line in lines if not line.startswith("{")] == [f"hemaloop serves on {address} (Ctrl-C stops it)"]


def environment(folder: Path) -> dict[str, str]:
    return {
        "HEMALOOP_PASSWORD": PASSWORD,
        "HEMALOOP_WEBHOOK_SECRET": SECRET,
        "HEMALOOP_DATA_DIR": str(folder / "data"),
        "HEMALOOP_IMAGE_FOLDERS": str(folder),
        "HEMALOOP_LOG_LEVEL": "DEBUG",
        "LABEL_STUDIO_API_KEY": TOKEN,
    }


def use(address: str, studio: loop_stage.Studio, folder: Path) -> None:
    """What happens in a laboratory, faults and guesses included."""
    image = {"id": 1, "data": {"image": "http://127.0.0.1:9/a.png?X-Amz-Signature=signature-of-an-image"}}
    body = predict_body([image], stub_plugin.config(), project=loop_stage.PROJECT)
    headers = {"X-Request-ID": "known-request-1"}
    reply = requests.post(f"{address}/predict", json=body, auth=AUTH, headers=headers, timeout=120)
    assert reply.headers["X-Request-ID"] == "known-request-1"
    requests.post(f"{address}/predict", json=body, auth=("hemaloop", "a-guessed-password"), timeout=60)
    setup = {"project": loop_stage.PROJECT, "schema": studio.config, "access_token": TOKEN}
    requests.post(f"{address}/setup", json=setup, auth=AUTH, timeout=60)
    requests.post(f"{address}/train", json={"project": loop_stage.PROJECT}, auth=AUTH, timeout=60)
    session = requests.Session()
    token = session.get(f"{address}/ui/sign-in", timeout=60).text.partition('name="token" value="')[2].partition('"')[0]
    for password in ("a-guessed-password", PASSWORD):
        data = {"name": "hemaloop", "password": password, "token": token}
        session.post(f"{address}/ui/sign-in", data=data, timeout=60)
    page = f"{address}/ui/projects/{loop_stage.PROJECT}"
    web_stage.wait_until(lambda: time.sleep(0.3) or "Most relevant next" in session.get(page, timeout=60).text)
    trained = 'hemaloop_jobs_total{kind="train",outcome="finished"}'

    def told() -> str:
        time.sleep(0.3)
        text = requests.get(f"{address}/metrics", auth=AUTH, timeout=60).text
        return text if trained in text else ""

    metrics = web_stage.wait_until(told)
    assert 'hemaloop_trainings_total{family="stub",outcome="promoted"} 1.0' in metrics
    assert TOKEN not in metrics
