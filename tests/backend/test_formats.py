"""Data sets on disk: every format reads to the same boxes, and what is wrong is named while the rest goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hemaloop.errors import DatasetError, ImageError
from hemaloop.formats import detect_format, examples, read_dataset
from hemaloop.formats.checking import check_box
from real_smears import CBC, needs_cbc

WIDTH, HEIGHT = 80, 60


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def voc_xml(*objects: tuple[Any, ...], size: tuple[int, int] = (WIDTH, HEIGHT), filename: str = "a.png") -> str:
    rows = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for name, x1, y1, x2, y2 in objects
    )
    shape = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{filename}</filename>{shape}{rows}</annotation>"


def voc(folder: Path, **files: str) -> Path:
    """A VOC folder with one image for every XML text."""
    (folder / "Annotations").mkdir(parents=True)
    for seed, (stem, text) in enumerate(files.items()):
        picture(folder / "Images" / f"{stem}.png", seed)
        (folder / "Annotations" / f"{stem}.xml").write_text(text)
    return folder


def faults_of(folder: Path) -> list[str]:
    return [str(fault) for fault in read_dataset(folder).faults]


# -- the four formats


def make_voc(folder: Path) -> Path:
    return voc(folder, a=voc_xml(("RBC", 8, 6, 40, 30), ("WBC", 40, 30, 80, 60)), b=voc_xml())


def make_flat_voc(folder: Path) -> Path:
    picture(folder / "a.png")
    picture(folder / "b.png", 1)
    (folder / "a.xml").write_text(voc_xml(("RBC", 8, 6, 40, 30), ("WBC", 40, 30, 80, 60)))
    (folder / "b.xml").write_text(voc_xml())
    return folder


def make_yolo(folder: Path) -> Path:
    picture(folder / "images" / "a.png")
    picture(folder / "images" / "b.png", 1)
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("0 0.3 0.3 0.4 0.4\n1 0.75 0.75 0.5 0.5\n")
    (folder / "labels" / "b.txt").write_text("")
    (folder / "classes.txt").write_text("RBC\nWBC\n")
    return folder


def make_yolo_yaml(folder: Path) -> Path:
    """Splits side by side, names in the folder above, and a polygon in place of the first box."""
    part = folder / "train"
    picture(part / "images" / "a.png")
    picture(part / "images" / "b.png", 1)
    (part / "labels").mkdir()
    (part / "labels" / "a.txt").write_text("0 0.1 0.1 0.5 0.2 0.3 0.5\n1 0.75 0.75 0.5 0.5\n")
    (part / "labels" / "b.txt").write_text("")
    (folder / "data.yaml").write_text("nc: 2\nnames:\n  0: RBC\n  1: WBC\n")
    return part


def coco_content() -> dict[str, Any]:
    return {
        "images": [
            {"id": 1, "file_name": "images/a.png", "width": WIDTH, "height": HEIGHT},
            {"id": 2, "file_name": "b.png"},
        ],
        "categories": [{"id": 7, "name": "RBC"}, {"id": 9, "name": "WBC"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "bbox": [8, 6, 32, 24]},
            {"id": 2, "image_id": 1, "category_id": 9, "bbox": [40, 30, 40, 30]},
        ],
    }


def make_coco(folder: Path) -> Path:
    picture(folder / "images" / "a.png")
    picture(folder / "images" / "b.png", 1)
    path = folder / "boxes.json"
    path.write_text(json.dumps(coco_content()))
    return path


def region(label: str, x: float, y: float, width: float, height: float, **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [label]}
    common = {"from_name": "cells", "to_name": "image", "type": "rectanglelabels", "id": f"{label}{x}{y}"}
    return {**common, "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "value": value, **more}


def export_content() -> list[dict[str, Any]]:
    submitted = {"was_cancelled": False, "completed_by": 1, "lead_time": 3.0}
    return [
        {
            "id": 1,
            "data": {"image": "/data/upload/3/0a1b2c3d-a.png"},
            "annotations": [
                {"id": 5, "result": [region("RBC", 10, 10, 40, 40), region("WBC", 50, 50, 50, 50)], **submitted}
            ],
        },
        {
            "id": 2,
            "data": {"image": "/data/local-files/?d=smears/b.png"},
            "annotations": [{"id": 6, "result": [], **submitted}],
        },
    ]


def make_export(folder: Path) -> Path:
    picture(folder / "images" / "a.png")
    picture(folder / "images" / "b.png", 1)
    path = folder / "project-3.json"
    path.write_text(json.dumps(export_content()))
    return path


MAKERS = [
    (make_voc, "Pascal VOC"),
    (make_flat_voc, "Pascal VOC"),
    (make_yolo, "YOLO"),
    (make_yolo_yaml, "YOLO"),
    (make_coco, "COCO"),
    (make_export, "Label Studio export"),
]


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_every_format_reads_to_the_same_boxes(make: Any, name: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    assert detect_format(path) == name
    dataset = read_dataset(path)
    assert dataset.faults == ()
    assert dataset.labels == ("RBC", "WBC")
    assert [item.path.name for item in dataset.items] == ["a.png", "b.png"]
    first, second = dataset.truths(dataset.labels)
    assert first.boxes == pytest.approx(np.array([[8, 6, 40, 30], [40, 30, 80, 60]]), abs=1e-4)
    assert first.labels.tolist() == [0, 1]
    assert len(second) == 0  # said to hold no cell, which is truth too
    assert (dataset.items[0].width, dataset.items[0].height) == (WIDTH, HEIGHT)


def test_examples_are_decoded_when_indexed_and_keep_the_order_of_the_labels_asked_for(tmp_path: Path) -> None:
    dataset = read_dataset(make_voc(tmp_path))
    found = examples(dataset, ("WBC", "Platelets", "RBC"))
    assert len(found) == 2
    assert found[0].image.shape == (HEIGHT, WIDTH, 3)
    assert found[0].truth.labels.tolist() == [2, 0]
    assert found[0].key == dataset.items[0].key
    assert [len(example.truth) for example in found] == [2, 0]
    assert len(found[1:]) == 1
    assert [len(truth) for truth in found.truths()] == [2, 0]


def test_boxes_of_classes_not_asked_for_are_left_out(tmp_path: Path) -> None:
    assert examples(read_dataset(make_voc(tmp_path)), ("WBC",))[0].truth.labels.tolist() == [0]


def test_an_image_that_vanished_is_named_when_it_is_indexed(tmp_path: Path) -> None:
    found = examples(read_dataset(make_voc(tmp_path)), ("RBC",))
    (tmp_path / "Images" / "b.png").unlink()
    assert found[0].key
    with pytest.raises(ImageError, match=r"b\.png"):
        found[1]


def test_the_same_content_has_the_same_key_and_is_reported(tmp_path: Path) -> None:
    make_voc(tmp_path)
    (tmp_path / "Images" / "b.png").write_bytes((tmp_path / "Images" / "a.png").read_bytes())
    dataset = read_dataset(tmp_path)
    assert dataset.items[0].key == dataset.items[1].key
    assert [[path.name for path in group] for group in dataset.duplicates()] == [["a.png", "b.png"]]


# -- boxes


@pytest.mark.parametrize(
    ("box", "expected", "says"),
    [
        ((10, 10, 10, 30), None, "has no area"),
        ((40, 30, 8, 6), (8, 6, 40, 30), "was inverted"),
        ((-5, -5, 20, 20), (0, 0, 20, 20), "reaches outside"),
        ((90, 10, 120, 20), None, "lies outside"),
        ((-1e39, 10, -2, 20), None, "lies outside"),
        ((70, 10, 120, 20), (70, 10, 80, 20), "cut at its edge"),
        (("nan", 1, 2, 3), None, "not a number"),
        (("inf", 1, 2, 3), None, "not a number"),
    ],
)
def test_a_bad_box_is_mended_or_left_out_and_named(
    box: tuple[Any, ...], expected: tuple[float, ...] | None, says: str, tmp_path: Path
) -> None:
    dataset = read_dataset(voc(tmp_path, a=voc_xml(("RBC", *box), ("RBC", 1, 2, 30, 40))))
    kept = dataset.items[0].boxes.tolist()
    assert kept == ([list(expected)] if expected else []) + [[1, 2, 30, 40]]
    assert len(dataset.faults) == 1
    assert "a.xml: box 0 (RBC)" in str(dataset.faults[0])
    assert says in str(dataset.faults[0])


finite = st.floats(-1e6, 1e6) | st.floats(allow_nan=True, allow_infinity=True)


@given(st.tuples(finite, finite, finite, finite), st.integers(8, 5000), st.integers(8, 5000))
def test_whatever_a_file_holds_the_box_keeps_the_contract(
    corners: tuple[float, float, float, float], width: int, height: int
) -> None:
    box, complaint = check_box(corners, width, height)
    if box is None:
        assert complaint
        return
    x1, y1, x2, y2 = np.array(box, np.float32)
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height


# -- images


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is not there"),
        (b"", "empty"),
        (b"no picture at all", "expected an image file"),
        ("truncated", "damaged or cut off"),
    ],
)
def test_a_bad_image_is_left_out_and_named_and_the_rest_goes_on(
    content: bytes | str | None, says: str, tmp_path: Path
) -> None:
    make_voc(tmp_path)
    path = tmp_path / "Images" / "a.png"
    if content is None:
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    dataset = read_dataset(tmp_path)
    assert [item.path.name for item in dataset.items] == ["b.png"]
    assert len(dataset.faults) == 1
    assert says in str(dataset.faults[0])
    assert "a." in str(dataset.faults[0])


def test_an_image_without_annotation_is_left_out_not_learned_as_empty(tmp_path: Path) -> None:
    for make in (make_voc, make_yolo):
        folder = make(tmp_path / make.__name__)
        picture(folder / ("Images" if make is make_voc else "images") / "c.png", 3)
        dataset = read_dataset(folder)
        assert len(dataset) == 2
        assert "c.png" in str(dataset.faults[0])


def test_boxes_for_another_size_are_scaled_and_for_another_shape_refused(tmp_path: Path) -> None:
    twice = voc_xml(("RBC", 16, 12, 80, 60), size=(2 * WIDTH, 2 * HEIGHT))
    turned = voc_xml(("RBC", 16, 12, 30, 30), size=(HEIGHT, WIDTH))
    dataset = read_dataset(voc(tmp_path, a=twice, b=turned))
    assert len(dataset) == 1
    assert dataset.items[0].boxes.tolist() == [[8, 6, 40, 30]]
    assert "scaled" in str(dataset.faults[0])
    assert "another shape" in str(dataset.faults[1])


def test_a_size_of_zero_claims_nothing(tmp_path: Path) -> None:
    assert faults_of(voc(tmp_path, a=voc_xml(("RBC", 1, 1, 9, 9), size=(0, 0)))) == []


# -- XML


def test_xml_with_entities_is_refused_by_name_and_the_rest_goes_on(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx">]>' + voc_xml(("&x;", 1, 1, 9, 9))
    outside = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + voc_xml(("&x;", 1, 1, 9, 9))
    dataset = read_dataset(voc(tmp_path, a=bomb, b=outside, c=voc_xml(("RBC", 1, 1, 9, 9))))
    assert [item.path.name for item in dataset.items] == ["c.png"]
    assert [str(fault) for fault in dataset.faults] == [
        f"{name}.xml: declares XML entities, which are refused; image left out" for name in ("a", "b")
    ]


@pytest.mark.parametrize("text", ["", "<annotation>", "{}", "\x00\x01"])
def test_broken_xml_is_named(text: str, tmp_path: Path) -> None:
    (fault,) = faults_of(voc(tmp_path, a=text, b=voc_xml()))
    assert "a.xml: is not readable XML" in fault


def test_an_object_without_name_or_corners_is_named(tmp_path: Path) -> None:
    faults = faults_of(voc(tmp_path, a=voc_xml(("", 1, 1, 9, 9), ("RBC", "left", 1, 9, 9), ("RBC", "", 1, 9, 9))))
    assert "object 0 has no name" in faults[0]
    assert "expected four numbers" in faults[1]
    assert "expected four numbers" in faults[2]


# -- YOLO


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("5 0.5 0.5 0.1 0.1", "line 1: class 5, expected 0 to 1"),
        ("-1 0.5 0.5 0.1 0.1", "line 1: class -1"),
        ("RBC 0.5 0.5 0.1 0.1", "expected a class number"),
        ("0 0.5 0.5 0.1", "3 fractions, expected 4 or a polygon"),
        ("0 half 0.5 0.1 0.1", "expected a class number and fractions"),
        ("0 0.5 0.5 0 0.1", "has no area"),
        ("0 0.95 0.5 0.3 0.1", "reaches outside"),
    ],
)
def test_a_bad_yolo_line_is_named_and_the_others_count(line: str, says: str, tmp_path: Path) -> None:
    make_yolo(tmp_path)
    (tmp_path / "labels" / "a.txt").write_text(f"{line}\n1 0.75 0.75 0.5 0.5\n")
    dataset = read_dataset(tmp_path)
    assert dataset.items[0].names[-1] == "WBC"
    assert says in str(dataset.faults[0])


def test_a_yolo_file_that_is_no_text_leaves_out_its_image_and_is_not_learned_as_empty(tmp_path: Path) -> None:
    make_yolo(tmp_path)
    (tmp_path / "labels" / "a.txt").write_bytes(b"\xff\xfe\x00")
    dataset = read_dataset(tmp_path)
    assert [item.path.name for item in dataset.items] == ["b.png"]
    assert "cannot be read as text" in str(dataset.faults[0])


def test_yolo_without_class_names_says_what_to_add(tmp_path: Path) -> None:
    make_yolo(tmp_path / "set")
    (tmp_path / "set" / "classes.txt").unlink()
    with pytest.raises(DatasetError, match=r"put classes\.txt"):
        read_dataset(tmp_path / "set")


@pytest.mark.parametrize("text", ["names: 3", "names: {a: b}", "[1, 2]", "names: [a, b", ""])
def test_unreadable_class_names_are_refused(text: str, tmp_path: Path) -> None:
    make_yolo(tmp_path / "set")
    (tmp_path / "set" / "classes.txt").unlink()
    (tmp_path / "set" / "data.yaml").write_text(text)
    with pytest.raises(DatasetError, match=r"data\.yaml"):
        read_dataset(tmp_path / "set")


# -- COCO


@pytest.mark.parametrize("text", ["", "{", "[[[", "nul", "\xff"])
def test_malformed_json_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=r"boxes\.json: is not readable JSON"):
        read_dataset(path)


@pytest.mark.parametrize("name", ["images", "annotations", "categories"])
def test_a_coco_list_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    path = make_coco(tmp_path)
    path.write_text(json.dumps({**coco_content(), name: "nothing"}))
    with pytest.raises(DatasetError, match=f"expected a list under '{name}'"):
        read_dataset(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"category_id": 99}, "unknown category 99"),
        ({"image_id": 99}, "image id 99, which is not in the file"),
        ({"bbox": [1, 2, 3]}, "expected image_id, category_id and bbox"),
        ({"bbox": None}, "expected image_id, category_id and bbox"),
        ({"bbox": ["a", 2, 3, 4]}, "expected image_id, category_id and bbox"),
        ({"bbox": [1, 2, 0, 4]}, "has no area"),
        ({"bbox": [30, 30, -10, -10]}, "was inverted"),
    ],
)
def test_a_bad_coco_annotation_is_named_and_the_others_count(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = make_coco(tmp_path)
    content = coco_content()
    content["annotations"][0].update(change)
    path.write_text(json.dumps(content))
    dataset = read_dataset(path)
    assert "WBC" in dataset.items[0].names
    assert says in str(dataset.faults[0])


def test_a_crowd_is_an_ignore_region_and_no_cell(tmp_path: Path) -> None:
    path = make_coco(tmp_path)
    content = coco_content()
    content["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    dataset = read_dataset(path)
    assert dataset.faults == ()
    assert dataset.items[0].names == ("WBC",)
    assert dataset.items[0].ignore.tolist() == [[8, 6, 40, 30]]
    assert examples(dataset, ("WBC",))[0].ignore.tolist() == [[8, 6, 40, 30]]
    assert dataset.items[1].ignore.shape == (0, 4)


@pytest.mark.parametrize(
    ("bbox", "kept", "says"),
    [
        ([60, 40, 40, 40], [[60, 40, 80, 60]], "ignore region 0 reaches outside"),
        ([1, 2, 0, 4], [], "ignore region 0 has no area"),
    ],
)
def test_a_bad_ignore_region_is_mended_or_left_out_and_named(
    bbox: list[float], kept: list[list[float]], says: str, tmp_path: Path
) -> None:
    path = make_coco(tmp_path)
    content = coco_content()
    content["annotations"][0].update(iscrowd=1, bbox=bbox)
    path.write_text(json.dumps(content))
    dataset = read_dataset(path)
    assert dataset.items[0].ignore.tolist() == kept
    assert says in str(dataset.faults[0])


@pytest.mark.parametrize("entry", [None, 3, {"id": 5}, {"file_name": 4, "id": 5}, {"file_name": "a.png"}])
def test_a_bad_coco_image_is_named(entry: Any, tmp_path: Path) -> None:
    path = make_coco(tmp_path)
    content = coco_content()
    content["images"].append(entry)
    path.write_text(json.dumps(content))
    dataset = read_dataset(path)
    assert len(dataset) == 2
    assert "images[2]: expected an object with id and file_name" in str(dataset.faults[0])


def test_a_coco_path_does_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    picture(tmp_path / "secret.png", 9)
    path = make_coco(tmp_path / "set")
    content = coco_content()
    content["images"][0]["file_name"] = "../secret.png"
    path.write_text(json.dumps(content))
    dataset = read_dataset(path)
    assert [item.path.name for item in dataset.items] == ["b.png"]
    assert "secret.png' is not there" in str(dataset.faults[0])


# -- Label Studio


def rewrite(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_skips_drafts_and_bulk_copies_are_not_truth(tmp_path: Path) -> None:
    path = make_export(tmp_path)
    content = export_content()
    content[0]["annotations"][0]["was_cancelled"] = True
    content[1]["annotations"][0].update(parent_prediction=4, lead_time=None)
    content[1]["drafts"] = [{"result": [region("RBC", 1, 1, 9, 9)]}]
    dataset = read_dataset(rewrite(path, content))
    assert len(dataset) == 0
    assert "2 task(s) have no submitted annotation" in str(dataset.faults[0])


def test_the_newest_annotation_of_an_annotator_counts(tmp_path: Path) -> None:
    path = make_export(tmp_path)
    content = export_content()
    content[0]["annotations"][0]["updated_at"] = "2025-01-01T00:00:00Z"
    newer = {
        "id": 9,
        "completed_by": 1,
        "updated_at": "2025-02-01T00:00:00Z",
        "result": [region("RBC", 10, 10, 40, 40)],
    }
    content[0]["annotations"].append({**newer, "was_cancelled": False, "lead_time": 1.0})
    assert read_dataset(rewrite(path, content)).items[0].names == ("RBC",)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"value": {"rectanglelabels": ["RBC"], "x": 1, "y": 1, "width": 0, "height": 9}}, "expected an area"),
        ({"value": {"rectanglelabels": ["RBC"], "x": "1", "y": 1, "width": 1, "height": 9}}, "expected numbers"),
        ({"type": "brushlabels", "value": {"rle": []}}, "1 region(s) are brushlabels, not boxes"),
    ],
)
def test_a_bad_region_is_named_and_the_others_count(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = make_export(tmp_path)
    content = export_content()
    content[0]["annotations"][0]["result"][0].update(change)
    dataset = read_dataset(rewrite(path, content))
    assert dataset.items[0].names == ("WBC",)
    assert any(says in str(fault) for fault in dataset.faults)


@pytest.mark.parametrize("entry", [None, "task", {"data": 3}, {"annotations": []}])
def test_an_entry_that_is_no_task_is_named(entry: Any, tmp_path: Path) -> None:
    dataset = read_dataset(rewrite(make_export(tmp_path), [*export_content(), entry]))
    assert len(dataset) == 2
    assert "entry 2: expected a task" in str(dataset.faults[0])


@pytest.mark.parametrize("result", [None, "none", 3])
def test_a_result_that_is_no_list_leaves_out_its_task(result: Any, tmp_path: Path) -> None:
    content = export_content()
    content[0]["annotations"][0]["result"] = result
    content[1]["annotations"][0]["result"] = [region("RBC", 1, 1, 50, 50)]
    dataset = read_dataset(rewrite(make_export(tmp_path), content))
    assert [item.path.name for item in dataset.items] == ["b.png"]
    assert "task 1" in str(dataset.faults[0])


def test_the_short_export_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = rewrite(make_export(tmp_path), [{"image": "a.png", "label": []}])
    with pytest.raises(DatasetError, match="JSON-MIN"):
        read_dataset(path)


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    path = make_export(tmp_path / "one")
    (tmp_path / "one" / "images").rename(tmp_path / "two")
    assert len(read_dataset(path)) == 0
    assert len(read_dataset(path, tmp_path / "two")) == 2
    with pytest.raises(DatasetError, match="is not a folder"):
        read_dataset(path, tmp_path / "three")


# -- nothing known


def test_a_path_that_is_not_there_or_of_no_format_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no such file"):
        read_dataset(tmp_path / "nothing")
    with pytest.raises(DatasetError, match="cannot tell its format"):
        read_dataset(tmp_path)
    make_voc(tmp_path / "Training")
    with pytest.raises(DatasetError, match=r"Training look like data sets: name one of them"):
        read_dataset(tmp_path)


# -- the real data


@needs_cbc
@pytest.mark.parametrize(
    ("split", "images", "boxes", "fault"),
    [
        ("Training", 300, {"RBC": 3340, "WBC": 307, "Platelets": 304}, "BloodImage_00338.xml"),
        ("Testing", 60, {"RBC": 791, "WBC": 61, "Platelets": 55}, "BloodImage_00343.xml"),
    ],
)
def test_cbc_reads_whole_but_for_its_box_without_area(
    split: str, images: int, boxes: dict[str, int], fault: str
) -> None:
    dataset = read_dataset(CBC / split)
    assert len(dataset) == images
    assert dict(dataset.counts()) == boxes
    assert [(one.path.name, "has no area" in one.message) for one in dataset.faults] == [(fault, True)]
