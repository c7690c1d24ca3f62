"""Laws of labels that say that something is there but not what: neither an object nor background."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import stub_plugin
from hemaloop.annotations import Truth, read_truth
from hemaloop.dataset import load, survey
from hemaloop.errors import LabelConfigError
from hemaloop.formats import read_dataset
from hemaloop.images import LoadedImage, decode_image
from hemaloop.labelconfig import Control, parse_label_config
from hemaloop.plugin import Detections
from loop_stage import region as as_drawn

XML = """<View><Image name="image" value="$image"/>
<RectangleLabels name="box" toName="image" model_family="f"><Label value="RBC"/><Label value="WBC"/>
<Label value="Dirt" model_label=""/><Label value="Unclear" model_ignore="true"/></RectangleLabels></View>"""
BOX = parse_label_config(XML).control("box")
WIDTH, HEIGHT = 200, 100


def region(x: float, *labels: str, y: float = 0, side: float = 10) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": side, "height": side, "rectanglelabels": list(labels)}
    return {"id": f"{x}", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value}


def read(*people: list[dict[str, Any]], control: Control = BOX) -> Truth:
    found = [
        {"id": number, "completed_by": number, "updated_at": f"2026-01-0{number}", "result": regions}
        for number, regions in enumerate(people, 1)
    ]
    truth = read_truth({"id": 7, "annotations": found}, control, WIDTH, HEIGHT)
    assert truth is not None
    return truth


def boxes(truth: Truth) -> list[list[float]]:
    assert isinstance(truth.prediction, Detections)
    result: list[list[float]] = truth.prediction.boxes.tolist()
    return result


def test_a_label_to_ignore_is_no_label_of_the_model() -> None:
    assert BOX.labels == ("RBC", "WBC", "Dirt", "Unclear")
    assert BOX.model_labels == ("RBC", "WBC")
    assert BOX.ignored == ("Unclear",)


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        (XML.replace('"true"', '"yes"'), "model_ignore='yes': expected 'true'"),
        (XML.replace('model_ignore="true"', 'model_ignore="true" model_label="RBC"'), "learned or left out, not both"),
        (XML.replace("RectangleLabels", "BrushLabels"), "found <BrushLabels>, expected <RectangleLabels>"),
    ],
)
def test_a_faulty_label_to_ignore_is_refused_with_what_was_expected(xml: str, expected: str) -> None:
    with pytest.raises(LabelConfigError) as caught:
        parse_label_config(xml)
    assert expected in str(caught.value)


def test_a_box_to_ignore_is_neither_learned_nor_background_and_dirt_is_background() -> None:
    truth = read([region(0, "RBC"), region(20, "Unclear"), region(40, "Dirt")])
    assert boxes(truth) == [[0, 0, 20, 10]]
    assert truth.ignore.tolist() == [[40, 0, 60, 10]]
    assert truth.ignore.dtype == np.float32
    assert truth.faults == ()


def test_truth_without_such_boxes_ignores_nothing() -> None:
    assert read([region(0, "RBC")]).ignore.shape == (0, 4)


@pytest.mark.parametrize("labels", [(), ("Alien",), ("RBC", "WBC"), ("RBC", "Unclear")])
def test_a_box_whose_class_cannot_be_told_is_ignored(labels: tuple[str, ...]) -> None:
    truth = read([region(0, "RBC"), region(50, *labels)])
    assert boxes(truth) == [[0, 0, 20, 10]]
    assert truth.ignore.tolist() == [[100, 0, 120, 10]]


def test_people_who_differ_in_what_to_ignore_agree_on_the_cells() -> None:
    truth = read([region(0, "RBC"), region(20, "Unclear")], [region(0, "RBC")])
    assert truth.disagreement == 0
    assert truth.ignore.tolist() == [[40, 0, 60, 10]], "of two people either may be right"


def test_what_most_people_name_is_learned_and_what_most_cannot_name_is_ignored() -> None:
    named = read([region(0, "RBC")], [region(0, "RBC")], [region(0, "Unclear")])
    assert (len(boxes(named)), len(named.ignore)) == (1, 0)
    unclear = read([region(0, "RBC")], [region(0, "Unclear")], [region(0, "Unclear")])
    assert (len(boxes(unclear)), len(unclear.ignore)) == (0, 1)
    alone = read([], [], [region(0, "Unclear")])
    assert (len(boxes(alone)), len(alone.ignore)) == (0, 0), "of three people two must have seen something"


def test_an_uncategorised_cell_of_an_export_is_no_class(tmp_path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT), "white").save(tmp_path / "a.png")
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    result = [{**one, **size} for one in (region(0, "RBC"), region(20, "Uncategorised"))]
    task = {"id": 1, "data": {"image": "a.png"}, "annotations": [{"id": 1, "result": result}]}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    dataset = read_dataset(tmp_path / "export.json")
    assert dataset.labels == ("RBC",)
    assert dataset.items[0].names == ("RBC",)
    assert dataset.items[0].ignore.tolist() == [[40, 0, 60, 10]]


def test_what_is_ignored_reaches_the_examples_and_makes_a_training_new() -> None:
    xml = stub_plugin.config("bare").replace('<Label value="red"/>', '<Label value="red" model_ignore="true"/>')
    control = parse_label_config(xml).bound[0]
    drawn = stub_plugin.random_cells(3)
    data = stub_plugin.png(stub_plugin.draw(drawn))

    class Images:
        def load(self, uri: str, task_id: int | None = None, *, project: str) -> LoadedImage:
            return decode_image(data)

    task = {
        "id": 1,
        "data": {"image": "1.png"},
        "annotations": [{"id": 1, "completed_by": 1, "result": [as_drawn(cell) for cell in drawn]}],
    }
    found = survey([task], control, "1")
    splits = load(found, control, Images(), "7.1", gate=0, tune=0)
    (example,) = splits.train
    red = [list(cell[:4]) for cell in drawn if cell[4] == "red"]
    assert red, "the picture must show something to ignore"
    assert example.ignore.tolist() == red
    assert isinstance(example.truth, Detections)
    assert len(example.truth) == len(drawn) - len(red)
    plain = parse_label_config(stub_plugin.config("bare")).bound[0]
    dirt = parse_label_config(xml.replace('model_ignore="true"', 'model_label=""')).bound[0]
    assert len({survey([task], one, "1").fingerprint for one in (control, plain, dirt)}) == 3
