"""The average precisions, on numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hemaloop.errors import DatasetError
from hemaloop.evaluation.detection import (
    above,
    average_precision,
    best_unused,
    envelope_area,
    evaluate_detections,
    nearest,
    paper_average_precision,
    raw_area,
    weighted_precision,
)
from hemaloop.evaluation.ignored import judged, judged_of_each
from hemaloop.evaluation.overlap import intersection_over_union, share_inside
from hemaloop.plugin import Detections


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def found(*rows: tuple[tuple[float, float, float, float], int, float]) -> Detections:
    return Detections(
        boxes(*(row[0] for row in rows)),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float32),
    )


A = (0.0, 0.0, 10.0, 10.0)
B = (20.0, 20.0, 30.0, 30.0)
C = (40.0, 40.0, 50.0, 50.0)
NOWHERE = (70.0, 70.0, 80.0, 80.0)


def test_iou_is_shared_area_over_joint_area() -> None:
    # shared 5x10 = 50, joint 100 + 100 - 50 = 150
    assert intersection_over_union(boxes(A), boxes((5, 0, 15, 10)))[0, 0] == pytest.approx(1 / 3)
    assert intersection_over_union(boxes(A), boxes(A))[0, 0] == 1.0
    assert intersection_over_union(boxes(A), boxes((10, 0, 20, 10)))[0, 0] == 0.0  # half-open: touching is not shared


def test_iou_of_boxes_without_area_is_zero_not_nan() -> None:
    assert intersection_over_union(boxes((5, 5, 5, 5)), boxes((5, 5, 5, 5)))[0, 0] == 0.0
    assert intersection_over_union(boxes((9, 9, 1, 1)), boxes(A))[0, 0] == 0.0


def test_best_unused_gives_each_truth_to_one_detection_and_falls_back_to_the_next_best() -> None:
    overlaps = np.array([[0.9, 0.6], [0.8, 0.7], [0.95, 0.9]])
    assert best_unused(overlaps, 0.5).tolist() == [True, True, False]


def test_best_unused_accepts_exactly_the_threshold_and_nearest_does_not() -> None:
    assert best_unused(np.array([[0.5]]), 0.5).tolist() == [True]
    assert nearest(np.array([[0.5]]), 0.5).tolist() == [False]  # the paper: "above a 0.5 threshold"


def test_nearest_may_find_the_same_truth_twice() -> None:
    assert nearest(np.array([[0.9, 0.1], [0.8, 0.1]]), 0.5).tolist() == [True, True]


def test_envelope_area_by_hand() -> None:
    # hit, miss, hit of 4 truths: recall 1/4 1/4 2/4, precision 1 1/2 2/3; envelope 1 2/3 2/3, anchored (0, 1).
    # 1/4 * 1 + 0 + 1/4 * 2/3 = 0.41667
    recall, precision = np.array([0.25, 0.25, 0.5]), np.array([1.0, 0.5, 2 / 3])
    assert envelope_area(recall, precision) == pytest.approx(0.25 + 0.25 * 2 / 3)


def test_raw_area_by_hand() -> None:
    # the same points without envelope or anchor: only 1/4 * (1/2 + 2/3) / 2
    recall, precision = np.array([0.25, 0.25, 0.5]), np.array([1.0, 0.5, 2 / 3])
    assert raw_area(recall, precision) == pytest.approx(0.25 * (0.5 + 2 / 3) / 2)


def test_average_precision_by_hand_over_two_images() -> None:
    truths = [Detections.truth([A, B], [0, 0]), Detections.truth([C], [0])]
    detections = [found((A, 0, 0.9), (NOWHERE, 0, 0.8)), found((C, 0, 0.7))]
    # by score: hit, miss, hit of 3: recall 1/3 1/3 2/3, precision 1 1/2 2/3, envelope 1 2/3 2/3
    curve = average_precision(truths, detections, 0)
    assert curve.recall == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    assert curve.precision == pytest.approx([1, 1 / 2, 2 / 3])
    assert curve.scores == pytest.approx([0.9, 0.8, 0.7])
    assert curve.ap == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    # raw: 1/3 * (1/2 + 2/3) / 2
    assert paper_average_precision(truths, detections, 0).ap == pytest.approx(1 / 3 * (1 / 2 + 2 / 3) / 2)


def test_a_double_detection_costs_precision_here_and_none_in_the_paper() -> None:
    truths = [Detections.truth([A, B], [0, 0])]
    detections = [found((A, 0, 0.9), ((0, 0, 10, 9), 0, 0.8), (B, 0, 0.7))]
    assert average_precision(truths, detections, 0).ap == pytest.approx(0.5 + 0.5 * 2 / 3)
    paper = paper_average_precision(truths, detections, 0)
    assert paper.precision.tolist() == [1, 1, 1]
    assert paper.recall.tolist() == [0.5, 1, 1]  # held at 1
    assert paper.ap == pytest.approx(0.5)


def test_truth_without_area_is_dropped() -> None:
    truths = [Detections.truth([A, (5, 5, 5, 9)], [0, 0])]
    curve = average_precision(truths, [found((A, 0, 0.9))], 0)
    assert curve.truths == 1
    assert curve.ap == pytest.approx(1.0)


def test_boxes_of_another_class_and_another_image_do_not_match() -> None:
    truths = [Detections.truth([A], [1]), Detections.truth([B], [0])]
    detections = [found((A, 0, 0.9), (B, 0, 0.8)), Detections.empty()]
    assert average_precision(truths, detections, 0).ap == 0.0


def test_a_class_without_truth_has_no_value_and_does_not_enter_the_mean() -> None:
    report = evaluate_detections(
        [Detections.truth([A], [0])], [found((A, 0, 0.9), (B, 1, 0.9))], ["RBC", "WBC"], coco=False
    )
    assert math.isnan(report.ap["WBC"])
    assert report.map50 == pytest.approx(1.0)
    assert "ap/WBC" not in report.figures()
    assert all(math.isfinite(value) for value in report.figures().values())


def test_counts_and_paper_figures_are_taken_at_the_operating_thresholds() -> None:
    truths = [Detections.truth([A, B], [0, 0]), Detections.truth([A], [0])]
    detections = [found((A, 0, 0.9), (NOWHERE, 0, 0.3), (C, 0, 0.2)), found((A, 0, 0.8))]
    report = evaluate_detections(truths, detections, ["RBC"], {"RBC": 0.7}, coco=False)
    assert (report.counts["RBC"].truth, report.counts["RBC"].detected) == (3, 2)
    assert report.counts["RBC"].error_per_image == pytest.approx(0.5)
    assert report.paper_map == pytest.approx(1 / 3)  # recall from 1/3 to 2/3 at precision 1
    assert len(report.curves["RBC"].scores) == 4  # mAP looks at all of them


def test_a_score_equal_to_its_threshold_is_kept() -> None:
    assert len(above(found((A, 0, 0.55)), [0.55])) == 1


def test_coco_figures_of_perfect_boxes_are_one_and_agree_with_ours() -> None:
    truths = [Detections.truth([A, B], [0, 1]), Detections.truth([C, (3, 3, 3, 3)], [0, 0]), Detections.empty()]
    detections = [found((A, 0, 0.9), (B, 1, 0.8)), found((C, 0, 0.7)), Detections.empty()]
    report = evaluate_detections(truths, detections, ["RBC", "WBC"])
    assert report.coco_map == pytest.approx(1.0)
    assert report.coco_map50 == pytest.approx(1.0)
    assert report.map50 == pytest.approx(1.0)


def test_coco_map50_stays_near_ours_on_noisy_boxes() -> None:
    generator = np.random.default_rng(3)
    truths, detections = [], []
    for _ in range(12):
        corners = generator.uniform(0, 400, (20, 2))
        real = np.concatenate([corners, corners + generator.uniform(20, 60, (20, 2))], axis=1).astype(np.float32)
        moved = (real + generator.normal(0, 4, real.shape)).astype(np.float32)
        truths.append(Detections.truth(real, np.zeros(20)))
        detections.append(Detections(moved, np.zeros(20, np.int64), generator.uniform(0.05, 1, 20).astype(np.float32)))
    report = evaluate_detections(truths, detections, ["RBC"])
    assert report.coco_map50 == pytest.approx(report.map50, abs=0.02)
    assert report.coco_map is not None
    assert report.coco_map < report.map50


@pytest.mark.parametrize(
    ("truths", "detections", "message"),
    [
        ([Detections.empty()], [], "1 truths and 0 predictions"),
        ([], [], "no image"),
        ([Detections.truth([A], [0])], [found((A, 0, math.nan))], "image 0 has a score that is not a number"),
    ],
)
def test_what_cannot_be_evaluated_says_why(
    truths: list[Detections], detections: list[Detections], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        evaluate_detections(truths, detections, ["RBC"], coco=False)


def test_no_detection_at_all_scores_zero() -> None:
    assert average_precision([Detections.truth([A], [0])], [Detections.empty()], 0).ap == 0.0
    assert paper_average_precision([Detections.truth([A], [0])], [Detections.empty()], 0).ap == 0.0


def test_weighted_precision_by_hand() -> None:
    # equation 9: (30 * 0.9 + 10 * 0.5) / (30 + 10) = 32 / 40
    assert weighted_precision({"D": 0.9, "S.D": 0.5}, {"D": 30, "S.D": 10}) == pytest.approx(0.8)


def test_weighted_precision_leaves_out_a_class_without_truth_whatever_was_detected_of_it() -> None:
    assert weighted_precision({"D": 0.9, "S.D": math.nan}, {"D": 30, "S.D": 70}) == pytest.approx(0.9)


def test_weighted_precision_is_zero_where_nothing_was_detected_and_has_no_value_without_truth() -> None:
    assert weighted_precision({"D": 0.0}, {"D": 0}) == 0.0
    assert math.isnan(weighted_precision({"D": math.nan}, {"D": 4}))


def test_the_report_weighs_by_cells_shown_and_by_cells_in_truth() -> None:
    # class 0: 1 of 1 found, AP 1; class 1: 1 of 3 found, AP 1/3; shown: 1 and 2
    truths = [Detections.truth([A, B, C, (60, 60, 70, 70)], [0, 1, 1, 1])]
    detections = [found((A, 0, 0.9), (B, 1, 0.8), (NOWHERE, 1, 0.7))]
    report = evaluate_detections(truths, detections, ["RBC", "WBC"], coco=False)
    assert report.weighted_precision == pytest.approx((1 * 1 + 2 / 3) / 3)
    assert report.weighted_precision_true == pytest.approx((1 * 1 + 3 / 3) / 4)
    assert report.figures()["weighted_precision"] == report.weighted_precision
    assert report.figures()["weighted_precision_true"] == report.weighted_precision_true


# -- ignore regions

REGION = boxes((60, 60, 90, 90))


def test_share_inside_is_of_the_own_area_and_adds_up_over_regions() -> None:
    regions = boxes((0, 0, 10, 5), (0, 5, 5, 10))
    assert share_inside(boxes(A, (5, 5, 5, 9), B), regions).tolist() == pytest.approx([0.75, 0, 0])
    assert share_inside(boxes(A), boxes()).tolist() == [0]


def test_what_lies_in_an_ignore_region_is_neither_right_nor_wrong_in_any_figure() -> None:
    truths = [Detections.truth([A, B], [0, 0])]
    inside = ((70.0, 70.0, 80.0, 80.0), 0, 0.95)
    with_it, without = [found(inside, (A, 0, 0.9), (B, 0, 0.8))], [found((A, 0, 0.9), (B, 0, 0.8))]
    report = evaluate_detections(truths, with_it, ["RBC"], ignored=[REGION])
    expected = evaluate_detections(truths, without, ["RBC"])
    assert report.left_out == 1
    assert report.figures() == {**expected.figures(), "left_out": 1.0}
    assert evaluate_detections(truths, with_it, ["RBC"], coco=False).map50 < 1.0


def test_half_inside_is_left_out_and_less_is_not() -> None:
    half, less = (55.0, 70.0, 65.0, 80.0), (54.0, 70.0, 64.0, 80.0)
    assert len(judged(Detections.empty(), found((half, 0, 0.9)), REGION)) == 0
    assert len(judged(Detections.empty(), found((less, 0, 0.9)), REGION)) == 1


def test_on_a_labelled_cell_every_detection_counts_however_far_a_region_reaches() -> None:
    truth = Detections.truth([A], [0])
    double, wrong_class = ((0.0, 0.0, 10.0, 9.0), 0, 0.8), (A, 1, 0.7)
    everywhere = boxes((0, 0, 100, 100))
    kept = judged(truth, found((A, 0, 0.9), double, wrong_class, (B, 0, 0.6)), everywhere)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_no_region_changes_nothing() -> None:
    truths = [Detections.truth([A, B], [0, 0])]
    detections = [found((A, 0, 0.9), (NOWHERE, 0, 0.8))]
    plain = evaluate_detections(truths, detections, ["RBC"], coco=False)
    assert evaluate_detections(truths, detections, ["RBC"], ignored=[boxes()], coco=False).figures() == plain.figures()


def test_counts_are_of_what_is_shown_outside_the_regions() -> None:
    truths = [Detections.truth([A], [0])]
    detections = [found((A, 0, 0.9), (NOWHERE, 0, 0.8))]
    report = evaluate_detections(truths, detections, ["RBC"], shown=detections, ignored=[REGION], coco=False)
    assert report.counts["RBC"].detected == 1
    assert report.counts["RBC"].error_per_image == 0


def test_regions_for_another_number_of_images_are_refused() -> None:
    with pytest.raises(DatasetError, match="1 truths, 1 predictions and ignore regions of 0 images"):
        judged_of_each([Detections.empty()], [Detections.empty()], [])


corner = st.integers(0, 30)
box = st.tuples(corner, corner, st.integers(1, 20), st.integers(1, 20)).map(
    lambda c: (float(c[0]), float(c[1]), float(c[0] + c[2]), float(c[1] + c[3]))
)
image_truth = st.lists(box, max_size=5).map(lambda rows: Detections.truth(rows, np.zeros(len(rows))))
image_found = st.lists(st.tuples(box, st.just(0), st.floats(0, 1, width=32)), max_size=6).map(lambda r: found(*r))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(image_truth, image_found), min_size=1, max_size=4))
def test_average_precision_lies_between_zero_and_one_and_recall_never_falls(
    images: list[tuple[Detections, Detections]],
) -> None:
    truths, detections = [pair[0] for pair in images], [pair[1] for pair in images]
    for measure in (average_precision, paper_average_precision):
        curve = measure(truths, detections, 0)
        if curve.truths:
            assert 0.0 <= curve.ap <= 1.0 + 1e-12
            assert (np.diff(curve.recall) >= 0).all()
        else:
            assert math.isnan(curve.ap)


@settings(max_examples=60, deadline=None)
@given(image_truth, image_found, st.lists(box, max_size=4))
def test_ignoring_never_lowers_precision(truth: Detections, some: Detections, rows: list[tuple[float, ...]]) -> None:
    plain = average_precision([truth], [some], 0)
    ignoring = average_precision([truth], judged_of_each([truth], [some], [boxes(*rows)]), 0)
    if plain.truths:
        assert ignoring.ap >= plain.ap - 1e-12


@settings(max_examples=60, deadline=None)
@given(st.lists(image_truth, min_size=1, max_size=4))
def test_detecting_exactly_the_truth_never_scores_below_any_subset_of_it(truths: list[Detections]) -> None:
    whole = average_precision(truths, truths, 0)
    half = average_precision(truths, [Detections(t.boxes[::2], t.labels[::2], t.scores[::2]) for t in truths], 0)
    if whole.truths:
        assert whole.ap >= half.ap - 1e-12
