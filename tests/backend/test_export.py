"""What people labelled, written for others and read back: boxes, masks, choices, and nothing half."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import stub_plugin
from hemaloop import brush
from hemaloop.client import LabelStudio
from hemaloop.config import Settings
from hemaloop.errors import Cancelled, DatasetError
from hemaloop.export import Format, Order, export
from hemaloop.export.coco import run_lengths
from hemaloop.export.collect import pre_labelled_by
from hemaloop.formats import read_dataset
from hemaloop.formats.items import Dataset
from hemaloop.images import ImageLoader
from hemaloop.plugin import Progress, Silent
from loop_stage import HEIGHT, WIDTH, Studio, label_studio, settings

MASKS = """<View><Image name="image" value="$image"/>
<BrushLabels name="cells" toName="image" model_family="overlap_unet"><Label value="RBC"/><Label value="Overlap"/>
</BrushLabels></View>"""
CHOICES = """<View><Image name="image" value="$image"/>
<Choices name="cells" toName="image" model_family="tone"><Choice value="bright"/><Choice value="dim"/></Choices>
</View>"""
IGNORING = stub_plugin.CONFIG.replace(
    '<Label value="blue"/>', '<Label value="blue"/><Label value="Uncategorised" model_ignore="true"/>'
)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Studio, Settings]]:
    """A project of boxes with six images, four of them annotated."""
    stub_plugin.install(monkeypatch)
    (tmp_path / "images").mkdir()
    with label_studio(stub_plugin.config()) as studio:
        for number in studio.add_images(tmp_path / "images", 6)[:4]:
            studio.annotate(number)
        yield studio, settings(tmp_path, studio.url)
    stub_plugin.forget()


def write(stage: tuple[Studio, Settings], folder: Path, progress: Progress | None = None, **wish: Any) -> Any:
    """Export project 7 as a person asks for it."""
    _, chosen = stage
    studio = LabelStudio.from_settings(chosen)
    try:
        images = ImageLoader(chosen, studio.auth_headers)
        return export(chosen, studio, images, Order(7, folder, **wish), progress or Silent())
    finally:
        studio.close()


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "tasks.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def boxes_by_image(dataset: Dataset) -> dict[str, list[tuple[Any, ...]]]:
    return {
        item.path.name: sorted(zip(item.names, map(tuple, np.round(item.boxes, 2).tolist()), strict=True))
        for item in dataset.items
    }


@pytest.mark.parametrize("kind", list(Format))
def test_boxes_come_back_as_they_were_drawn(stage: tuple[Studio, Settings], kind: Format, tmp_path: Path) -> None:
    done = write(stage, tmp_path / "out", kind=kind)
    dataset = read_dataset(done.data)
    assert dataset.faults == ()
    studio, _ = stage
    drawn = {
        f"{number}.png": sorted((colour, (x1, y1, x2, y2)) for x1, y1, x2, y2, colour in studio.truths[number])
        for number in range(1, 5)
    }
    assert boxes_by_image(dataset) == drawn


@pytest.mark.parametrize("kind", list(Format))
def test_what_is_neither_object_nor_background_stays_so(
    stage: tuple[Studio, Settings], kind: Format, tmp_path: Path
) -> None:
    studio, _ = stage
    studio.config = IGNORING.format(preset="blobs", options="")
    region = studio.tasks[1]["annotations"][0]["result"][0]
    region["value"]["rectanglelabels"] = ["Uncategorised"]
    dataset = read_dataset(write(stage, tmp_path / "out", kind=kind).data)
    item = next(item for item in dataset.items if item.path.name == "1.png")
    assert len(item.names) == 3
    assert item.ignore.round().tolist() == [list(studio.truths[1][0][:4])]
    assert "Uncategorised" not in dataset.labels


@pytest.mark.parametrize("kind", [Format.VOC, Format.LABEL_STUDIO])
def test_masks_come_back_pixel_for_pixel(stage: tuple[Studio, Settings], kind: Format, tmp_path: Path) -> None:
    studio, _ = stage
    studio.config = MASKS
    drawn = paint(studio)
    done = write(stage, tmp_path / "out", kind=kind)
    dataset = read_dataset(done.data)
    assert dataset.faults == ()
    assert len(dataset) == 4
    for item in dataset.items:
        assert np.array_equal(item.class_map(("RBC", "Overlap")).labels, drawn[item.path.stem])
    if kind is Format.VOC:
        with Pillow.open(tmp_path / "out" / "masks" / "1.png") as picture:
            assert picture.mode == "L"


def paint(studio: Studio) -> dict[str, Any]:
    """Masks in place of the boxes of each annotated task; what was painted, by the image's name."""
    drawn = {}
    for number in range(1, 5):
        values = np.zeros((HEIGHT, WIDTH), np.uint8)
        values[4:20, number : number + 20] = 1
        values[10:16, 10 + number : 14 + number] = 2
        values[30:40, 30:50] = 1
        studio.tasks[number]["annotations"][0]["result"] = [
            {
                "id": label,
                "from_name": "cells",
                "to_name": "image",
                "type": "brushlabels",
                "original_width": WIDTH,
                "original_height": HEIGHT,
                "value": {"format": "rle", "rle": brush.encode(values == value), "brushlabels": [label]},
            }
            for value, label in enumerate(("RBC", "Overlap"), 1)
        ]
        drawn[str(number)] = values
    return drawn


