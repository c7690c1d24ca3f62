from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

import stub_plugin
from hemaloop.errors import StoreError
from hemaloop.plugin import Detections, Example, Plugin, Silent
from hemaloop.store import ArtifactStore, Manifest, Published, safe_name

PROJECT = "7.1763000000"
MANIFEST = Manifest(family="stub", plugin_version="1", labels=("red", "green", "blue"), options={})


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore((tmp_path / "artifacts").as_uri())


def fitted(monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> Plugin:
    stub_plugin.install(monkeypatch)
    from hemaloop import registry

    plugin = registry.find("stub")(("red", "green", "blue"))
    cells = stub_plugin.random_cells(seed)
    truth = Detections.truth([cell[:4] for cell in cells], [plugin.labels.index(cell[4]) for cell in cells])
    plugin.fit([Example(stub_plugin.draw(cells) + np.uint8(seed), truth, "k")], [], Silent())
    return plugin


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Plugin:
    return fitted(monkeypatch)


def test_a_stored_model_loads_again_and_predicts_the_same(store: ArtifactStore, plugin: Plugin) -> None:
    version = store.put(PROJECT, "cells", plugin, MANIFEST)
    again = type(plugin)(plugin.labels)
    again.load(store.directory(PROJECT, "cells", version))
    image = stub_plugin.draw(stub_plugin.random_cells(3))
    first, second = plugin.predict([image])[0], again.predict([image])[0]
    assert isinstance(first, Detections)
    assert isinstance(second, Detections)
    assert np.array_equal(first.boxes, second.boxes)


def test_versions_name_family_number_and_content(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = [store.put(PROJECT, "cells", fitted(monkeypatch, seed), MANIFEST) for seed in (0, 1)]
    assert [version.rpartition("-")[0] for version in versions] == ["stub-0001", "stub-0002"]
    assert versions[0][-6:] != versions[1][-6:]
    assert store.versions(PROJECT, "cells") == versions


def test_the_same_model_has_the_same_hash(store: ArtifactStore, plugin: Plugin) -> None:
    first, second = (store.put(PROJECT, "cells", plugin, MANIFEST) for _ in range(2))
    assert first[-6:] == second[-6:]
    assert first != second


def test_an_artifact_without_its_manifest_does_not_exist(store: ArtifactStore, plugin: Plugin) -> None:
    version = store.put(PROJECT, "cells", plugin, MANIFEST)
    (store.directory(PROJECT, "cells", version) / "manifest.json").unlink()
    assert store.versions(PROJECT, "cells") == []
    with pytest.raises(StoreError, match=f"{version}.*not there; stored: none"):
        store.promote(PROJECT, "cells", version)


def test_a_manifest_comes_back_as_it_was(store: ArtifactStore, plugin: Plugin) -> None:
    told = Manifest(
        family="stub",
        plugin_version="1",
        labels=("red", "green", "blue"),
        options={"threshold": 60},
        train=("a", "b"),
        tune=("c",),
        gate=("d",),
        epochs=({"loss": 1.0},),
        notes=("no example of 'blue'",),
    )
    version = store.put(PROJECT, "cells", plugin, told)
    found = store.manifest(PROJECT, "cells", version)
    assert (found.train, found.tune, found.gate, found.epochs, found.notes) == (
        told.train,
        told.tune,
        told.gate,
        told.epochs,
        told.notes,
    )
    assert found.seen == {"a", "b", "c"}
    assert found.files


def test_a_promotion_is_undone_by_a_rollback(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (store.put(PROJECT, "cells", fitted(monkeypatch, seed), MANIFEST) for seed in (0, 1))
    assert store.promoted(PROJECT, "cells") is None
    store.promote(PROJECT, "cells", first)
    store.promote(PROJECT, "cells", second)
    assert store.rollback(PROJECT, "cells") == first
    assert store.promoted(PROJECT, "cells") == first
    assert store.rollback(PROJECT, "cells") is None
    with pytest.raises(StoreError, match="none to go back to"):
        store.rollback(PROJECT, "cells")


def test_publications_are_remembered_and_one_that_returns_takes_its_old_place(store: ArtifactStore) -> None:
    assert store.published(PROJECT) is None
    for version in ("a", "b", "c"):
        store.publish(PROJECT, Published(version, {"cells": version}))
    assert store.published(PROJECT) == Published("c", {"cells": "c"})
    store.publish(PROJECT, Published("b", {"cells": "b"}))
    assert [entry.version for entry in store.history(PROJECT)] == ["b", "a"]


def test_projects_and_controls_never_share_a_folder(store: ArtifactStore, plugin: Plugin, tmp_path: Path) -> None:
    names = [
        "cells",
        "Cells",
        "CELLS",
        "../cells",
        "cells/x",
        "",
        ".",
        "..",
        "_scratch",
        "published.json",
        "é",
        "a" * 300,
    ]
    assert len({safe_name(name).lower() for name in names}) == len(names)
    versions = {name: store.put(PROJECT, name, plugin, MANIFEST) for name in names}
    assert all(store.versions(PROJECT, name) == [version] for name, version in versions.items())
    assert {path.name for path in tmp_path.iterdir()} == {"artifacts"}


def test_a_project_that_was_made_anew_under_an_old_number_starts_empty(store: ArtifactStore, plugin: Plugin) -> None:
    store.put("7.1", "cells", plugin, MANIFEST)
    assert store.versions("7.2", "cells") == []


def test_a_reader_never_sees_half_a_pointer(store: ArtifactStore) -> None:
    done = threading.Event()

    def write() -> None:
        for number in range(150):
            store.publish(PROJECT, Published(f"v{number}", {"cells": "x" * 2000}))
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        found = store.published(PROJECT)
        assert found is None or len(found.parts["cells"]) == 2000
    thread.join()


def test_a_broken_pointer_is_named(store: ArtifactStore, tmp_path: Path) -> None:
    store.publish(PROJECT, Published("a", {}))
    path = next(tmp_path.rglob("published.json"))
    path.write_text("{")
    with pytest.raises(StoreError, match=r"published\.json: not JSON"):
        store.published(PROJECT)
    path.write_text(json.dumps({"entries": [{"foreign": 1}]}))
    with pytest.raises(StoreError, match="not written by hemaloop"):
        store.published(PROJECT)


def test_a_store_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match=r"published\.json: cannot be (read|written)"):
        ArtifactStore((tmp_path / "artifacts").as_uri()).publish(PROJECT, Published("a", {}))


def test_a_remote_artifact_is_copied_once_and_checked(tmp_path: Path, plugin: Plugin) -> None:
    remote = ArtifactStore("memory://hemaloop-test", cache=tmp_path)
    version = remote.put(PROJECT, "cells", plugin, MANIFEST)
    folder = remote.directory(PROJECT, "cells", version)
    type(plugin)(plugin.labels).load(folder)
    assert remote.directory(PROJECT, "cells", version) == folder
    other = ArtifactStore("memory://hemaloop-test", cache=tmp_path / "other")
    source = next(path for path in other._blobs._fs.find("/hemaloop-test") if path.endswith("stub.json"))
    other._blobs._fs.pipe_file(source, b"{}")
    with pytest.raises(StoreError, match=r"stub\.json: its content is not what was stored"):
        other.directory(PROJECT, "cells", version)


def test_a_duplicate_serves_what_the_original_does(store: ArtifactStore, plugin: Plugin) -> None:
    version = store.put(PROJECT, "cells", plugin, MANIFEST)
    store.publish(PROJECT, Published(version, {"cells": version}))
    assert store.duplicate(PROJECT, "8.1") == store.published("8.1")
    assert store.promoted("8.1", "cells") == version
    type(plugin)(plugin.labels).load(store.directory("8.1", "cells", version))
    assert store.duplicate("9.1", "10.1") is None


def test_what_one_job_leaves_another_finds_until_it_is_dropped(store: ArtifactStore) -> None:
    store.put_scratch(PROJECT, "plan/0", b"x")
    assert store.get_scratch(PROJECT, "plan/0") == b"x"
    store.drop_scratch(PROJECT, "plan")
    store.drop_scratch(PROJECT, "plan")
    assert store.get_scratch(PROJECT, "plan/0") is None
