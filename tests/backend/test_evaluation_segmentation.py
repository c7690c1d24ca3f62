"""Intersection over union and cell counts of class maps."""

from __future__ import annotations

import numpy as np
import pytest

from hemaloop.errors import DatasetError
from hemaloop.evaluation.segmentation import confusion, count_error, evaluate_maps, iou_of, known_pixels
from hemaloop.plugin import UNKNOWN, ClassMap

LABELS = ("RBC", "Overlap")


def as_map(*rows: list[int]) -> ClassMap:
    return ClassMap(np.array(rows, np.uint8))


TRUTH = as_map([0, 1, 1, 2])
FOUND = as_map([0, 0, 1, 2])


def test_iou_is_shared_pixels_over_all_pixels_of_a_class() -> None:
    assert iou_of(confusion(TRUTH.labels, FOUND.labels, 3)).tolist() == [0.5, 0.5, 1.0]


def test_a_class_in_neither_map_has_no_iou() -> None:
    report = evaluate_maps([as_map([0, 1])], [as_map([0, 1])], LABELS)
    assert np.isnan(report.pooled["Overlap"])
    assert report.mean_iou == 1
    assert "iou/Overlap" not in report.figures()


def test_a_tiny_overlap_swings_the_image_mean_and_not_the_pooled_iou() -> None:
    large = as_map([2] * 98 + [0, 0])
    report = evaluate_maps([large, as_map([2, 0])], [large, as_map([0, 0])], LABELS)
    assert report.spreads()["Overlap"].mean == 0.5
    assert report.pooled["Overlap"] == pytest.approx(98 / 99)


def test_spread_is_that_of_the_papers_tables() -> None:
    report = evaluate_maps([TRUTH, TRUTH], [FOUND, TRUTH], LABELS)
    rbc = report.spreads()["RBC"]
    assert (rbc.mean, rbc.std, rbc.least, rbc.largest) == (0.75, 0.25, 0.5, 1.0)


def test_pixels_of_which_the_truth_says_nothing_count_nowhere() -> None:
    known = known_pixels((1, 4), np.array([[1, 0, 2, 1]], np.float32))
    assert known.tolist() == [[True, False, True, True]]
    assert evaluate_maps([TRUTH], [FOUND], LABELS, known=[known]).mean_iou_all == 1
    marked = ClassMap(np.where(known, TRUTH.labels, UNKNOWN).astype(np.uint8))
    assert evaluate_maps([marked], [FOUND], LABELS).mean_iou_all == 1


def test_count_error_is_in_per_cent_of_the_truth() -> None:
    count = count_error([10, 20, 0], [9, 25, 2])
    assert count.percentage_error == pytest.approx((10 + 25) / 2)
    assert count.error_per_image == pytest.approx((1 + 5 + 2) / 3)


def test_maps_of_different_sizes_are_refused() -> None:
    with pytest.raises(DatasetError, match="image 0"):
        evaluate_maps([TRUTH], [as_map([0, 1])], LABELS)
    with pytest.raises(DatasetError, match="0 truths"):
        evaluate_maps([], [], LABELS)
