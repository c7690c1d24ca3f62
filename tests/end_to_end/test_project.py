"""`hemaloop project`: made, mended, cancelled, scored anew, trained, exported, deleted, in a real Label Studio."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import stub_plugin
from hemaloop.client import ProjectInfo
from hemaloop.demo.stack import Stack, variables
from hemaloop.formats import read_dataset
from hemaloop.project_creation import TAB
from hemaloop.project_setup import SAMPLING, SECRET_HEADER
from running import Project, hemaloop, wait_for, write_images
from s3_stand_in import bucket

pytestmark = pytest.mark.label_studio


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A labelling config that binds the stub and trains nothing unasked."""
    path = tmp_path / "stub.xml"
    path.write_text(stub_plugin.config().replace("model_preset", 'model_train="off" model_preset'))
    return path


@pytest.fixture
def title(tmp_path: Path) -> str:
    """Of a project that no other test has."""
    return f"Smears of {tmp_path.name}"


def found(stack: Stack, title: str) -> list[ProjectInfo]:
    return [project for project in stack.studio.projects() if project.title == title]


def files_of(stack: Stack, project: int) -> list[str]:
    return sorted(task["data"]["file"] for task in stack.studio.tasks(project, with_annotations=False))


def test_create_makes_a_project_that_is_ready_and_once_more_mends_it(
    stack: Stack, config: Path, title: str, tmp_path: Path
) -> None:
    for patient in ("p1", "p2"):
        write_images(tmp_path / "smears" / patient, 3, seed=ord(patient[1]))
    (tmp_path / "smears" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "smears" / "copy.png").write_bytes((tmp_path / "smears" / "p1" / "000.png").read_bytes())
    command = ("project", "create", str(tmp_path / "smears"), "--title", title, "--config", str(config))
    done = hemaloop(stack, *command, "--folders-are", "patient")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out: broken.png" in done.stdout
    assert "is the same picture as" in done.stdout
    assert "6 of 6 images with predictions" in done.stdout
    (made,) = found(stack, title)
    backend, (hook,) = stack.studio.backend(made.id) or {}, stack.studio.webhooks(made.id)
    assert (made.sampling, made.model_version) == (SAMPLING, "stub-blobs-starter-1") == (SAMPLING, backend["title"])
    assert SECRET_HEADER in hook["headers"]
    head = stack.studio.queue_head(made.id, 6)
    assert len(head) == 6
    assert (stack.studio.next_task(made.id) or {})["id"] == head[0][0]
    (tab,) = stack.studio.request("GET", "/api/dm/views", params={"project": made.id})
    assert (tab["data"]["title"], tab["data"]["ordering"]) == (TAB, ["tasks:predictions_score"])
    patients = {task["data"].get("patient") for task in stack.studio.tasks(made.id) if "/" in task["data"]["file"]}
    assert patients == {"p1", "p2"}

    stack.studio.update_webhook(hook["id"], headers={})
    stack.studio.update_project(made.id, sampling="Sequential sampling")
    write_images(tmp_path / "smears" / "p3", 1, seed=9)
    (tmp_path / "smears" / "p2" / "001.png").rename(tmp_path / "smears" / "p2" / "renamed.png")
    again = hemaloop(stack, *command)
    assert again.returncode == 0, again.stderr
    assert "1 images added" in again.stdout
    assert "7 of 7 images with predictions" in again.stdout
    assert "sampling" in again.stdout
    assert "webhook set" in again.stdout
    assert len(found(stack, title)) == 1
    assert len(files_of(stack, made.id)) == 7
    assert "everything is as it must be" in hemaloop(stack, *command).stdout


def test_create_refuses_a_title_that_belongs_to_another_project(stack: Stack, config: Path, title: str) -> None:
    assert hemaloop(stack, "project", "create", "--title", title, "--config", str(config)).returncode == 0
    other = hemaloop(stack, "project", "create", "--title", title, "--task", "cbc")
    assert other.returncode == 1
    assert "another labelling config" in other.stderr
    assert len(found(stack, title)) == 1


