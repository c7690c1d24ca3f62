"""The offline commands, run as a person runs them, with a small real family."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import stub_plugin
from blobs import Cells, write_blobs, write_image
from hemaloop.cli import offline
from hemaloop.cli.offline_training import split
from hemaloop.dataset import split_of
from hemaloop.errors import DatasetError, HemaloopError
from hemaloop.formats import read_dataset

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "hemaloop"]


def environment() -> dict[str, str]:
    paths = [stub_plugin.DISTRIBUTION, REPOSITORY / "backend", REPOSITORY / "plugins"]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "COLUMNS": "120", "NO_COLOR": "1"}


@dataclass(frozen=True)
class Done:
    """How a command ended; `said` is all it wrote, and the message of an expected error, in one line."""

    status: int
    said: str


def hemaloop(*arguments: object, cwd: Path) -> Done:
    """A command in this process: a fresh one spends seconds on imports."""
    app = typer.Typer(rich_markup_mode="rich")
    offline.register(app)
    with contextlib.chdir(cwd):
        result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200", "NO_COLOR": "1"})
    if result.exception is not None and not isinstance(result.exception, HemaloopError | SystemExit):
        raise result.exception
    said = f"{result.output} {result.exception or ''}".replace("│", " ")
    return Done(result.exit_code, " ".join(said.split()))


@pytest.fixture(scope="module", autouse=True)
def _stub() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        stub_plugin.install(patch)
        yield
    stub_plugin.forget()


def train(data: Path, *arguments: object, cwd: Path) -> Done:
    return hemaloop("train", data, "--family", "stub", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `blobs`, `more` (unseen) and `model`, trained on `blobs`."""
    root = tmp_path_factory.mktemp("offline")
    write_blobs(root / "blobs", 8)
    write_blobs(root / "more", 4, first=100)
    done = train(Path("blobs"), "--seed", 5, cwd=root)
    assert done.status == 0, done.said
    return root


def test_train_writes_a_model_with_figures_and_the_images_it_has_seen(trained: Path) -> None:
    manifest = json.loads((trained / "model" / "manifest.json").read_text())
    figures = json.loads((trained / "model" / "figures.json").read_text())
    items = read_dataset(trained / "blobs").items
    assert manifest["family"] == "stub"
    assert manifest["seed"] == 5
    assert set(manifest["train"]) | set(manifest["tune"]) == {item.key for item in items}
    assert not set(manifest["train"]) & set(manifest["tune"])
    assert figures["tune"]["figures"]["map50"] == pytest.approx(1.0)
    assert not [path for path in trained.iterdir() if path.name.startswith(".")]


def test_evaluate_prints_and_writes_every_figure(trained: Path) -> None:
    done = hemaloop("evaluate", "model", "more", cwd=trained)
    assert done.status == 0, done.said
    for word in ("AP", "paper's way", "COCO mAP", "mAP50", "red", "green", "blue", "cells in truth", "1.000"):
        assert word in done.said
    assert "were used to train" not in done.said
    content = json.loads((trained / "evaluation" / "evaluation.json").read_text())
    assert content["figures"]["map50"] == pytest.approx(1.0)
    assert content["figures"]["coco_map"] == pytest.approx(1.0)
    assert {"paper_map", "ap/red", "count_truth/red", "count_detected/red"} <= set(content["figures"])
    assert set(content["curves"]) == {"red", "green", "blue"}
    with Image.open(trained / "evaluation" / "precision_recall.png") as figure:
        assert figure.width > 800


def test_evaluate_says_when_the_model_has_seen_the_images(trained: Path) -> None:
    done = hemaloop("evaluate", "model", "blobs", "--out", "flattered", cwd=trained)
    assert "8 of 8 images were used to train this model" in done.said


