"""Laws of results: what leaves is valid, and reading it back gives what the model said."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from hemaloop import annotations, results
from hemaloop.errors import PluginError
from hemaloop.labelconfig import Control, parse_label_config
from hemaloop.plugin import Classification, ClassMap, Detections, ReviewMark, Scored

CONFIG = """<View><Image name="image" value="$image"/>
<RectangleLabels name="box" toName="image" model_family="f"><Label value="Red" model_label="RBC"/><Label value="WBC"/>
<Label value="Dirt" model_label=""/></RectangleLabels>
<BrushLabels name="brush" toName="image" model_family="g"><Label value="Cell"/><Label value="Overlap"/></BrushLabels>
<Choices name="diag" toName="image" model_family="h"><Choice value="ALL"/><Choice value="HEM"/></Choices>
<Choices name="kind" toName="image" perRegion="true"><Choice value="a"/></Choices>
<KeyPointLabels name="kp" toName="image"><Label value="Cell"/></KeyPointLabels>
</View>"""
PARSED = parse_label_config(CONFIG)
BOX, BRUSH, DIAG = (PARSED.control(name) for name in ("box", "brush", "diag"))
INTERFACE = LabelInterface(CONFIG)


def scored(prediction: Any, relevance: float = 1.0, review: tuple[ReviewMark, ...] = ()) -> Scored:
    return Scored(prediction, relevance, review)


def answer(control: Control, prediction: Any, width: int = 64, height: int = 48, **fields: Any) -> results.Answer:
    return results.Answer(control, scored(prediction, **fields), control.model_labels, width, height)


@st.composite
def detections(draw: st.DrawFn) -> tuple[Detections, int, int]:
    """float32 boxes anywhere inside an image of any size, down to a sliver, none of them there twice."""
    width, height = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))

    def side(size: int) -> tuple[float, float]:
        fractions = st.floats(0, size, width=32)
        low, high = sorted((draw(fractions), draw(fractions)))
        return (low, high) if high - low > size * 1e-4 else (0.0, float(size))

    boxes: list[list[float]] = []
    for _ in range(draw(st.integers(0, 6))):
        (x1, x2), (y1, y2) = side(width), side(height)
        box = [x1, y1, x2, y2]
        if not any(np.abs(np.subtract(box, other)).max() < 0.2 for other in boxes):
            boxes.append(box)
    labels = [draw(st.integers(0, 1)) for _ in boxes]
    scores = np.array([draw(st.floats(0, 1, width=32)) for _ in boxes], np.float32)
    truth = Detections.truth(boxes, labels)
    return Detections(truth.boxes, truth.labels, scores), width, height


def test_a_box_that_is_there_twice_is_read_once() -> None:
    found = Detections.truth([[3, 4, 20, 30], [3, 4, 20, 30], [3, 4, 20, 30], [5, 4, 20, 30]], [0, 0, 1, 0])
    read, faults = annotations.read_result(results.regions(found, BOX, 64, 48), BOX, 64, 48)
    assert isinstance(read, Detections)
    assert faults == []
    assert read.boxes[:, 0].tolist() == [3, 3, 5]
    assert read.labels.tolist() == [0, 1, 0]


@given(detections())
@settings(deadline=None)
def test_boxes_come_back_to_the_last_bit(case: tuple[Detections, int, int]) -> None:
    found, width, height = case
    written = json.loads(json.dumps(results.regions(found, BOX, width, height)))
    read, faults = annotations.read_result(written, BOX, width, height)
    assert isinstance(read, Detections)
    assert faults == []
    np.testing.assert_array_equal(read.boxes, found.boxes)
    np.testing.assert_array_equal(read.labels, found.labels)
    assert read.boxes.dtype == np.float32
    assert [region["score"] for region in written] == pytest.approx(found.scores.tolist())


@given(detections())
@settings(deadline=None, max_examples=50)
def test_what_is_written_is_valid_here_and_for_label_studio(case: tuple[Detections, int, int]) -> None:
    found, width, height = case
    prediction = results.task_prediction([answer(BOX, found, width, height)], "f-0001-abcdef")
    assert results.validate(prediction, PARSED) == []
    assert INTERFACE.validate_prediction(prediction, return_errors=True) == []


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
@settings(deadline=None, max_examples=30)
def test_masks_come_back_pixel_by_pixel(seed: int, width: int, height: int) -> None:
    values = np.random.default_rng(seed).integers(0, 3, (height, width)).astype(np.uint8)
    written = json.loads(json.dumps(results.regions(ClassMap(values), BRUSH, width, height)))
    read, faults = annotations.read_result(written, BRUSH, width, height)
    assert isinstance(read, ClassMap)
    assert faults == []
    np.testing.assert_array_equal(read.labels, values)


@pytest.mark.parametrize(("probabilities", "choice"), [([0.3, 0.7], "HEM"), ([1, 0], "ALL"), ([0.5, 0.5], "ALL")])
def test_a_classification_becomes_its_most_probable_choice(probabilities: list[float], choice: str) -> None:
    found = Classification(np.array(probabilities, np.float32))
    (region,) = results.regions(found, DIAG, 64, 48)
    assert region["value"] == {"choices": [choice]}
    assert region["score"] == pytest.approx(max(probabilities))
    read, _ = annotations.read_result([region], DIAG, 64, 48)
    assert isinstance(read, Classification)
    assert read.probabilities.tolist() == [choice == "ALL", choice == "HEM"]


def test_a_label_that_the_control_does_not_have_is_left_out() -> None:
    found = Detections.truth([[0, 0, 9, 9], [1, 1, 8, 8], [2, 2, 7, 7]], [0, 1, 2])
    written = results.regions(found, BOX, 64, 48, labels=("WBC", "Platelets", "RBC"))
    assert [region["value"]["rectanglelabels"] for region in written] == [["WBC"], ["Red"]]
    mask = ClassMap(np.full((4, 4), 2, np.uint8))
    assert results.regions(mask, BRUSH, 4, 4, labels=("Cell", "Nothing")) == []
    sure = Classification(np.array([0.9, 0.1], np.float32))
    (region,) = results.regions(sure, DIAG, 4, 4, labels=("healthy", "ALL"))
    assert region["value"] == {"choices": ["ALL"]}
    assert results.regions(sure, DIAG, 4, 4, labels=("x", "y")) == []


def test_a_prediction_of_another_kind_is_refused_by_name() -> None:
    with pytest.raises(PluginError, match=r"'box' holds rectanglelabels.*'f' gives brushlabels"):
        results.regions(ClassMap(np.zeros((4, 4), np.uint8)), BOX, 4, 4)


def test_ids_follow_from_the_content_and_are_unique() -> None:
    found = Detections.truth([[0, 0, 9, 9], [0, 0, 9, 9], [1, 1, 9, 9]], [0, 0, 0])
    first, again = (results.regions(found, BOX, 64, 48) for _ in range(2))
    assert first == again
    assert len({region["id"] for region in first}) == 3
    other = results.regions(Detections.truth([[0, 0, 9, 8]], [0]), BOX, 64, 48)
    assert other[0]["id"] not in {region["id"] for region in first}


def test_an_object_worth_a_second_look_carries_the_reason_as_its_note() -> None:
    found = Detections.truth([[0, 0, 9, 9], [1, 1, 9, 9]], [0, 0])
    first, second = results.regions(found, BOX, 64, 48, review=[ReviewMark(1, "score near the threshold")])
    assert "meta" not in first
    assert second["meta"] == {"text": ["score near the threshold"]}


def test_a_tasks_score_comes_from_its_largest_relevance() -> None:
    empty, sure = Detections.empty(), Classification(np.array([1, 0], np.float32))
    prediction = results.task_prediction([answer(BOX, empty, relevance=1.0), answer(DIAG, sure, relevance=3.0)], "a+b")
    assert prediction["score"] == 0.25
    assert prediction["model_version"] == "a+b"
    assert [region["from_name"] for region in prediction["result"]] == ["diag"]


@given(st.floats(0, 1e300), st.floats(0, 1e300))
def test_more_relevance_never_gives_a_higher_score(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 < results.score_for_label_studio(high) <= results.score_for_label_studio(low) <= 1


@pytest.mark.parametrize("relevance", [math.nan, math.inf, -1.0])
def test_a_relevance_that_is_no_number_is_refused(relevance: float) -> None:
    with pytest.raises(PluginError, match="expected a finite number >= 0"):
        results.score_for_label_studio(relevance)


def good() -> dict[str, Any]:
    found = Detections.truth([[1, 2, 30, 40]], [0])
    mask = np.zeros((48, 64), np.uint8)
    mask[3:9, 4:20] = 1
    answers = [
        answer(BOX, found),
        answer(BRUSH, ClassMap(mask)),
        answer(DIAG, Classification(np.array([0.9, 0.1], np.float32))),
    ]
    return results.task_prediction(answers, "v")


def spoil(*path: Any, value: Any = None, drop: bool = False) -> Callable[[dict[str, Any]], None]:
    def change(prediction: dict[str, Any]) -> None:
        target: Any = prediction
        for step in path[:-1]:
            target = target[step]
        if drop:
            del target[path[-1]]
        else:
            target[path[-1]] = value

    return change


BOTH = {
    "no result": spoil("result", drop=True),
    "result is a dict": spoil("result", value={}),
    "result is null": spoil("result", value=None),
    "score above one": spoil("score", value=1.5),
    "score is a word": spoil("score", value="high"),
    "score is nan": spoil("score", value=math.nan),
    "region is a list": spoil("result", 0, value=[]),
    "region is null": spoil("result", 0, value=None),
    "no from_name": spoil("result", 0, "from_name", drop=True),
    "no to_name": spoil("result", 0, "to_name", drop=True),
    "no type": spoil("result", 0, "type", drop=True),
    "no value": spoil("result", 0, "value", drop=True),
    "unknown from_name": spoil("result", 0, "from_name", value="nosuch"),
    "unknown to_name": spoil("result", 0, "to_name", value="nosuch"),
    "other type": spoil("result", 0, "type", value="brushlabels"),
    "unknown label": spoil("result", 0, "value", "rectanglelabels", value=["NOSUCH"]),
    "no label": spoil("result", 0, "value", "rectanglelabels", drop=True),
    "x above 100": spoil("result", 0, "value", "x", value=101),
    "x is a word": spoil("result", 0, "value", "x", value="left"),
    "no width": spoil("result", 0, "value", "width", drop=True),
    "rle empty": spoil("result", 1, "value", "rle", value=[]),
    "rle not bytes": spoil("result", 1, "value", "rle", value=[256]),
    "rle is text": spoil("result", 1, "value", "rle", value="abc"),
    "unknown mask label": spoil("result", 1, "value", "brushlabels", value=["NOSUCH"]),
    "unknown choice": spoil("result", 2, "value", "choices", value=["NOSUCH"]),
    "choice is a text": spoil("result", 2, "value", "choices", value="ALL"),
}
ONLY_HERE = {
    "score is missing": spoil("score", drop=True),
    "score is null": spoil("score", value=None),
    "score is text": spoil("score", value="0.5"),
    "score is true": spoil("score", value=True),
    "version is missing": spoil("model_version", drop=True),
    "version is empty": spoil("model_version", value=""),
    "region score above one": spoil("result", 0, "score", value=7),
    "region score null": spoil("result", 0, "score", value=None),
    "no id": spoil("result", 0, "id", drop=True),
    "x negative": spoil("result", 0, "value", "x", value=-1),
    "outside on the right": spoil("result", 0, "value", "x", value=99.0),
    "width zero": spoil("result", 0, "value", "width", value=0),
    "x nan": spoil("result", 0, "value", "x", value=math.nan),
    "rotation is text": spoil("result", 0, "value", "rotation", value="90"),
    "labels empty": spoil("result", 0, "value", "rectanglelabels", value=[]),
    "format": spoil("result", 1, "value", "format", value="png"),
    "rle of bools": spoil("result", 1, "value", "rle", value=[True, False]),
    "size is zero": spoil("result", 0, "original_width", value=0),
    "size is text": spoil("result", 0, "original_height", value="48"),
    "value is a list": spoil("result", 2, "value", value=["ALL"]),
    "from_name is a list": spoil("result", 0, "from_name", value=["box"]),
}


def test_a_good_prediction_passes_here_and_there() -> None:
    assert results.validate(good(), PARSED) == []
    assert INTERFACE.validate_prediction(good(), return_errors=True) == []


@pytest.mark.parametrize("name", BOTH)
def test_what_label_studio_refuses_is_refused_here(name: str) -> None:
    prediction = good()
    BOTH[name](prediction)
    assert INTERFACE.validate_prediction(prediction, return_errors=True), "no longer refused by Label Studio"
    assert len(results.validate(prediction, PARSED)) >= 1


@pytest.mark.parametrize("name", ONLY_HERE)
def test_what_would_break_the_page_is_refused_though_label_studio_takes_it(name: str) -> None:
    prediction = good()
    ONLY_HERE[name](prediction)
    assert len(results.validate(prediction, PARSED)) == 1


@pytest.mark.parametrize("prediction", [None, [], "x", 7, [None]])
def test_a_prediction_that_is_no_dict_is_refused(prediction: object) -> None:
    assert "expected a dict" in results.validate(prediction, PARSED)[0]


def test_ids_may_repeat_only_for_the_choice_about_a_region() -> None:
    prediction = good()
    box = prediction["result"][0]
    choice = {**box, "from_name": "kind", "type": "choices", "value": {"choices": ["a"]}}
    prediction["result"].append(choice)
    assert results.validate(prediction, PARSED) == []
    prediction["result"].append(copy.deepcopy(box))
    assert "occurs more than once" in results.validate(prediction, PARSED)[0]


def test_a_region_of_a_control_without_a_model_needs_its_names_only() -> None:
    prediction = good()
    prediction["result"].append(
        {**prediction["result"][0], "id": "k", "from_name": "kp", "type": "keypointlabels", "value": {"x": 1, "y": 2}}
    )
    assert results.validate(prediction, PARSED) == []


def test_a_fault_names_the_region_what_was_found_and_what_was_expected() -> None:
    prediction = good()
    prediction["result"][0]["value"]["rectanglelabels"] = ["NOSUCH"]
    assert results.validate(prediction, PARSED) == [
        "region 0: value.rectanglelabels: unknown ['NOSUCH'], expected one of ['Red', 'WBC', 'Dirt']"
    ]


def test_fifteen_boxes_are_checked_within_a_millisecond() -> None:
    found = Detections.truth([[1, 2, 30, 40]] * 15, [0] * 15)
    prediction = results.task_prediction([answer(BOX, found)], "v")
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        results.validate(prediction, PARSED)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 1e-3