def test_create_says_what_it_cannot_do_before_it_makes_anything(
    stack: Stack, config: Path, title: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    tries = {
        "no image file": (str(tmp_path / "empty"), "--config", str(config)),
        "there is no such file": (str(tmp_path / "nowhere"), "--config", str(config)),
        "AWS_ACCESS_KEY_ID": ("--storage", "s3://bucket/smears", "--config", str(config)),
        "cannot be read": ("--config", str(tmp_path / "none.xml")),
        "shipped: all_hem": ("--task", "of the moon"),
    }
    for words, arguments in tries.items():
        done = hemaloop(stack, "project", "create", "--title", title, *arguments)
        assert done.returncode != 0
        assert words in done.stderr
    assert found(stack, title) == []


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_while_images_are_uploaded_leaves_no_project(
    stack: Stack, config: Path, title: str, tmp_path: Path, presses: int
) -> None:
    write_images(tmp_path / "smears", 150)
    command = [sys.executable, "-m", "hemaloop", "project", "create", str(tmp_path / "smears"), "--title", title]
    process = subprocess.Popen(
        [*command, "--config", str(config)],
        env={**os.environ, **variables(stack.settings)},
        cwd=stack.root,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def uploading() -> bool:
        mine = found(stack, title)
        assert process.poll() is None, process.communicate()
        return bool(mine) and mine[0].task_number > 0

    wait_for(uploading, "the first images", 120)
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert found(stack, title) == []


def test_create_lets_label_studio_read_a_folder_of_its_own_machine(stack: Stack, config: Path, title: str) -> None:
    folder = stack.images / title.replace(" ", "-")
    write_images(folder, 3)
    command = ("project", "create", "--storage", str(folder), "--title", title, "--config", str(config))
    done = hemaloop(stack, *command)
    assert "3 of 3 images with predictions" in done.stdout, done.stdout + done.stderr
    write_images(folder, 4)
    again = hemaloop(stack, *command)
    assert "1 images added" in again.stdout, again.stdout + again.stderr
    (made,) = found(stack, title)
    stored = stack.studio.request("GET", "/api/storages/localfiles", params={"project": made.id})
    assert len(stored) == 1


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[str]:
    """An S3 stand-in with three images under one prefix and two other files."""
    write_images(tmp_path / "objects", 3)
    held = {f"smears/{path.name}": path.read_bytes() for path in (tmp_path / "objects").iterdir()}
    with bucket("cells", {**held, "smears/notes.txt": b"not an image", "other/0.png": b""}) as endpoint:
        yield endpoint


def test_create_lets_label_studio_read_a_bucket(
    stack: Stack, config: Path, title: str, objects: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ACCESS_KEY_ID": "me", "SECRET_ACCESS_KEY": "xyzzy", "ENDPOINT_URL": objects}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    command = ("project", "create", "--storage", "s3://cells/smears", "--title", title, "--config", str(config))
    done = hemaloop(stack, *command, "--no-wait")
    assert "3 images added" in done.stdout, done.stdout + done.stderr
    assert "0 images added" in hemaloop(stack, *command, "--no-wait").stdout
    (made,) = found(stack, title)
    data = [task["data"] for task in stack.studio.tasks(made.id, with_annotations=False)]
    assert {"smears/000.png", "smears/001.png", "smears/002.png"} == {
        str(next(iter(one.values()))).removeprefix("s3://cells/") for one in data
    }
    assert "xyzzy" not in done.stdout + done.stderr


def test_rescoring_everything_takes_each_prediction_once_and_keeps_the_order(
    stack: Stack, project: Callable[..., Project]
) -> None:
    made = project(6, train=False)
    before = stack.studio.queue_head(made.id, 6)
    done = hemaloop(stack, "project", "rescore", str(made.id), "--all")
    assert done.returncode == 0, done.stderr
    assert "the queue is in order" in done.stdout
    assert stack.studio.versions(made.id) == {"stub-blobs-starter-1": 6}
    assert stack.studio.queue_head(made.id, 6) == before
    assert stack.studio.project(made.id).model_version == "stub-blobs-starter-1"


def test_a_person_trains_exports_learns_from_the_export_elsewhere_and_deletes_the_project(
    stack: Stack, tmp_path: Path
) -> None:
    xml = stub_plugin.config("bare").replace("model_preset", 'model_min_new_annotations="100" model_preset')
    made = Project.create(stack, 9, seed=50, xml=xml)
    made.connect()
    made.idle()
    for task_id in list(made.cells)[:6]:
        made.submit(task_id)
    done = hemaloop(stack, "project", "train", str(made.id))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cells: promoted stub-0001-" in done.stdout
    (version,) = made.versions()
    made.wait_for_version()
    made.wait_until_scored(version)
    late = list(made.cells)[6]
    made.submit(late)
    for form in ("label-studio", "coco", "voc"):
        _export_teaches(stack, made.id, form, tmp_path / form, f",{version},", late)
    made.idle()
    _delete_asks(stack, made)
    assert made.versions() == [version]


def _export_teaches(stack: Stack, number: int, form: str, out: Path, words: str, late: int) -> None:
    told = hemaloop(stack, "project", "export", str(number), "--format", form, "--out", str(out))
    assert told.returncode == 0, told.stderr
    assert "7 annotated images" in told.stdout
    rows = (out / "tasks.csv").read_text().splitlines()
    assert words in next(row for row in rows if row.startswith(f"{late},"))
    data = out / "annotations.json" if form == "label-studio" else out
    dataset = read_dataset(data)
    assert sorted(len(item.names) for item in dataset.items) == [8] * 7
    trained = hemaloop(stack, "train", str(data), "--family", "stub", "--out", str(out / "model"))
    assert trained.returncode == 0, trained.stdout + trained.stderr


def _delete_asks(stack: Stack, made: Project) -> None:
    refused = hemaloop(stack, "project", "delete", str(made.id), typed="n\n")
    assert refused.returncode == 1
    assert "9 tasks, 7 annotations" in refused.stdout
    assert "keeps 1 trained model(s)" in refused.stdout
    assert "nothing was deleted" in refused.stdout
    assert stack.studio.project(made.id).title
    done = hemaloop(stack, "project", "delete", str(made.id), typed="y\n")
    assert done.returncode == 0, done.stderr
    assert made.id not in {one.id for one in stack.studio.projects()}
    assert made.key not in stack.queues.ledger.projects()


def test_deleting_with_models_leaves_none(stack: Stack, project: Callable[..., Project]) -> None:
    made = project(1, connect=False)
    made.store.put_scratch(made.key, "x", b"y")
    done = hemaloop(stack, "project", "delete", str(made.id), "--models", "--yes")
    assert done.returncode == 0, done.stderr
    assert made.store.history(made.key) == []
    assert made.store.get_scratch(made.key, "x") is None