def test_predict_writes_json_csv_and_pictures_and_names_what_it_cannot_read(trained: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    (images / "deeper").mkdir(parents=True)
    cells = stub_plugin.random_cells(7)
    Image.fromarray(stub_plugin.draw(cells)).save(images / "one.png")
    Image.fromarray(stub_plugin.draw([])).save(images / "deeper" / "one.png")
    (images / "broken.jpg").write_bytes(b"not a picture")
    (images / "empty.png").write_bytes(b"")
    done = hemaloop("predict", trained / "model", "images", cwd=tmp_path)
    assert done.status == 0, done.said
    assert "broken.jpg" in done.said
    assert "empty.png" in done.said
    out = tmp_path / "predictions"
    content = json.loads((out / "predictions.json").read_text())
    assert [image["file"] for image in content["images"]] == ["deeper/one.png", "one.png"]
    assert set(content["faults"]) == {"broken.jpg", "empty.png"}
    drawn = content["images"][1]["boxes"]
    assert sorted((box["x1"], box["y1"], box["x2"], box["y2"], box["label"]) for box in drawn) == sorted(cells)
    with (out / "boxes.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(cells)
    with (out / "counts.csv").open() as stream:
        counts = list(csv.DictReader(stream))
    assert sum(int(counts[1][name]) for name in stub_plugin.COLOURS) == len(cells)
    assert {path.name for path in (out / "pictures").iterdir()} == {"deeper_one.png", "one.png"}


def test_predict_works_from_starter_weights(trained: Path, tmp_path: Path) -> None:
    done = hemaloop(
        "predict",
        "starter:blobs",
        trained / "more" / "Images",
        "--out",
        tmp_path / "out",
        "--no-pictures",
        cwd=tmp_path,
    )
    assert done.status == 0, done.said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["boxes.csv", "counts.csv", "predictions.json"]


def test_describe_writes_text_and_a_figure(trained: Path) -> None:
    done = hemaloop("describe", "blobs", cwd=trained)
    assert done.status == 0, done.said
    assert "Pascal VOC, 8 images" in done.said
    assert (trained / "description" / "description.png").stat().st_size > 10_000
    assert json.loads((trained / "description" / "description.json").read_text())["images"] == 8


def test_classes_can_be_renamed_on_the_way_in(tmp_path: Path) -> None:
    write_blobs(tmp_path / "blobs", 4, names={"red": "Rot & rund"})
    done = train(Path("blobs"), "--preset", "bare", "--map", "Rot & rund=red", cwd=tmp_path)
    assert done.status == 0, done.said
    assert json.loads((tmp_path / "model" / "manifest.json").read_text())["labels"] == ["red", "green", "blue"]


def test_train_reports_what_is_wrong_with_the_data_before_it_learns(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    for seed in range(50, 58):  # a class on every image but one
        cells: Cells = [(*cell[:4], "red") for cell in stub_plugin.random_cells(seed, count=9)]
        write_image(folder, str(seed), cells, [] if seed == 57 else cells)
    (folder / "Annotations" / "00.xml").write_text("<annotation/>")
    (folder / "Images" / "00.png").write_bytes(b"")
    (folder / "Images" / "01.png").write_bytes((folder / "Images" / "50.png").read_bytes())
    (folder / "Annotations" / "01.xml").write_text((folder / "Annotations" / "50.xml").read_text())
    done = train(Path("blobs"), "--preset", "bare", cwd=tmp_path)
    assert done.status == 0, done.said
    assert "images that look unlabelled" in done.said
    assert "57.png: no red boxes" in done.said
    assert "00.png: the file is empty" in done.said
    assert "classes of the model without an example: green blue" in done.said
    assert "01.png = 50.png" in done.said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere",), "there is no such file or folder"),
        (("blobs", "--family", "gone"), "none of that name is installed"),
        (("blobs", "--preset", "cbc"), "presets: blobs, bare"),
        (("blobs", "--option", "threshold=bright"), "threshold: found 'bright'"),
        (("blobs", "--option", "colour=1"), "Known options: threshold"),
        (("blobs", "--option", "threshold"), "expected NAME=VALUE"),
        (("blobs", "--classes", "RBC,WBC"), "no box of RBC, WBC; its classes: "),
        (("blobs", "--map", "RBC=red"), "has no class 'RBC'"),
        (("blobs", "--out", "blobs"), "is not a model"),
        (("blobs", "--out", "model"), "add --overwrite"),
        (("one",), "at least two different ones"),
        (("empty",), "no usable image"),
    ],
)
def test_what_cannot_be_trained_says_why_and_writes_nothing(
    arguments: tuple[str, ...], says: str, trained: Path
) -> None:
    if not (trained / "one").exists():
        write_blobs(trained / "one", 1)
        empty = write_blobs(trained / "empty", 1)
        (empty / "Images" / "000.png").unlink()
    out = () if "--out" in arguments else ("--out", "never")
    done = train(Path(arguments[0]), *arguments[1:], *out, cwd=trained)
    assert done.status != 0
    assert says in done.said
    assert not (trained / "never").exists()


def test_overwrite_replaces_a_model(trained: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        done = train(trained / "blobs", "--out", "model", "--seed", seed, "--overwrite", cwd=tmp_path)
        assert done.status == 0, done.said
    assert json.loads((tmp_path / "model" / "manifest.json").read_text())["seed"] == 2


def test_an_expected_error_is_one_message_on_the_command_line(tmp_path: Path) -> None:
    command = [*COMMAND, "predict", "nothing", "nowhere"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "hemaloop: nowhere: there is no such file or folder"
    assert done.stdout == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_training_cleanly_and_leaves_nothing(number: int, trained: Path, tmp_path: Path) -> None:
    arguments = ["train", str(trained / "blobs"), "--family", "stub", "--option", "epochs=600"]
    arguments += ["--option", "epoch_seconds=0.1"]
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "kept back to tune" not in (line := process.stdout.readline()):
        assert line, "the training never began"
    time.sleep(1.0)
    process.send_signal(number)
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 130, errors
    assert "nothing was written" in " ".join(errors.split())
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_the_split_depends_on_content_alone_and_both_sides_have_images(tmp_path: Path) -> None:
    items = read_dataset(write_blobs(tmp_path / "blobs", 30)).items
    train_items, tune_items = split(items, 0.2)
    assert train_items
    assert tune_items
    kept = {item.key for item in tune_items}
    fewer_train, fewer_tune = split(items[:20], 0.2)
    assert {item.key for item in fewer_tune} <= kept | {min(item.key for item in items[:20])}
    assert len(fewer_train) + len(fewer_tune) == 20
    assert all(split(items[:2], share)[side] for share in (0.02, 0.5) for side in (0, 1))
    with pytest.raises(DatasetError, match="two different"):
        split([items[0], items[0]], 0.2)


def test_what_tests_is_not_learned_from_and_alone_evaluated(tmp_path: Path) -> None:
    items = read_dataset(write_blobs(tmp_path / "blobs", 12)).items
    testing = {item.key for item in items if split_of(item.key, gate=0.4) == "gate"}
    assert 0 < len(testing) < 12
    done = train(Path("blobs"), "--test", 0.4, cwd=tmp_path)
    assert done.status == 0, done.said
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert {*manifest["train"], *manifest["tune"]} == {item.key for item in items} - testing
    done = hemaloop("evaluate", "model", "blobs", "--test", 0.4, cwd=tmp_path)
    assert done.status == 0, done.said
    assert "were used to train" not in done.said
    assert json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())["images"] == len(testing)


def test_a_test_share_that_leaves_no_image_is_refused(trained: Path) -> None:
    write_blobs(trained / "single", 1)
    (key,) = (item.key for item in read_dataset(trained / "single").items)
    command, side = ("train", "learn from") if split_of(key, gate=0.5) == "gate" else ("evaluate", "test on")
    given = ("single", "--family", "stub") if command == "train" else ("model", "single")
    done = hemaloop(command, *given, "--test", 0.5, "--out", "never", cwd=trained)
    assert f"--test 0.5: leaves none of 1 images of single to {side}" in done.said
    assert not (trained / "never").exists()


def test_ignore_regions_are_told_and_boxes_in_them_count_nowhere(trained: Path, tmp_path: Path) -> None:
    cells = stub_plugin.random_cells(3, count=4)
    Image.fromarray(stub_plugin.draw(cells)).save(tmp_path / "a.png")
    names = sorted({cell[4] for cell in cells})
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": index, "name": name} for index, name in enumerate(names)],
        "annotations": [
            {
                "image_id": 1,
                "category_id": names.index(colour),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "iscrowd": int(index == 0),
            }
            for index, (x1, y1, x2, y2, colour) in enumerate(cells)
        ],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    done = hemaloop("evaluate", trained / "model", "boxes.json", cwd=tmp_path)
    assert done.status == 0, done.said
    assert "1 ignore region(s), of which the truth says nothing" in done.said
    assert "1 box(es) lie where the truth says nothing and count nowhere" in done.said
    figures = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())["figures"]
    assert figures["map50"] == figures["weighted_precision"] == figures["weighted_precision_true"] == 1.0
    assert figures["left_out"] == 1


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "describe"])
def test_help_explains_itself_with_an_example(command: str, tmp_path: Path) -> None:
    done = hemaloop(command, "--help", cwd=tmp_path)
    assert done.status == 0
    assert f"Example: hemaloop {command}" in done.said
