"""Laws of the marks on regions worth a second look: shown to people, and never truth."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image

from hemaloop import annotations, results
from hemaloop.errors import LabelConfigError
from hemaloop.formats import read_dataset
from hemaloop.labelconfig import Control, parse_label_config
from hemaloop.plugin import ClassMap, Detections, ReviewMark, Scored
from hemaloop.review import ReviewControl

WIDTH, HEIGHT = 64, 48
CHOICES = '<Choice value="Uncertain box"/><Choice value="Maybe rare"/><Choice value="Look again" model_label=""/>'
LOOK = 'name="look" toName="image" perRegion="true" model_review="cells"'


def config(look: str = LOOK, choices: str = CHOICES, tag: str = "Taxonomy", extra: str = "") -> str:
    return f"""<View><Image name="image" value="$image"/><Image name="other" value="$other"/>
<RectangleLabels name="cells" toName="image" model_family="f"><Label value="Red" model_label="RBC"/><Label value="WBC"/>
</RectangleLabels>
<BrushLabels name="strokes" toName="image" model_family="g"><Label value="Cell"/><Label value="Overlap"/></BrushLabels>
<Choices name="diag" toName="image" model_family="h"><Choice value="ALL"/></Choices>
<{tag} {look}>{choices}</{tag}>{extra}</View>"""


PARSED = parse_label_config(config())
CELLS = PARSED.control("cells")
FOUND = Detections.truth([[0, 0, 9, 9], [20, 10, 31, 25], [40, 1, 50, 9]], [0, 1, 0])


def scored(*marks: ReviewMark) -> results.Answer:
    return results.Answer(CELLS, Scored(FOUND, 1.0, marks), CELLS.model_labels, WIDTH, HEIGHT)


def written(*marks: ReviewMark) -> list[dict[str, Any]]:
    prediction = results.task_prediction([scored(*marks)], "v")
    result: list[dict[str, Any]] = json.loads(json.dumps(prediction))["result"]
    return result


def submitted(result: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": 7, "data": {"image": "a.png"}, "annotations": [{"id": 1, "completed_by": 1, "result": result}]}


def truth(result: list[dict[str, Any]], control: Control = CELLS) -> annotations.Truth:
    read = annotations.read_truth(submitted(result), control, WIDTH, HEIGHT)
    assert read is not None
    return read


# -- what the config says


def test_a_review_control_belongs_to_the_control_that_it_marks() -> None:
    assert CELLS.review == ReviewControl(
        "look", {"Uncertain box": "Uncertain box", "Maybe rare": "Maybe rare", "Look again": ""}
    )
    assert PARSED.control("strokes").review is None
    assert [control.name for control in PARSED.bound] == ["cells", "strokes", "diag"], "nothing learns from marks"


@pytest.mark.parametrize(
    ("reason", "labels"),
    [
        ("uncertain box", ["Uncertain box"]),
        ("maybe rare: Teardrop (35%)", ["Maybe rare"]),
        ("maybe rare: Teardrop (35%); uncertain box", ["Uncertain box", "Maybe rare"]),
        ("perhaps WBC (40%)", ["Look again"]),
        ("uncertain box; perhaps WBC (40%)", ["Uncertain box", "Look again"]),
        ("", []),
    ],
)
def test_a_reason_becomes_the_labels_whose_phrase_it_begins_with(reason: str, labels: list[str]) -> None:
    assert CELLS.review is not None
    assert CELLS.review.labels_for(reason) == labels


def test_a_label_may_stand_for_a_phrase_in_another_language_and_no_label_for_some_reasons() -> None:
    control = ReviewControl("zellen_review", {"Klasse unsicher": "uncertain class"})
    assert control.labels_for("Uncertain Class") == ["Klasse unsicher"]
    assert control.labels_for("uncertain box") == []


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        (config(LOOK.replace("cells", "a")), "name of a bound control; bound: 'cells', 'strokes', 'diag'"),
        (config(LOOK.replace("cells", "diag")), "'diag', which holds choices"),
        (config(LOOK.replace("image", "other")), "expected its toName='image'"),
        (config(LOOK.replace("true", "false")), 'expected <Taxonomy perRegion="true">'),
        (config(tag="Choices"), 'expected <Taxonomy perRegion="true">'),
        (config(choices=""), "has no choices"),
        (config(LOOK + ' model_train="off"'), "cannot have model_train"),
        (
            config(extra=f'<Taxonomy {LOOK.replace("look", "more")}><Choice value="x"/></Taxonomy>'),
            "marks 'cells', which 'look' marks already",
        ),
    ],
)
def test_a_faulty_review_control_is_refused_with_what_was_expected(xml: str, expected: str) -> None:
    with pytest.raises(LabelConfigError) as caught:
        parse_label_config(xml)
    assert expected in str(caught.value)


def test_marks_do_not_change_what_a_model_depends_on() -> None:
    other = config(choices='<Choice value="Check"/>')
    assert parse_label_config(other).fingerprint == PARSED.fingerprint


# -- what leaves


def test_marked_regions_come_first_each_behind_a_mark_in_its_place_and_with_its_id() -> None:
    result = written(ReviewMark(1, "uncertain box"))
    assert [region["from_name"] for region in result] == ["look", "cells", "cells", "cells"]
    assert [one["value"]["x"] for one in result[2:]] == [0, 62.5], "the others in the order of the model"
    mark, region = result[:2]
    assert mark["type"] == "taxonomy"
    assert mark["value"].pop("taxonomy") == [["Uncertain box"]]
    assert region["value"].pop("rectanglelabels") == ["WBC"]
    same = ("id", "value", "original_width", "original_height", "image_rotation", "score", "meta", "to_name")
    assert [mark[name] for name in same] == [region[name] for name in same]
    assert mark["meta"] == {"text": ["uncertain box"]}


def test_a_reason_without_a_label_is_only_a_note() -> None:
    parsed = parse_label_config(config(choices='<Choice value="Uncertain box"/>'))
    regions = results.regions(FOUND, parsed.control("cells"), WIDTH, HEIGHT, review=[ReviewMark(0, "perhaps WBC")])
    assert [region["from_name"] for region in regions] == ["cells"] * 3
    assert regions[0]["meta"] == {"text": ["perhaps WBC"]}


def test_marked_masks_are_marked_like_boxes() -> None:
    parsed = parse_label_config(config(LOOK.replace("cells", "strokes")))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[3:9, 4:20], mask[20:30, 30:50] = 1, 2
    answer = Scored(ClassMap(mask), 1.0, (ReviewMark(1, "maybe rare: Overlap"),))
    strokes = parsed.control("strokes")
    prediction = results.task_prediction([results.Answer(strokes, answer, strokes.model_labels, WIDTH, HEIGHT)], "v")
    assert [one["from_name"] for one in prediction["result"]] == ["look", "strokes", "strokes"]
    assert results.validate(prediction, parsed) == []
    read = truth(json.loads(json.dumps(prediction))["result"], strokes).prediction
    assert isinstance(read, ClassMap)
    np.testing.assert_array_equal(read.labels, mask)


def test_a_marked_prediction_is_valid_here_and_for_label_studio() -> None:
    marks = (ReviewMark(0, "uncertain box; maybe rare: WBC (30%)"), ReviewMark(2, "unsure (55%)"))
    prediction = results.task_prediction([scored(*marks)], "v")
    assert results.validate(prediction, PARSED) == []
    assert LabelInterface(config()).validate_prediction(prediction, return_errors=True) == []


def test_a_mark_of_no_region_or_of_another_place_is_refused() -> None:
    prediction = results.task_prediction([scored(ReviewMark(0, "uncertain box"))], "v")
    alone = copy.deepcopy(prediction)
    del alone["result"][1]
    assert "marks no region of 'cells'" in results.validate(alone, PARSED)[0]
    moved = copy.deepcopy(prediction)
    moved["result"][0]["value"]["x"] += 1
    assert "found another place" in results.validate(moved, PARSED)[0]
    unknown = copy.deepcopy(prediction)
    unknown["result"][0]["value"]["taxonomy"] = [["Red"]]
    assert "unknown ['Red'], expected one of ['Uncertain box'" in results.validate(unknown, PARSED)[0]
    unknown["result"][0]["value"]["taxonomy"] = ["Uncertain box"]
    assert "expected a list of paths" in results.validate(unknown, PARSED)[0]


# -- what comes back


def test_marks_are_no_truth() -> None:
    marked = truth(written(*(ReviewMark(index, "uncertain box") for index in range(3))))
    plain = truth(written())
    assert isinstance(marked.prediction, Detections)
    assert isinstance(plain.prediction, Detections)
    np.testing.assert_array_equal(marked.prediction.boxes, plain.prediction.boxes)
    np.testing.assert_array_equal(marked.prediction.labels, plain.prediction.labels)
    assert len(marked.prediction) == 3
    assert (len(marked.ignore), marked.faults) == (0, ())


def test_a_marked_cell_that_somebody_deleted_is_gone_and_one_whose_class_was_changed_has_the_new_one() -> None:
    result = written(ReviewMark(0, "uncertain box"), ReviewMark(1, "uncertain box"))
    identity = result[0]["id"]
    kept = [region for region in result if region["id"] != identity]
    kept[1]["value"]["rectanglelabels"] = ["Red"]
    read = truth(kept).prediction
    assert isinstance(read, Detections)
    assert read.labels.tolist() == [0, 0]


def test_marks_in_an_export_are_no_cells(tmp_path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT), "white").save(tmp_path / "a.png")
    result = written(ReviewMark(0, "uncertain box"), ReviewMark(1, "maybe rare: WBC"))
    (tmp_path / "export.json").write_text(json.dumps([submitted(result)]))
    dataset = read_dataset(tmp_path / "export.json")
    assert dataset.labels == ("Red", "WBC")
    assert dict(dataset.counts()) == {"Red": 2, "WBC": 1}
    assert dataset.faults == ()
