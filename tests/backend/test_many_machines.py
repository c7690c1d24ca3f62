"""A laboratory of several machines: each process has folders of its own; a Redis behind TLS and objects are shared."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import loop_stage
import stub_plugin
from hemaloop.queues import Queues
from hemaloop.supervisor import environment
from loop_stage import PROJECT, Studio, wait_until
from many_machines import BUCKET, machine, object_store, over_tls
from web_stage import PASSWORD, TOKEN, serving

PATIENCE = 240.0
CONFIG = stub_plugin.config("bare")


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Studio]:
    stub_plugin.install(monkeypatch)
    with loop_stage.label_studio(CONFIG) as studio:
        pictures = tmp_path / "pictures"
        pictures.mkdir()
        for number in studio.add_images(pictures, 30)[:15]:
            studio.annotate(number)
        yield studio


@pytest.fixture
def shared(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Settings that every machine has alike."""
    with object_store() as found, over_tls(redis_url, tmp_path) as secured:
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        yield {"redis_url": secured, "artifacts_url": f"s3://{BUCKET}/hemaloop", "image_folders": (tmp_path,)}


def version_of(address: str) -> str:
    body = {"project": PROJECT, "schema": CONFIG, "access_token": TOKEN}
    reply = requests.post(f"{address}/setup", json=body, auth=("hemaloop", PASSWORD), timeout=60)
    return str(reply.json()["model_version"])


def test_a_model_trained_on_one_machine_serves_on_two_others_within_two_seconds_of_each_other(
    studio: Studio, shared: dict[str, Any], tmp_path: Path
) -> None:
    folders = {name: tmp_path / name for name in ("web-1", "web-2", "work-1", "work-2")}
    for folder in folders.values():
        folder.mkdir()
    chosen = {name: loop_stage.settings(folder, studio.url, **shared) for name, folder in folders.items()}
    web = {
        name: {key: value for key, value in environment(chosen[name]).items() if key != "HEMALOOP_PORT"}
        for name in ("web-1", "web-2")
    }
    training, scoring = (
        (["worker", "--no-reconcile", "--queues", queues], environment(chosen[name]), folders[name] / "log")
        for name, queues in (("work-1", "train"), ("work-2", "score,push"))
    )
    with (
        serving(folders["web-1"], **web["web-1"]) as (first, _, _),
        serving(folders["web-2"], **web["web-2"]) as (second, _, log),
        machine(*training),
        machine(*scoring),
    ):
        before = {version_of(first), version_of(second)}
        assert len(before) == 1
        queues = Queues(chosen["web-1"])
        queues.request_training(PROJECT, "test", now=True)
        seen: dict[str, float] = {}

        def switched() -> bool:
            for address in (first, second):
                if address not in seen and version_of(address) not in before:
                    seen[address] = time.monotonic()
            return len(seen) == 2

        wait_until(switched, "the new model on both machines", PATIENCE)
        assert abs(seen[first] - seen[second]) < 2.0
        assert version_of(first) == version_of(second) == studio.model_version
        (task,) = [{"id": 16, "data": studio.tasks[16]["data"], "project": 7}]
        body = {"tasks": [task], "project": PROJECT, "label_config": CONFIG, "params": {}}
        reply = requests.post(f"{second}/predict", json=body, auth=("hemaloop", PASSWORD), timeout=120).json()
        assert reply["results"][0]["result"], log.read_text()
        assert not (folders["web-2"] / "data" / "artifacts").exists()
        assert not (folders["web-2"] / "data" / "redis.json").exists()
        queues.close()


def test_a_redis_whose_certificate_nobody_vouches_for_is_refused(redis_url: str, tmp_path: Path) -> None:
    from hemaloop.errors import QueueError

    with over_tls(redis_url, tmp_path) as secured:
        trusted = Queues(loop_stage.settings(tmp_path, redis_url=secured))
        trusted.remember(PROJECT)
        trusted.close()
        unknown = Queues(loop_stage.settings(tmp_path, redis_url=secured.partition("?")[0]))
        with pytest.raises(QueueError, match="Redis"):
            unknown.remember(PROJECT)
