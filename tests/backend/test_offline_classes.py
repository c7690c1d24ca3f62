"""The offline commands with a family of classes, run as a person runs them."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import stub_plugin
from hemaloop.cli import offline
from hemaloop.errors import HemaloopError


@dataclass(frozen=True)
class Done:
    """How a command ended; `said` is all it wrote, and the message of an expected error, in one line."""

    status: int
    said: str


def hemaloop(*arguments: object, cwd: Path) -> Done:
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


def write_cells(root: Path, subjects: range, cells: int = 3) -> None:
    """C-NMC's layout; ill cells are bright, healthy ones dim."""
    for subject in subjects:
        label, name = ("all", str(subject)) if subject % 2 else ("hem", f"H{subject}")
        for cell in range(cells):
            rng = np.random.default_rng((subject, cell))
            shade = (200 if label == "all" else 70) + rng.integers(-9, 9, (12, 12, 3))
            path = root / "fold_0" / label / f"UID_{name}_1_{cell}_{label}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shade.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `cells`, `more` of other subjects, and `model`, trained on `cells`."""
    root = tmp_path_factory.mktemp("classes")
    write_cells(root / "cells", range(1, 11))
    write_cells(root / "more", range(21, 27))
    done = hemaloop("train", "cells", "--family", "tone", "--classes", "ALL,HEM", "--tune", 0.3, cwd=root)
    assert done.status == 0, done.said
    assert "30 images, 10 subjects" in done.said
    return root


def test_no_subject_is_learned_from_and_tuned_on(trained: Path) -> None:
    from hemaloop.formats.classes import read_classes

    manifest = json.loads((trained / "model" / "manifest.json").read_text())
    subject_of = {item.key: item.subject for item in read_classes(trained / "cells").items}
    learned, tuned = ({subject_of[key] for key in manifest[side]} for side in ("train", "tune"))
    assert learned
    assert tuned
    assert not learned & tuned
    assert learned | tuned == set(json.loads((trained / "model" / "subjects.json").read_text()))


def test_evaluate_prints_and_writes_every_figure_and_picture(trained: Path) -> None:
    done = hemaloop("evaluate", "model", "more", cwd=trained)
    assert done.status == 0, done.said
    for word in ("precision", "recall (sensitivity)", "F1", "specificity", "area under ROC", "weighted", "calibration"):
        assert word in done.said
    assert "flatter" not in done.said
    content = json.loads((trained / "evaluation" / "evaluation.json").read_text())
    assert content["figures"]["weighted_f1"] == 1
    assert content["confusion"] == [[9, 0], [0, 9]]
    assert {path.name for path in (trained / "evaluation").glob("*.png")} == {
        "roc.png",
        "reliability.png",
        "confusion.png",
    }


def test_evaluate_says_when_the_model_has_seen_the_images_or_others_of_their_subjects(
    trained: Path, tmp_path: Path
) -> None:
    done = hemaloop("evaluate", trained / "model", trained / "cells", "--out", "flattered", cwd=tmp_path)
    assert "30 of 30 images were used to train this model" in done.said
    write_cells(tmp_path / "same people", range(1, 3), cells=5)
    for known in (trained / "cells").rglob("*.bmp"):
        (tmp_path / "same people" / known.relative_to(trained / "cells")).unlink(missing_ok=True)
    done = hemaloop("evaluate", trained / "model", "same people", cwd=tmp_path)
    assert "other images of 2 of these subjects (1, H2): the figures flatter it" in done.said


def test_a_fixed_share_of_the_subjects_can_be_kept_for_testing(trained: Path, tmp_path: Path) -> None:
    data = trained / "cells"
    done = hemaloop(
        "train", data, "--family", "tone", "--classes", "ALL,HEM", "--test", 0.4, "--tune", 0.3, cwd=tmp_path
    )
    assert done.status == 0, done.said
    done = hemaloop("evaluate", "model", data, "--test", 0.4, cwd=tmp_path)
    assert done.status == 0, done.said
    assert "flatter" not in done.said


def test_predict_writes_a_line_an_image_and_heat_maps_where_asked(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    done = hemaloop("predict", trained / "model", trained / "more", tmp_path / "broken.png", "--explain", cwd=tmp_path)
    assert done.status == 0, done.said
    assert "broken.png" in done.said
    out = tmp_path / "predictions"
    with (out / "classes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 18
    assert {row["label"] for row in rows} == {"ALL", "HEM"}
    assert all(float(row["p(ALL)"]) + float(row["p(HEM)"]) == pytest.approx(1, abs=2e-4) for row in rows)
    content = json.loads((out / "predictions.json").read_text())
    assert set(content["faults"]) == {"broken.png"}
    assert len(list((out / "explanations").rglob("*.png"))) == 18


def test_classes_can_be_renamed_on_the_way_in(tmp_path: Path) -> None:
    write_cells(tmp_path / "cells", range(1, 7))
    renamed = ("--map", "ALL=bright", "--map", "HEM=dim")
    done = hemaloop("train", "cells", "--family", "tone", "--preset", "shades", *renamed, cwd=tmp_path)
    assert done.status == 0, done.said
    assert json.loads((tmp_path / "model" / "manifest.json").read_text())["labels"] == ["bright", "dim"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train", "nowhere", "--family", "tone"), "there is no such folder"),
        (
            ("train", "cells", "--family", "tone", "--preset", "shades"),
            "no image of bright, dim; its classes: ALL",
        ),
        (("train", "cells", "--family", "tone", "--map", "AML=ALL"), "has no class 'AML'"),
        (("train", "cells", "--family", "tone", "--option", "colour=1"), "Extra inputs are not permitted"),
        (("evaluate", "model", "nowhere"), "there is no such folder"),
    ],
)
def test_what_cannot_be_done_says_why(arguments: tuple[str, ...], says: str, trained: Path) -> None:
    out = ("--out", "never") if arguments[0] == "train" else ()
    done = hemaloop(*arguments, *out, cwd=trained)
    assert done.status != 0
    assert says in done.said
    assert not (trained / "never").exists()


def test_a_family_of_boxes_does_not_explain(trained: Path, tmp_path: Path) -> None:
    image = next((trained / "more").rglob("*.bmp"))
    done = hemaloop("predict", "starter:blobs", image, "--explain", cwd=tmp_path)
    assert done.status != 0
    assert "'stub' does not say where it looked" in done.said


def test_describe_counts_images_and_subjects_of_each_class(trained: Path, tmp_path: Path) -> None:
    done = hemaloop("describe", trained / "cells", cwd=tmp_path)
    assert done.status == 0, done.said
    assert "C-NMC, 30 images, 10 subjects" in done.said
    content = json.loads((tmp_path / "description" / "description.json").read_text())
    assert content["classes"] == {"ALL": {"images": 15, "subjects": 5}, "HEM": {"images": 15, "subjects": 5}}
