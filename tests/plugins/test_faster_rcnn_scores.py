"""Thresholds, relevance and review marks, on numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hemaloop.errors import OptionError
from hemaloop.plugin import Detections
from hemaloop_faster_rcnn import FasterRCNN, FasterRCNNOptions
from hemaloop_faster_rcnn.doubt import doubt, expected_doubtful, review_marks
from hemaloop_faster_rcnn.options import parse_thresholds
from hemaloop_faster_rcnn.thresholds import fit_thresholds, operating_thresholds, shown

LABELS = ("RBC", "WBC", "Platelets")
PAPER = [0.70, 0.80, 0.55]


def detections(*rows: tuple[float, int, float]) -> Detections:
    """(left edge, label, score) of boxes of 10 x 10 px."""
    boxes = np.array([[x, 0, x + 10, 10] for x, _, _ in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([r[1] for r in rows], np.int64), np.array([r[2] for r in rows], np.float32))


def test_thresholds_of_the_paper_are_the_default() -> None:
    named = operating_thresholds(LABELS, FasterRCNNOptions(), {})
    assert named == {"RBC": 0.70, "WBC": 0.80, "Platelets": 0.55}


def test_labels_that_nobody_named_get_one_half() -> None:
    options = FasterRCNNOptions(thresholds="RBC=0.9")
    assert operating_thresholds(("RBC", "Blast"), options, {}) == {"RBC": 0.9, "Blast": 0.5}


def test_no_threshold_shows_everything_above_the_floor() -> None:
    assert operating_thresholds(("RBC",), FasterRCNNOptions(thresholds="none", score_floor=0.2), {}) == {"RBC": 0.2}


def test_fitted_thresholds_replace_the_papers_only_where_asked() -> None:
    assert operating_thresholds(LABELS, FasterRCNNOptions(thresholds="fit"), {"WBC": 0.3})["WBC"] == 0.3
    assert operating_thresholds(LABELS, FasterRCNNOptions(), {"WBC": 0.3})["WBC"] == 0.80


def test_the_fitted_threshold_has_the_best_f1() -> None:
    # by score: hit .9, hit .8, miss .6, hit .4, miss .2 of three truths: F1 = .5, .8, .67, .86, .75
    truth = Detections.truth([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [0, 0, 0])
    found = detections((0, 0, 0.9), (20, 0, 0.8), (100, 0, 0.6), (40, 0, 0.4), (120, 0, 0.2))
    assert fit_thresholds([truth], [found], ["RBC", "WBC"]) == {"RBC": pytest.approx(0.3)}


def test_a_score_that_equals_its_threshold_is_shown() -> None:
    assert shown(detections((0, 2, 0.55), (20, 2, 0.5499)), PAPER).tolist() == [True, False]


def test_doubt_is_the_probability_that_the_decision_is_wrong() -> None:
    found = detections((0, 0, 0.9), (20, 0, 0.7), (40, 0, 0.6), (60, 0, 0.1))
    np.testing.assert_allclose(doubt(found, PAPER), [0.1, 0.3, 0.6, 0.1], atol=1e-6)


def test_relevance_adds_the_doubts_of_each_class() -> None:
    found = detections((0, 0, 0.9), (20, 0, 0.6), (40, 1, 0.95), (60, 2, 0.5))
    parts = expected_doubtful(found, PAPER, LABELS)
    assert parts == pytest.approx({"RBC": 0.7, "WBC": 0.05, "Platelets": 0.5}, abs=1e-6)


def test_an_image_of_sure_boxes_is_less_relevant_than_one_of_doubtful_boxes() -> None:
    sure = expected_doubtful(detections((0, 0, 0.99), (20, 0, 0.99)), PAPER, LABELS)
    doubtful = expected_doubtful(detections((0, 0, 0.72), (20, 0, 0.68)), PAPER, LABELS)
    assert sum(sure.values()) < sum(doubtful.values())


def test_doubtful_boxes_and_rival_classes_are_marked() -> None:
    found = detections((0, 0, 0.99), (20, 0, 0.75), (40, 1, 0.97), (41, 0, 0.4))
    visible = detections((0, 0, 0.99), (20, 0, 0.75), (40, 1, 0.97))
    marks = review_marks(visible, found, PAPER, LABELS)
    assert [(mark.index, mark.reason) for mark in marks] == [(1, "unsure (75%)"), (2, "perhaps RBC (40%)")]


def test_threshold_text_is_read() -> None:
    assert parse_thresholds("Platelets=0.55, RBC=0.70") == {"Platelets": 0.55, "RBC": 0.70}


@pytest.mark.parametrize("text", ["RBC", "RBC=high", "RBC=1.5", "=0.5", "", "sometimes"])
def test_threshold_text_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="thresholds"):
        FasterRCNN(LABELS, {"thresholds": text})


def test_a_threshold_for_a_label_that_does_not_exist_is_refused() -> None:
    with pytest.raises(OptionError, match="Plateletts"):
        FasterRCNN(LABELS, {"thresholds": "Plateletts=0.5"})


@pytest.mark.parametrize(
    "options",
    [{"nms": 0}, {"nms": "much"}, {"backbone": "resnet9"}, {"epochs": 0}, {"learning_rate": -1}, {"colour": 1}],
)
def test_wrong_options_are_named(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        FasterRCNN(LABELS, options)


def test_coco_weights_are_only_for_the_papers_backbone() -> None:
    with pytest.raises(OptionError, match="resnet50_fpn"):
        FasterRCNN(LABELS, {"weights": "coco"})


def test_options_may_arrive_as_text() -> None:
    options = FasterRCNN(LABELS, {"nms": "0.3", "frozen_backbone": "true", "epochs": "7"}).options
    assert isinstance(options, FasterRCNNOptions)
    assert (options.nms, options.frozen_backbone, options.epochs) == (0.3, True, 7)
