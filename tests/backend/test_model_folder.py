"""A model folder is whole or not there, and opens again as what was saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import stub_plugin
from hemaloop import registry
from hemaloop.errors import PluginError, PluginNotFound, StoreError
from hemaloop.model_folder import open_model, preset_of, read_manifest, write_model
from hemaloop.plugin import Detections, Example, Plugin, Silent
from hemaloop.store import MANIFEST, Manifest


@pytest.fixture(autouse=True)
def _stub(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    stub_plugin.install(monkeypatch)
    yield
    stub_plugin.forget()


@pytest.fixture
def plugin() -> Plugin:
    cells = stub_plugin.random_cells(1)
    truth = Detections.truth([cell[:4] for cell in cells], [list(stub_plugin.COLOURS).index(cell[4]) for cell in cells])
    fitted = registry.find("stub")(("red", "green", "blue"), {"threshold": "70"}, seed=3)
    fitted.fit([Example(stub_plugin.draw(cells), truth, "key")], [], Silent())
    return fitted


def manifest(plugin: Plugin) -> Manifest:
    return Manifest(
        plugin.family,
        plugin.version,
        plugin.labels,
        plugin.options.model_dump(mode="json"),
        seed=plugin.seed,
        train=("a",),
    )


def test_a_written_model_opens_as_what_it_was(plugin: Plugin, tmp_path: Path) -> None:
    write_model(tmp_path / "model", plugin, manifest(plugin), {"figures.json": "{}"})
    opened = open_model(str(tmp_path / "model"), "cpu")
    assert opened.plugin.labels == plugin.labels
    assert opened.plugin.options == plugin.options
    assert opened.plugin.seed == 3
    assert opened.manifest is not None
    assert opened.manifest.seen == {"a"}
    image = stub_plugin.draw(stub_plugin.random_cells(2))
    (before,), (after,) = plugin.predict([image]), opened.plugin.predict([image])
    assert isinstance(before, Detections)
    assert isinstance(after, Detections)
    assert np.array_equal(before.boxes, after.boxes)
    assert np.array_equal(before.scores, after.scores)
    assert (tmp_path / "model" / "figures.json").read_text() == "{}"


def test_writing_again_replaces_and_leaves_nothing_beside_it(plugin: Plugin, tmp_path: Path) -> None:
    write_model(tmp_path / "model", plugin, manifest(plugin), {"old.json": "{}"})
    write_model(tmp_path / "model", plugin, manifest(plugin))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not (tmp_path / "model" / "old.json").exists()


def test_a_failed_write_leaves_the_old_model_and_no_remains(plugin: Plugin, tmp_path: Path) -> None:
    write_model(tmp_path / "model", plugin, manifest(plugin))
    with pytest.raises(StoreError, match="cannot be written"):
        write_model(tmp_path / "model", plugin, manifest(plugin), {"no/such/folder": ""})
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert open_model(str(tmp_path / "model"), "cpu")


def test_a_changed_file_is_refused(plugin: Plugin, tmp_path: Path) -> None:
    write_model(tmp_path / "model", plugin, manifest(plugin))
    (name,) = read_manifest(tmp_path / "model").files or ("",)
    (tmp_path / "model" / name).write_bytes(b"other")
    with pytest.raises(StoreError, match="was changed after training"):
        open_model(str(tmp_path / "model"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "found no manifest.json"),
        ("{", "cannot be read as JSON"),
        ("[]", "expected an object with family"),
        ('{"family": "stub", "plugin_version": "1", "labels": [], "options": {}, "files": 3}', "an object under files"),
        ('{"family": "stub"}', "expected an object with family"),
        ('{"family": "stub", "plugin_version": "1", "labels": "red", "options": {}}', "expected a list of names"),
        ('{"family": "stub", "plugin_version": "1", "labels": [1], "options": {}}', "expected a list of names"),
        ('{"family": "stub", "plugin_version": "1", "labels": ["red"], "options": []}', "an object under options"),
    ],
)
def test_a_folder_that_is_no_model_says_why(content: str | None, says: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(StoreError, match=says):
        open_model(str(tmp_path))


def test_a_family_that_is_not_installed_is_named(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(
        json.dumps({"family": "gone", "plugin_version": "1", "labels": ["a"], "options": {}})
    )
    with pytest.raises(PluginNotFound, match="'gone'"):
        open_model(str(tmp_path))


def test_starter_weights_open_by_preset() -> None:
    opened = open_model("starter:blobs", "cpu")
    assert opened.plugin.fitted
    assert opened.name == "stub-blobs-starter-1"
    assert open_model("starter:stub/blobs", "cpu").name == opened.name


def test_unknown_starter_weights_list_those_there_are() -> None:
    with pytest.raises(PluginNotFound, match="starter:blobs"):
        open_model("starter:nothing")


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(PluginError, match="presets: blobs, bare"):
        preset_of(registry.find("stub"), "cbc")