def test_coco_holds_each_region_of_a_mask_with_its_pixels(stage: tuple[Studio, Settings], tmp_path: Path) -> None:
    studio, _ = stage
    studio.config = MASKS
    drawn = paint(studio)
    write(stage, tmp_path / "out", kind=Format.COCO)
    content = json.loads((tmp_path / "out" / "annotations.json").read_text())
    mine = [one for one in content["annotations"] if one["image_id"] == 1]
    found = np.zeros((HEIGHT, WIDTH), np.uint8)
    for one in mine:
        found[decoded(one["segmentation"])] = one["category_id"]
        assert one["area"] == decoded(one["segmentation"]).sum()
    assert len(mine) == 3
    assert np.array_equal(found, drawn["1"])


def decoded(segmentation: dict[str, Any]) -> Any:
    """COCO's uncompressed runs as a mask, the way its documentation says."""
    height, width = segmentation["size"]
    flat = np.repeat(np.arange(len(segmentation["counts"])) % 2 == 1, segmentation["counts"])
    return flat.reshape(width, height).T


@pytest.mark.parametrize(
    ("mask", "runs"),
    [([[0, 1], [0, 1]], [2, 2]), ([[1, 0], [0, 0]], [0, 1, 3]), ([[0, 0], [0, 0]], [4]), ([[1, 1], [1, 1]], [0, 4])],
)
def test_run_lengths_go_down_the_columns_and_begin_with_pixels_that_are_off(mask: Any, runs: list[int]) -> None:
    assert run_lengths(np.array(mask, bool)) == runs


def test_each_task_tells_its_split_and_the_model_that_pre_labelled_it(
    stage: tuple[Studio, Settings], tmp_path: Path
) -> None:
    studio, _ = stage
    studio.tasks[1]["annotations"][0]["prediction"] = {"model_version": "stub-0001-abcdef"}
    studio.tasks[2]["data"]["patient"] = "17"
    for kind in Format:
        write(stage, tmp_path / kind.value, kind=kind)
    for folder in (tmp_path / kind.value for kind in Format):
        rows = {row["task"]: row for row in table(folder)}
        assert rows["1"]["pre_labelled_by"] == "stub-0001-abcdef"
        assert rows["2"]["pre_labelled_by"] == ""
        assert rows["2"]["group"] == "patient:17"
        assert {row["split"] for row in rows.values()} <= {"train", "tune", "gate"}
    coco = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    theirs = json.loads((tmp_path / "label-studio" / "annotations.json").read_text())
    splits = {int(row["task"]): row["split"] for row in table(tmp_path / "coco")}
    assert {one["id"]: one["split"] for one in coco["images"]} == splits
    assert {one["id"]: one["meta"]["hemaloop"]["split"] for one in theirs} == splits
    assert theirs[0]["meta"]["hemaloop"]["pre_labelled_by"] == "stub-0001-abcdef"
    named = [path.read_text().split() for path in (tmp_path / "voc" / "ImageSets" / "Main").glob("*.txt")]
    assert sorted(stem for stems in named for stem in stems) == ["1", "2", "3", "4"]


