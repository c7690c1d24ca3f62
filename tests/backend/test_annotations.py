"""Laws of truth: which annotations count, how regions are read, how several people become one truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hemaloop import agreement, brush
from hemaloop.annotations import annotator, read_result, read_truth, select
from hemaloop.errors import AnnotationError
from hemaloop.labelconfig import parse_label_config
from hemaloop.plugin import Classification, ClassMap, Detections

CONFIG = parse_label_config(
    """<View><Image name="image" value="$image"/>
<RectangleLabels name="box" toName="image" model_family="f"><Label value="RBC"/><Label value="WBC"/>
<Label value="Dirt" model_label=""/></RectangleLabels>
<BrushLabels name="brush" toName="image" model_family="g"><Label value="Cell"/><Label value="Overlap"/></BrushLabels>
<Choices name="diag" toName="image" model_family="h"><Choice value="ALL"/><Choice value="HEM"/></Choices></View>"""
)
BOX, BRUSH, DIAG = CONFIG.bound
WIDTH, HEIGHT = 200, 100


def rectangle(x: Any, y: Any, w: Any, h: Any, label: str = "RBC", **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": more.pop("rotation", 0), "rectanglelabels": [label]}
    region = {"id": "r", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value}
    return region | {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0} | more


def annotation(number: int, *regions: dict[str, Any], user: Any = 1, **more: Any) -> dict[str, Any]:
    base = {"id": number, "completed_by": user, "result": list(regions), "was_cancelled": False, "ground_truth": False}
    when = f"2026-11-20T20:41:{number:02}.200602Z"
    return base | {"lead_time": 3.0, "parent_prediction": None, "created_at": when, "updated_at": when} | more


def task(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {"id": 7, "data": {"image": "x"}, "annotations": list(annotations)}


def numbers(*annotations: dict[str, Any]) -> list[int]:
    return [one["id"] for one in select(task(*annotations))]


def boxes(region: dict[str, Any]) -> tuple[list[list[float]], list[str]]:
    read, faults = read_result([region], BOX, WIDTH, HEIGHT)
    assert isinstance(read, Detections)
    return read.boxes.tolist(), faults


# -- which annotations are truth


def test_the_newest_annotation_of_each_annotator_counts() -> None:
    assert numbers(annotation(1), annotation(2), annotation(3, user=2)) == [3, 2]


def test_an_annotation_edited_later_is_newer() -> None:
    edited = annotation(1, updated_at="2026-11-21T00:00:00.000000Z")
    assert numbers(edited, annotation(2)) == [1]


def test_ground_truth_wins_over_everything_newer() -> None:
    assert numbers(annotation(1, ground_truth=True), annotation(2), annotation(3, user=2)) == [1]


def test_a_skip_is_not_truth_and_an_empty_submit_is() -> None:
    assert numbers(annotation(1, was_cancelled=True)) == []
    assert numbers(annotation(1, was_cancelled=True, ground_truth=True)) == []
    assert numbers(annotation(1)) == [1]


def test_what_was_made_in_bulk_from_predictions_is_not_truth_until_somebody_looked() -> None:
    assert numbers(annotation(1, parent_prediction=5, lead_time=None)) == []
    assert numbers(annotation(1, parent_prediction=5, lead_time=2.5)) == [1]
    assert numbers(annotation(1, parent_prediction=5, lead_time=None, ground_truth=True)) == [1]


def test_imported_annotations_are_truth() -> None:
    assert numbers({"id": 1, "result": []}) == [1]
    assert annotator({"id": 1}) == "unknown"
    assert annotator({"completed_by": {"id": 3, "email": "a@b"}}) == "3"


@pytest.mark.parametrize("annotations", [None, [], [None, "x", 3]])
def test_a_task_without_annotations_has_no_truth(annotations: Any) -> None:
    assert read_truth({"id": 1, "annotations": annotations}, BOX, WIDTH, HEIGHT) is None


def test_predictions_and_drafts_of_a_task_are_not_looked_at() -> None:
    regions = [rectangle(0, 0, 10, 10)]
    whole = {"id": 1, "annotations": [], "drafts": [{"result": regions}], "predictions": [{"result": regions}]}
    assert read_truth(whole, BOX, WIDTH, HEIGHT) is None


# -- boxes


def test_an_empty_submit_says_no_cell() -> None:
    truth = read_truth(task(annotation(1)), BOX, WIDTH, HEIGHT)
    assert truth is not None
    assert isinstance(truth.prediction, Detections)
    assert len(truth.prediction) == 0
    assert (truth.annotators, truth.disagreement, truth.faults) == (("1",), 0.0, ())


def test_accepted_predictions_are_truth_like_drawn_boxes() -> None:
    accepted = rectangle(0, 0, 10, 10, origin="prediction", score=0.4)
    truth = read_truth(task(annotation(1, accepted, rectangle(50, 0, 10, 10, origin="manual"))), BOX, WIDTH, HEIGHT)
    assert truth is not None
    assert isinstance(truth.prediction, Detections)
    assert truth.prediction.scores.tolist() == [1, 1]


def test_a_box_that_an_accepted_answer_put_there_a_second_time_counts_once() -> None:
    first = rectangle(30.625, 27.5, 2.5, 3.75, origin="prediction")
    again, other = rectangle(30.625, 27.5, 2.5, 3.7499999, origin="manual"), rectangle(30.625, 27.5, 2.5, 3.75, "WBC")
    read, faults = read_result([first, again, other], BOX, WIDTH, HEIGHT)
    assert isinstance(read, Detections)
    assert read.labels.tolist() == [0, 1]
    assert faults == []


def test_what_a_browser_submitted_is_read() -> None:
    """Values recorded from Label Studio 1.23.2 in a browser; regions of other controls are not looked at."""
    drawn = {"x": 34.35212298682283, "y": 27.013177159590036, "width": 4.721815519765741, "height": 6.442166910688137}
    region = rectangle(*drawn.values(), original_width=640, original_height=480, origin="manual")
    point = {"id": "k", "from_name": "kp", "type": "keypointlabels", "value": {"x": 1, "y": 2, "width": 0.2}}
    read, faults = read_result([point, region], BOX, 640, 480)
    assert isinstance(read, Detections)
    np.testing.assert_allclose(read.boxes, [[219.8536, 129.66325, 250.0732, 160.58565]], rtol=1e-6)
    assert faults == []


@given(st.floats(0, 100), st.floats(0, 100), st.floats(1, 50), st.floats(1, 50), st.floats(-360, 360, allow_nan=False))
@settings(deadline=None)
def test_a_turned_rectangle_becomes_the_box_around_its_corners(
    x: float, y: float, w: float, h: float, rotation: float
) -> None:
    read, _ = read_result([rectangle(x, y, w, h, rotation=rotation)], BOX, WIDTH, HEIGHT)
    assert isinstance(read, Detections)
    turn = np.exp(1j * np.radians(rotation))
    origin = complex(x * WIDTH / 100, y * HEIGHT / 100)
    wide, high = w * WIDTH / 100, h * HEIGHT / 100
    corners = np.array([origin + turn * corner for corner in (0, wide, 1j * high, wide + 1j * high)])
    low = np.clip([corners.real.min(), corners.imag.min()], 0, [WIDTH, HEIGHT])
    high_corner = np.clip([corners.real.max(), corners.imag.max()], 0, [WIDTH, HEIGHT])
    if (high_corner - low).min() > 1e-3:
        np.testing.assert_allclose(read.boxes, [[*low, *high_corner]], atol=1e-3)


def test_a_quarter_turn_by_hand() -> None:
    assert boxes(rectangle(50, 50, 10, 10, rotation=90))[0] == [[90.0, 50.0, 100.0, 70.0]]


def test_a_box_partly_outside_is_cut_at_the_edge() -> None:
    assert boxes(rectangle(-5, 95, 20, 20))[0] == [[0.0, 95.0, 30.0, 100.0]]


@pytest.mark.parametrize(
    ("region", "reason"),
    [
        (rectangle(10, 10, 0, 5), "expected an area"),
        (rectangle(10, 10, 5, 0), "expected an area"),
        (rectangle(10, 10, -5, 5), "expected an area"),
        (rectangle(120, 10, 5, 5), "no area inside the image of 200x100 px"),
        (rectangle(-20, 10, 5, 5), "no area inside"),
        (rectangle(10, 10, 1e-9, 5), "no area inside"),
        (rectangle("10", 10, 5, 5), "expected numbers"),
        (rectangle(None, 10, 5, 5), "expected numbers"),
        (rectangle(float("nan"), 10, 5, 5), "expected numbers"),
        (rectangle(True, 10, 5, 5), "expected numbers"),
        (rectangle(10, 10, 5, 5, rotation="a"), "expected numbers"),
        (rectangle(10, 10, 5, 5, label="Alien"), "label 'Alien' is not in the labelling config ('RBC', 'WBC', 'Dirt')"),
        (rectangle(10, 10, 5, 5, value={"x": 1}), "it has no label"),
        (rectangle(10, 10, 5, 5, value=None), "it has no label"),
        (
            rectangle(10, 10, 5, 5, value={"x": 1, "y": 1, "width": 1, "height": 1, "rectanglelabels": ["RBC", "WBC"]}),
            "several labels ['RBC', 'WBC']",
        ),
    ],
)
def test_a_faulty_region_is_left_out_with_its_reason_and_the_others_stay(region: dict[str, Any], reason: str) -> None:
    truth = read_truth(task(annotation(3, region, rectangle(0, 0, 10, 10))), BOX, WIDTH, HEIGHT)
    assert truth is not None
    assert isinstance(truth.prediction, Detections)
    assert truth.prediction.boxes.tolist() == [[0, 0, 20, 10]]
    (fault,) = truth.faults
    assert fault.startswith("task 7, annotation 3, region 'r' left out: ")
    assert reason in fault


def test_a_label_that_the_model_does_not_learn_is_passed_over_in_silence() -> None:
    assert boxes(rectangle(0, 0, 5, 5, label="Dirt")) == ([], [])


def test_an_annotation_of_another_canvas_is_no_truth_rather_than_an_empty_one() -> None:
    region = rectangle(0, 0, 5, 5, original_width=100, original_height=200)
    with pytest.raises(AnnotationError, match="drawn on an image of 100x200 px, but the image is 200x100"):
        read_truth(task(annotation(1, region)), BOX, WIDTH, HEIGHT)


def test_a_box_drawn_on_an_image_turned_in_the_editor_lies_on_the_upright_one() -> None:
    """Recorded in a browser: the image was turned by 90 degrees, the box drawn in what was its top-left corner."""
    drawn = {"x": 1.3172338090011015, "y": 1.2440541529454896, "width": 5.488474204171242, "height": 10.245151847786316}
    region = rectangle(*drawn.values(), original_width=640, original_height=480, image_rotation=90)
    read, faults = read_result([region], BOX, 640, 480)
    assert isinstance(read, Detections)
    assert faults == []
    np.testing.assert_allclose(read.boxes, [[8.43, 5.97, 43.56, 55.15]], atol=0.01)


def test_a_preview_of_the_same_shape_is_the_same_canvas() -> None:
    assert boxes(rectangle(0, 0, 10, 10, original_width=1001, original_height=500))[0] == [[0, 0, 20, 10]]
    assert boxes(rectangle(0, 0, 10, 10, original_width=None))[0] == [[0, 0, 20, 10]]


def test_the_size_that_label_studio_stores_for_a_turned_photograph_fits_the_upright_one() -> None:
    """Recorded: a 640x480 file with EXIF orientation 6 is stored as 480x640."""
    region = rectangle(12.87, 39.81, 9.7, 8.6, original_width=480, original_height=640)
    read, _ = read_result([region], BOX, 480, 640)
    assert isinstance(read, Detections)
    assert len(read) == 1
    with pytest.raises(AnnotationError, match="EXIF"):
        read_result([region], BOX, 640, 480)


@pytest.mark.parametrize("result", [None, {}, "x"])
def test_a_result_that_is_no_list_is_refused(result: object) -> None:
    with pytest.raises(AnnotationError, match="expected a list of regions"):
        read_truth(task(annotation(1) | {"result": result}), BOX, WIDTH, HEIGHT)


def test_an_annotation_that_cannot_be_read_leaves_the_others_theirs() -> None:
    bad = annotation(2, user=2) | {"result": None}
    truth = read_truth(task(annotation(1, rectangle(0, 0, 10, 10)), bad), BOX, WIDTH, HEIGHT)
    assert truth is not None
    assert truth.annotators == ("1",)
    assert "annotation 2: found NoneType" in truth.faults[0]


# -- brush masks


def stroke(mask: np.ndarray[Any, np.dtype[np.bool_]], label: str, **more: Any) -> dict[str, Any]:
    value = {"format": "rle", "rle": brush.encode(mask), "brushlabels": [label]} | more
    return {"id": "b", "from_name": "brush", "to_name": "image", "type": "brushlabels", "value": value}


def disc(x: int, y: int, radius: int = 10) -> np.ndarray[Any, np.dtype[np.bool_]]:
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


def test_strokes_of_one_label_are_one_mask_and_later_labels_lie_on_top() -> None:
    one, two, top = disc(30, 30), disc(45, 30), disc(40, 30, 4)
    read, faults = read_result([stroke(one, "Cell"), stroke(two, "Cell"), stroke(top, "Overlap")], BRUSH, WIDTH, HEIGHT)
    assert isinstance(read, ClassMap)
    assert faults == []
    expected = np.where(top, 2, (one | two).astype(np.uint8))
    np.testing.assert_array_equal(read.labels, expected)


def test_soft_edges_count_from_half_opacity_on() -> None:
    from label_studio_sdk.converter.brush import encode_rle

    alpha = np.array([[0, 100, 127, 128, 255, 30]], np.uint8)
    mask = brush.decode(encode_rle(np.repeat(alpha.ravel(), 4)), 6, 1)
    assert mask.tolist() == [[False, False, False, True, True, False]]


def test_label_studios_own_recorded_mask_is_read() -> None:
    """A 10x6 rectangle in 40x30 as `mask2rle` of the SDK writes it."""
    rle = [0, 0, 18, 192, 57, 27, 255, 2, 159, 0, 196, 255, 249, 220, 3, 19, 255, 231, 112, 12, 79, 255, 157, 192]
    rle += [49, 63, 254, 119, 0, 196, 255, 249, 220, 3, 19, 255, 240, 205, 112, 0]
    mask = brush.decode(rle, 40, 30)
    rows, columns = np.nonzero(mask)
    assert int(mask.sum()) == 60
    assert (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1) == (6, 10)
    assert brush.encode(mask) == rle


@pytest.mark.parametrize(
    ("rle", "reason"),
    [
        (None, "never saved"),
        ("abc", "not a list of byte values"),
        ([1, 2, 300], "not a list of byte values"),
        ([1.5], "not a list of byte values"),
        ([], "expected 200x100"),
        ([255] * 40, "expected 200x100"),
        (brush.encode(np.zeros((4, 4), np.bool_)), "holds 16 pixels, expected 200x100"),
        (brush.encode(disc(30, 30))[:-20], "cut off or damaged"),
    ],
)
def test_a_damaged_mask_is_left_out_with_its_reason(rle: Any, reason: str) -> None:
    regions = [stroke(disc(30, 30), "Cell", rle=rle), stroke(disc(60, 30), "Cell")]
    truth = read_truth(task(annotation(1, *regions)), BRUSH, WIDTH, HEIGHT)
    assert truth is not None
    assert isinstance(truth.prediction, ClassMap)
    assert reason in truth.faults[0]
    np.testing.assert_array_equal(truth.prediction.labels, disc(60, 30).astype(np.uint8))


# -- choices


def choice(*names: str) -> dict[str, Any]:
    return {"id": "c", "from_name": "diag", "to_name": "image", "type": "choices", "value": {"choices": list(names)}}


def test_a_choice_is_certain() -> None:
    read, _ = read_result([choice("HEM")], DIAG, WIDTH, HEIGHT)
    assert isinstance(read, Classification)
    assert read.probabilities.tolist() == [0, 1]
    assert read.probabilities.dtype == np.float32


@pytest.mark.parametrize("regions", [[], [choice("ALL", "HEM")], [choice("ALL"), choice("HEM")], [choice("other")]])
def test_anything_but_one_choice_is_no_truth(regions: list[dict[str, Any]]) -> None:
    with pytest.raises(AnnotationError, match="expected one choice"):
        read_truth(task(annotation(1, *regions)), DIAG, WIDTH, HEIGHT)


# -- several people


def people(*drawn: list[dict[str, Any]]) -> tuple[Any, float]:
    found = [annotation(number, *regions, user=number) for number, regions in enumerate(drawn, 1)]
    truth = read_truth(task(*found), BOX, WIDTH, HEIGHT)
    assert truth is not None
    return truth.prediction, truth.disagreement


def test_people_who_agree_do_not_disagree() -> None:
    same = [rectangle(0, 0, 10, 10), rectangle(50, 50, 10, 20, "WBC")]
    merged, disagreement = people(same, same[::-1], same)
    assert disagreement == 0
    assert sorted(merged.boxes.tolist()) == [[0, 0, 20, 10], [100, 50, 120, 70]]


def test_of_two_people_either_may_be_right_and_their_difference_is_told() -> None:
    merged, disagreement = people(
        [rectangle(0, 0, 10, 10), rectangle(50, 50, 10, 20)], [rectangle(0, 0, 10, 10), rectangle(80, 10, 10, 20)]
    )
    assert len(merged) == 3
    assert disagreement == pytest.approx(0.5)  # F1 = 2 x 1 / (2 + 2)


def test_of_three_people_two_must_have_drawn_it() -> None:
    common = rectangle(0, 0, 10, 10)
    merged, disagreement = people([common, rectangle(50, 50, 10, 20)], [common], [common])
    assert merged.boxes.tolist() == [[0, 0, 20, 10]]
    assert disagreement == pytest.approx((1 / 3 + 1 / 3 + 0) / 3)  # two pairs with F1 = 2 / 3


def test_a_cell_takes_the_label_of_most_and_of_the_newest_when_tied() -> None:
    merged, disagreement = people(*([rectangle(0, 0, 10, 10, label)] for label in ("RBC", "RBC", "WBC")))
    assert merged.labels.tolist() == [0]
    assert disagreement == pytest.approx(2 / 3)
    merged, disagreement = people(*([rectangle(0, 0, 10, 10, label)] for label in ("RBC", "WBC")))
    assert merged.labels.tolist() == [1]
    assert disagreement == 1


def test_a_cells_sides_are_the_median_of_what_people_drew() -> None:
    merged, disagreement = people(*([rectangle(x, 0, 10, 10)] for x in (10, 11, 13)))
    assert merged.boxes.tolist() == [[22, 0, 42, 10]]
    assert disagreement == 0


def test_one_empty_submit_against_boxes_is_full_disagreement() -> None:
    merged, disagreement = people([], [rectangle(0, 0, 10, 10)])
    assert (len(merged), disagreement) == (1, 1)
    merged, disagreement = people([], [rectangle(0, 0, 10, 10)], [])
    assert (len(merged), disagreement) == (0, pytest.approx(2 / 3))


def test_maps_are_merged_by_the_most_of_each_pixel_and_the_newest_of_equals() -> None:
    maps = [ClassMap(np.array([values], np.uint8)) for values in ([1, 1, 0, 2], [1, 2, 2, 0], [0, 2, 1, 1])]
    merged = agreement.merge(maps)
    assert isinstance(merged, ClassMap)
    assert merged.labels.tolist() == [[1, 2, 0, 2]]
    assert merged.labels.dtype == np.uint8


def test_disagreement_of_maps_is_one_less_the_mean_dice() -> None:
    one, other = ClassMap(np.array([[1, 1, 0, 2]], np.uint8)), ClassMap(np.array([[1, 0, 0, 0]], np.uint8))
    # Dice of label 1 is 2 x 1 / (2 + 1), of label 2 nought.
    assert agreement.disagreement([one, other]) == pytest.approx(1 - (2 / 3 + 0) / 2)
    blank = ClassMap(np.zeros((1, 4), np.uint8))
    assert agreement.disagreement([blank, blank]) == 0


def test_choices_are_merged_by_most_and_the_newest_of_equals() -> None:
    found = [annotation(number, choice(name), user=number) for number, name in enumerate(("ALL", "ALL", "HEM"), 1)]
    truth = read_truth(task(*found), DIAG, WIDTH, HEIGHT)
    assert truth is not None
    assert isinstance(truth.prediction, Classification)
    assert truth.prediction.probabilities.tolist() == [1, 0]
    assert truth.disagreement == pytest.approx(2 / 3)
    truth = read_truth(task(*found[1:]), DIAG, WIDTH, HEIGHT)
    assert truth is not None
    assert isinstance(truth.prediction, Classification)
    assert truth.prediction.probabilities.tolist() == [0, 1]


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(deadline=None, max_examples=50)
def test_a_merged_box_has_an_area_and_lies_inside(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    truths = []
    for _ in range(count):
        low = rng.uniform(0, 0.8, (5, 2)) * [WIDTH, HEIGHT]
        high = np.minimum(low + rng.uniform(1, 30, (5, 2)), [WIDTH, HEIGHT])
        truths.append(Detections.truth(np.hstack([low, high]), rng.integers(0, 2, 5)))
    merged = agreement.merge(truths)
    assert isinstance(merged, Detections)
    assert (merged.boxes[:, 2:] > merged.boxes[:, :2]).all()
    assert (merged.boxes >= 0).all()
    assert (merged.boxes[:, 2:] <= [WIDTH, HEIGHT]).all()
    assert 0 <= agreement.disagreement(truths) <= 1
