"""Figures of classes, on numbers worked by hand and beside those of torchmetrics."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchmetrics.functional.classification import binary_auroc, multiclass_calibration_error

from hemaloop.class_figures import heat_on, save_figures
from hemaloop.errors import DatasetError
from hemaloop.evaluation.classification import evaluate_classification, reliability, roc_curve
from hemaloop.plugin import Classification

LABELS = ("ALL", "HEM")


def said(*rows: list[float]) -> list[Classification]:
    return [Classification(np.array(row, np.float32)) for row in rows]


def truths(*labels: int, classes: int = 2) -> list[Classification]:
    return [Classification(np.eye(classes, dtype=np.float32)[label]) for label in labels]


FOUR = evaluate_classification(truths(0, 0, 0, 1), said([0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]), LABELS)


def test_precision_recall_f1_and_specificity_are_those_worked_by_hand() -> None:
    ill, healthy = FOUR.classes["ALL"], FOUR.classes["HEM"]
    assert (ill.precision, ill.recall, ill.f1, ill.specificity, ill.support) == (1, 2 / 3, 0.8, 1, 3)
    assert (healthy.precision, healthy.recall, healthy.specificity) == (0.5, 1, 2 / 3)
    assert healthy.f1 == pytest.approx(2 / 3)
    assert FOUR.accuracy == 0.75
    assert FOUR.confusion.tolist() == [[2, 1], [0, 1]]


def test_weighted_means_weigh_by_support_as_table_1_does() -> None:
    assert FOUR.weighted.precision == pytest.approx((3 * 1 + 1 * 0.5) / 4)
    assert FOUR.weighted.f1 == pytest.approx((3 * 0.8 + 2 / 3) / 4)
    assert FOUR.weighted.support == 4


def test_table_1_of_the_paper_follows_from_its_counts() -> None:
    """HEM 0.80 0.74 0.77 of 648, ALL 0.87 0.90 0.88 of 1219, weighted 0.84 0.85 0.84: a confusion that rounds to it."""
    counts = {(0, 0): 1098, (0, 1): 121, (1, 1): 480, (1, 0): 168}
    known = [truth for (truth, _), count in counts.items() for _ in range(count)]
    told = [answer for (_, answer), count in counts.items() for _ in range(count)]
    report = evaluate_classification(truths(*known), truths(*told), LABELS)
    rows = [
        [round(value, 2) for value in (one.precision, one.recall, one.f1)]
        for one in (report.classes["HEM"], report.classes["ALL"], report.weighted)
    ]
    assert rows == [[0.80, 0.74, 0.77], [0.87, 0.90, 0.88], [0.84, 0.85, 0.84]]


def test_a_class_that_is_never_said_has_no_precision_and_weighs_0() -> None:
    report = evaluate_classification(truths(0, 1), said([0.9, 0.1], [0.9, 0.1]), LABELS)
    assert math.isnan(report.classes["HEM"].precision)
    assert report.classes["HEM"].recall == 0
    assert report.weighted.precision == pytest.approx(0.25)
    assert "precision/HEM" not in report.figures()
    json.dumps(report.as_json(), allow_nan=False)


def test_a_class_without_an_image_weighs_nothing() -> None:
    report = evaluate_classification(truths(0, 1, classes=3), said([0.9, 0.1, 0], [0.1, 0.9, 0]), (*LABELS, "other"))
    assert report.weighted.f1 == 1
    assert "other" not in report.roc


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=40))
def test_the_area_under_the_curve_is_the_usual_one(pairs: list[tuple[bool, int]]) -> None:
    import torch

    positive, scores = np.array([p for p, _ in pairs]), np.array([s / 8 for _, s in pairs])
    curve = roc_curve(positive, scores)
    if positive.all() or not positive.any():
        assert curve is None
        return
    assert curve is not None
    assert (curve.false_positive_rate[0], curve.true_positive_rate[0]) == (0, 0)
    assert (curve.false_positive_rate[-1], curve.true_positive_rate[-1]) == (1, 1)
    report = evaluate_classification(
        truths(*(0 if one else 1 for one in positive)), said(*([s, 1 - s] for s in scores)), LABELS
    )
    theirs = float(binary_auroc(torch.tensor(scores, dtype=torch.float32), torch.tensor(positive.astype(int))))
    assert report.classes["ALL"].auc == pytest.approx(theirs, abs=1e-5)


def test_the_calibration_error_is_the_usual_one() -> None:
    import torch

    rng = np.random.default_rng(3)
    shares = rng.dirichlet((1, 1, 1), 500)
    known = rng.integers(0, 3, 500)
    theirs = multiclass_calibration_error(torch.tensor(shares), torch.tensor(known), num_classes=3, n_bins=15)
    assert reliability(shares, known).error == pytest.approx(float(theirs), abs=1e-5)


def test_calibration_by_hand_four_images_that_say_80_percent_and_three_are_right() -> None:
    shares = np.array([[0.8, 0.2]] * 4)
    found = reliability(shares, np.array([0, 0, 0, 1]))
    assert found.error == pytest.approx(0.05)
    assert found.counts.sum() == 4
    assert found.counts[11] == 4, "(11/15, 12/15]"


def test_certainty_lies_in_the_last_bin() -> None:
    assert reliability(np.array([[1.0, 0.0]]), np.array([0])).counts[-1] == 1


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(DatasetError, match="2 truths and 1 predictions"):
        evaluate_classification(truths(0, 1), said([0.5, 0.5]), LABELS)
    with pytest.raises(DatasetError, match="3 classes in truths and 2 in predictions"):
        evaluate_classification(truths(0, classes=3), said([0.5, 0.5]), LABELS)
    with pytest.raises(DatasetError, match="0 truths"):
        evaluate_classification([], [], LABELS)


def test_each_figure_is_a_picture_too(tmp_path: Path) -> None:
    paths = save_figures(FOUR, tmp_path)
    assert [path.name for path in paths] == ["roc.png", "reliability.png", "confusion.png"]
    for path in paths:
        with Image.open(path) as picture:
            assert min(picture.size) > 400


def test_a_heat_map_changes_the_hot_place_alone() -> None:
    image = np.full((20, 30, 3), 120, np.uint8)
    heat = np.zeros((20, 30), np.float32)
    heat[5, 7] = 1
    both = np.asarray(heat_on(image, heat))
    assert both.shape == (20, 60, 3)
    changed = (both[:, 30:] != image).any(axis=2)
    assert np.argwhere(changed).tolist() == [[5, 7]]