def test_the_prediction_that_an_annotation_was_begun_with_counts_before_the_one_that_was_shown() -> None:
    task = {"predictions": [{"id": 5, "model_version": "old"}]}
    assert pre_labelled_by(task, [{"id": 1, "parent_prediction": 5}], {1: "new"}) == "old"
    assert pre_labelled_by(task, [{"id": 1, "parent_prediction": 6}], {1: "new"}) == "new"
    assert pre_labelled_by(task, [{"id": 2}], {1: "new"}) is None


@pytest.mark.parametrize("kind", list(Format))
def test_images_of_one_name_keep_their_own_labels(stage: tuple[Studio, Settings], kind: Format, tmp_path: Path) -> None:
    studio, _ = stage
    for number in (1, 2):
        folder = tmp_path / "images" / str(number)
        folder.mkdir()
        Path(studio.tasks[number]["data"]["image"]).rename(folder / "smear.png")
        studio.tasks[number]["data"]["image"] = str(folder / "smear.png")
    dataset = read_dataset(write(stage, tmp_path / "out", kind=kind).data)
    found = sorted(boxes_by_image(dataset).items())
    counted = {name: len(boxes) for name, boxes in found}
    assert {"smear.png", "smear-2.png"} <= set(counted)
    assert len({str(boxes) for _, boxes in found}) == 4


def test_choices_are_exported_as_label_studio_writes_them_and_as_nothing_else(
    stage: tuple[Studio, Settings], tmp_path: Path
) -> None:
    studio, _ = stage
    studio.config = CHOICES
    with pytest.raises(DatasetError, match="--format label-studio"):
        write(stage, tmp_path / "out", kind=Format.COCO)
    assert not (tmp_path / "out").exists()
    assert write(stage, tmp_path / "out").tasks == 4


class Stopped(Silent):
    """Ctrl-C at the second image."""

    def report(self, done: float, *_: Any, **__: Any) -> None:
        if done >= 2:
            raise Cancelled("stopped")


def test_an_end_on_the_way_leaves_the_folder_as_it_was(stage: tuple[Studio, Settings], tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        write(stage, tmp_path / "new" / "out", Stopped(), kind=Format.VOC)
    assert list((tmp_path / "new").iterdir()) == []
    write(stage, tmp_path / "out", kind=Format.VOC)
    before = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    with pytest.raises(Cancelled):
        write(stage, tmp_path / "out", Stopped(), kind=Format.COCO, overwrite=True)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == before


def test_only_an_earlier_export_is_replaced_and_only_where_that_was_asked_for(
    stage: tuple[Studio, Settings], tmp_path: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("years of work")
    with pytest.raises(DatasetError, match="is no export"):
        write(stage, tmp_path / "theirs", overwrite=True)
    write(stage, tmp_path / "out")
    with pytest.raises(DatasetError, match="--overwrite"):
        write(stage, tmp_path / "out")
    write(stage, tmp_path / "out", kind=Format.COCO, overwrite=True)
    assert (tmp_path / "theirs" / "thesis.txt").exists()


def test_an_image_that_cannot_be_had_is_named_and_the_rest_is_written(
    stage: tuple[Studio, Settings], tmp_path: Path
) -> None:
    (tmp_path / "images" / "3.png").unlink()
    done = write(stage, tmp_path / "out", kind=Format.COCO)
    assert done.tasks == 3
    assert "task 3 is left out" in done.faults[0]


def test_a_project_without_annotations_says_so(stage: tuple[Studio, Settings], tmp_path: Path) -> None:
    studio, _ = stage
    for task in studio.tasks.values():
        task["annotations"].clear()
    with pytest.raises(DatasetError, match="no annotation was submitted"):
        write(stage, tmp_path / "out")
