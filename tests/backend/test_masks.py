"""Masks on disk and through the offline commands, and what was measured shown to annotators."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image as Pillow
from typer.testing import CliRunner

from hemaloop import brush
from hemaloop.annotations import read_truth
from hemaloop.cli import offline
from hemaloop.errors import DatasetError, LabelConfigError
from hemaloop.formats import read_dataset
from hemaloop.formats.items import Examples
from hemaloop.labelconfig import parse_label_config
from hemaloop.plugin import UNKNOWN, ClassMap, Scored
from hemaloop.results import Answer, measurements_text, task_prediction, validate
from hemaloop.synthetic import render_smear

LABELS = ("RBC", "Overlap")
QUICK = ["pictures=16", "window=64", "batch_size=4", "diameter=16", "depth=3"]
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="cells" toName="image" model_family="overlap_unet"><Label value="RBC"/><Label value="Overlap"/>
</BrushLabels>
<TextArea name="measured" toName="image" editable="false" model_measurements="cells"/></View>"""


def write_masks(folder: Path, count: int = 4) -> Path:
    """A folder of smears with their masks."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for seed in range(count):
        smear = render_smear(seed=seed, width=160, height=128)
        Pillow.fromarray(smear.image).save(folder / "images" / f"{seed}.png")
        Pillow.fromarray(smear.masks).save(folder / "masks" / f"{seed}.png")
    return folder


def test_masks_are_read_as_they_were_drawn(tmp_path: Path) -> None:
    dataset = read_dataset(write_masks(tmp_path / "data"))
    assert (dataset.format, dataset.labels) == ("masks", LABELS)
    truth = Examples(dataset.items, LABELS, ClassMap)[0].truth
    assert isinstance(truth, ClassMap)
    assert np.array_equal(truth.labels, render_smear(seed=0, width=160, height=128).masks)


def test_masks_follow_the_order_of_the_labels_that_are_asked_for(tmp_path: Path) -> None:
    dataset = read_dataset(write_masks(tmp_path / "data", 1))
    plain, turned = (dataset.items[0].class_map(labels).labels for labels in (LABELS, LABELS[::-1]))
    assert np.array_equal(np.array([0, 2, 1], np.uint8)[plain], turned)


def test_what_nobody_looked_at_is_an_ignore_region_among_boxes_and_stays_as_it_is_in_a_mask(tmp_path: Path) -> None:
    folder = write_masks(tmp_path / "data", 1)
    mask = np.array(Pillow.open(folder / "masks" / "0.png"))
    mask[10:20, 30:50] = 255
    Pillow.fromarray(mask).save(folder / "masks" / "0.png")
    [item] = read_dataset(folder).items
    assert item.ignore.tolist() == [[30, 10, 50, 20]]
    [example] = Examples([item], LABELS, ClassMap)
    assert isinstance(example.truth, ClassMap)
    assert np.array_equal(example.truth.labels == UNKNOWN, mask == UNKNOWN)
    assert not len(example.ignore)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.zeros((5, 5), np.uint8), "expected one size"),
        (np.full((128, 160), 7, np.uint8), "value 7"),
        (np.zeros((128, 160, 3), np.uint8), "one value a pixel"),
    ],
)
def test_a_mask_that_cannot_be_right_is_left_out_and_named(mask: Any, said: str, tmp_path: Path) -> None:
    folder = write_masks(tmp_path / "data", 2)
    Pillow.fromarray(mask).save(folder / "masks" / "1.png")
    dataset = read_dataset(folder)
    assert len(dataset) == 1
    assert any(said in str(fault) for fault in dataset.faults)


def test_an_export_with_brush_strokes_gives_masks(tmp_path: Path) -> None:
    mask = render_smear(seed=0, width=160, height=128).masks
    Pillow.fromarray(render_smear(seed=0, width=160, height=128).image).save(tmp_path / "smear.png")
    regions = [
        {
            "id": name,
            "from_name": "cells",
            "to_name": "image",
            "type": "brushlabels",
            "image_rotation": 0,
            "original_width": 160,
            "original_height": 128,
            "value": {"format": "rle", "rle": brush.encode(mask == value), "brushlabels": [name]},
        }
        for value, name in enumerate(LABELS, 1)
    ]
    task = {"id": 1, "data": {"image": "/data/upload/1/smear.png"}, "annotations": [{"id": 1, "result": regions}]}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    [item] = read_dataset(tmp_path / "export.json").items
    assert np.array_equal(item.class_map(LABELS).labels, mask)


def hemaloop(*arguments: object, cwd: Path) -> str:
    """What a command says; its errors are raised."""
    app = typer.Typer(rich_markup_mode="rich")
    offline.register(app)
    with contextlib.chdir(cwd):
        result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200", "NO_COLOR": "1"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masks")
    write_masks(folder / "data")
    options = [part for option in QUICK for part in ("--option", option)]
    hemaloop("train", "data", "--family", "overlap_unet", *options, "--device", "cpu", cwd=folder)
    return folder


def test_evaluate_draws_errors_and_writes_iou_by_image(trained: Path) -> None:
    said = hemaloop("evaluate", "model", "data", "--device", "cpu", cwd=trained)
    assert "IoU, pooled" in said
    assert "cells:" in said
    found = json.loads((trained / "evaluation" / "evaluation.json").read_text())
    assert len(found["iou_per_image"]) == 4
    assert {path.name for path in (trained / "evaluation" / "errors").iterdir()} == {f"{n}.png" for n in range(4)}


def test_predict_writes_masks_that_can_be_learned_from_and_a_line_a_cell(trained: Path) -> None:
    hemaloop("predict", "model", "data/images", "--device", "cpu", cwd=trained)
    out = trained / "predictions"
    counts = list(csv.DictReader((out / "counts.csv").read_text("utf-8").splitlines()))
    cells = list(csv.DictReader((out / "cells.csv").read_text("utf-8").splitlines()))
    assert sum(float(row["cells"]) for row in counts) == len(cells)
    assert len(list((out / "pictures").iterdir())) == 4
    again = read_dataset(out, trained / "data" / "images")
    assert len(again) == 4


def test_boxes_alone_teach_no_masks_and_say_so(trained: Path) -> None:
    folder = trained / "boxes"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "classes.txt").write_text("RBC\n")
    for seed in range(2):
        Pillow.fromarray(render_smear(seed=seed, width=160, height=128).image).save(folder / "images" / f"{seed}.png")
        (folder / "labels" / f"{seed}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(DatasetError, match="boxes but no mask"):
        hemaloop(
            "train", "boxes", "--family", "overlap_unet", "--classes", "RBC,Overlap", "--out", "other", cwd=trained
        )


def answer() -> tuple[Any, dict[str, Any]]:
    config = parse_label_config(CONFIG)
    scored = Scored(ClassMap(np.ones((4, 6), np.uint8)), 0.5, measurements={"cells": 12.0, "overlap fraction": 0.125})
    [control] = config.bound
    return config, task_prediction([Answer(control, scored, LABELS, 6, 4)], "v1")


def test_annotators_see_what_was_measured() -> None:
    config, prediction = answer()
    assert not validate(prediction, config)
    [text] = [region for region in prediction["result"] if region["from_name"] == "measured"]
    assert text["value"]["text"] == ["12 cells; overlap fraction 0.125"]
    assert text["type"] == "textarea"


def test_what_was_measured_is_never_truth() -> None:
    config, prediction = answer()
    task = {"id": 1, "annotations": [{"id": 1, "result": prediction["result"]}]}
    truth = read_truth(task, config.bound[0], 6, 4)
    assert truth is not None
    assert not truth.faults
    assert isinstance(truth.prediction, ClassMap)
    assert truth.prediction.labels.all()


def test_label_studio_accepts_what_was_measured() -> None:
    from label_studio_sdk.label_interface import LabelInterface

    prediction = answer()[1]
    assert LabelInterface(CONFIG).validate_prediction(prediction, return_errors=True) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('model_measurements="cells"', 'model_measurements="other"', "expected the name of a bound control"),
        ('<TextArea name="measured"', '<TextArea perRegion="true" name="measured"', "without perRegion"),
    ],
)
def test_a_text_area_that_cannot_show_measurements_is_refused(old: str, new: str, said: str) -> None:
    with pytest.raises(LabelConfigError, match=said):
        parse_label_config(CONFIG.replace(old, new))


def test_numbers_read_as_people_say_them() -> None:
    assert measurements_text({"cells": 3.0, "distribution width (%)": 12.0}) == "3 cells; distribution width (%) 12"
