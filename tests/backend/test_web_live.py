"""A publication is in force within two seconds, without a restart and without a request that fails in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stub_plugin
import web_stage
from hemaloop.errors import LabelConfigError, StoreError
from hemaloop.labelconfig import parse_label_config
from hemaloop.live import LiveModels
from hemaloop.projects import LiveModel
from hemaloop.store import ArtifactStore, Published
from hemaloop.web import services
from web_stage import PROJECT, ask, predict_body, publish


@pytest.fixture(autouse=True)
def stub() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        stub_plugin.install(patch)
        yield
    stub_plugin.forget()


def test_publishing_and_rolling_back_switch_every_answer_within_two_seconds(tmp_path: Path) -> None:
    config = stub_plugin.config()
    setup = {"project": PROJECT, "schema": config}
    with web_stage.backend(tmp_path, inference_processes=2) as (app, _):
        body = predict_body(web_stage.tasks(tmp_path, 1), config)
        seen: list[tuple[float, str, str]] = []
        stop = threading.Event()

        def keep_asking() -> None:
            while not stop.is_set():
                began = time.monotonic()
                says = ask(app, "POST", "/setup", setup).json["model_version"]
                (entry,) = ask(app, "POST", "/predict", body).json["results"]
                seen.append((began, says, entry["model_version"] if entry else "nothing"))

        askers = [threading.Thread(target=keep_asking) for _ in range(2)]
        for asker in askers:
            asker.start()
        try:
            web_stage.wait_until(lambda: len(seen) > 5)
            switched = [switch(app, config, seen, publish(app, config, shift)) for shift in (0, 1)]
            rolled_back_to = switched[0][0]
            store = services.of(app).store
            store.publish(PROJECT, Published(rolled_back_to, {"cells": rolled_back_to}))
            switched.append(switch(app, config, seen, rolled_back_to))
        finally:
            stop.set()
            for asker in askers:
                asker.join()
    versions = [version for version, _ in switched]
    assert len(set(versions)) == 2
    assert {version for _, _, version in seen} == {"stub-blobs-starter-1", *versions}, "no request failed"
    assert all(seconds < 2 * web_stage.slowness() for _, seconds in switched)


def switch(app: Any, config: str, seen: list[tuple[float, str, str]], version: str) -> tuple[str, float]:
    """Seconds from a publication until a request that began later was answered by it, setup and predict alike."""
    began = time.monotonic()
    web_stage.wait_until(lambda: seen[-1][1:] == (version, version) and seen[-1][0] > began)
    return version, seen[-1][0] - began


def test_two_projects_have_models_of_their_own(tmp_path: Path) -> None:
    config = stub_plugin.config()
    with web_stage.backend(tmp_path, inference_processes=1) as (app, _):
        trained = publish(app, config, project="1.1790000000")
        versions = {
            project: ask(app, "POST", "/setup", {"project": project, "schema": config}).json["model_version"]
            for project in ("1.1790000000", "2.1790000000", "1.1790000001")
        }
        assert versions == {
            "1.1790000000": trained,
            "2.1790000000": "stub-blobs-starter-1",
            "1.1790000001": "stub-blobs-starter-1",
        }


def test_a_duplicate_starts_with_the_model_of_its_source(tmp_path: Path) -> None:
    config = stub_plugin.config()
    with web_stage.backend(tmp_path, inference_processes=1) as (app, _):
        other = {"project": "9.1790000000", "schema": config}
        assert ask(app, "POST", "/setup", other).json["model_version"] == "stub-blobs-starter-1"
        trained = publish(app, config)
        reply = ask(app, "POST", "/duplicate_model", {"project_src": PROJECT, "project_dst": "9.1790000000"})
        assert reply.json["model_version"] == trained
        assert ask(app, "POST", "/setup", other).json["model_version"] == trained


def test_a_config_that_differs_only_in_its_starter_is_another_config(tmp_path: Path) -> None:
    config = stub_plugin.config()
    bare = config.replace('model_preset="blobs"', 'model_preset="blobs" model_starter="none"')
    live = LiveModels(ArtifactStore(tmp_path.as_uri()))
    assert live.of(PROJECT, parse_label_config(config)).version == "stub-blobs-starter-1"
    assert live.of(PROJECT, parse_label_config(bare)).version == "stub-untrained"


def test_a_wrong_option_is_found_when_the_project_connects(tmp_path: Path) -> None:
    live = LiveModels(ArtifactStore(tmp_path.as_uri()))
    with pytest.raises(LabelConfigError, match="threshold"):
        live.of(PROJECT, parse_label_config(stub_plugin.config(threshold="loud")))


class BrokenStore(ArtifactStore):
    """A store that can be taken away."""

    gone = False

    def published(self, project: str) -> Published | None:
        if self.gone:
            raise StoreError("the store cannot be reached")
        return super().published(project)


def test_a_store_that_is_gone_leaves_the_model_that_serves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = BrokenStore(tmp_path.as_uri())
    live = LiveModels(store)
    config = parse_label_config(stub_plugin.config())
    before = live.of(PROJECT, config)
    store.gone = True
    live.refresh()
    live.refresh()
    assert live.of(PROJECT, config) == before
    assert caplog.text.count("cannot be reached") == 1


def test_whoever_serves_is_told_of_each_new_model_once(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []

    def note(project: str, config: Any, live: LiveModel) -> None:
        told.append((project, live.version))

    live = LiveModels(ArtifactStore(tmp_path.as_uri()), note)
    config = parse_label_config(stub_plugin.config())
    for _ in range(3):
        live.of(PROJECT, config)
        live.refresh()
    assert told == [(PROJECT, "stub-blobs-starter-1")]
    live.forget(PROJECT)
    assert live.versions() == []


def test_a_backend_that_starts_again_knows_its_projects(tmp_path: Path) -> None:
    store, memory = ArtifactStore((tmp_path / "store").as_uri()), tmp_path / "data" / "projects.json"
    config = parse_label_config(stub_plugin.config())
    first = LiveModels(store, memory=memory)
    first.of(PROJECT, config)
    first.of("8.1790000000", config)
    first.forget("8.1790000000")
    told: list[str] = []
    with LiveModels(store, lambda project, _, __: told.append(project), memory=memory) as second:
        web_stage.wait_until(lambda: told)
        assert second.versions() == ["stub-blobs-starter-1"]
    assert told == [PROJECT]


@pytest.mark.parametrize("content", ["", "{", "3", '[["x"]]', '[["1.1", "<View>"]]', "\x00"])
def test_a_damaged_memory_of_projects_is_reported_and_passed_over(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    memory = tmp_path / "projects.json"
    memory.write_text(content)
    with LiveModels(ArtifactStore(tmp_path.as_uri()), memory=memory, refresh_seconds=0.01) as live:
        web_stage.wait_until(lambda: "the projects of the last time" in caplog.text)
        assert live.of(PROJECT, parse_label_config(stub_plugin.config())).version == "stub-blobs-starter-1"
