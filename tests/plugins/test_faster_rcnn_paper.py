"""Equations 5 to 8 of the paper on red-cell subtypes, and other acquisition functions, on numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hemaloop.plugin import Detections
from hemaloop_faster_rcnn import FasterRCNNOptions
from hemaloop_faster_rcnn.acquisition import bald, entropy, margin
from hemaloop_faster_rcnn.paper import (
    classification_uncertainty,
    detection_uncertainty,
    image_relevance,
    rare_class,
    relevance_per_cell,
)
from hemaloop_faster_rcnn.rare import rare_labels
from hemaloop_faster_rcnn.relevance import STRATEGIES, Evidence, relevance
from hemaloop_faster_rcnn.stochastic import Passes

LABELS = ("Normal cell", "Teardrop", "Microcyte")
SAME, HALF, SHIFTED, AWAY = [0, 0, 10, 10], [0, 0, 10, 5], [5, 0, 15, 10], [20, 20, 30, 30]


def boxes(*passes: list[list[int]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(passes, np.float32)


def test_u_d_is_the_mean_overlap_of_the_first_pass_with_the_others() -> None:
    # first cell: (1/2 + 1) / 2; second: (1/3 + 0) / 2
    found = detection_uncertainty(boxes([SAME, SAME], [HALF, SHIFTED], [SAME, AWAY]))
    np.testing.assert_allclose(found, [0.75, 1 / 6])


def test_u_d_compares_with_the_first_pass_alone() -> None:
    np.testing.assert_allclose(detection_uncertainty(boxes([AWAY], [SAME], [SAME])), [0.0])


def test_u_d_of_one_pass_is_undefined() -> None:
    with pytest.raises(ValueError, match="found 1 pass, expected two or more"):
        detection_uncertainty(boxes([SAME]))


def test_u_c_is_the_share_of_the_most_frequent_class() -> None:
    votes = np.array([[1, 2], [1, 2], [0, 3], [1, 3]], np.int64)
    np.testing.assert_allclose(classification_uncertainty(votes), [0.75, 0.5])


def test_the_background_counts_as_a_class() -> None:
    probabilities = np.array([[[0.9, 0.1, 0.0]], [[0.4, 0.6, 0.0]], [[0.7, 0.2, 0.1]]])
    passes = Passes(probabilities, np.zeros((3, 1, 4), np.float32))
    np.testing.assert_allclose(classification_uncertainty(passes.classes), [2 / 3])


def test_u_r_is_one_above_a_fifth_and_not_at_it() -> None:
    probabilities = np.array([[0.1, 0.7, 0.2, 0.0], [0.1, 0.69, 0.21, 0.0], [0.1, 0.45, 0.0, 0.45]])
    assert rare_class(probabilities, [2]).tolist() == [False, True, False]
    assert rare_class(probabilities, [2, 3]).tolist() == [False, True, True]
    assert rare_class(probabilities, []).tolist() == [False, False, False]


def test_r_img_counts_uncertain_cells_and_weights_rare_ones() -> None:
    # U^c <= 0.80: two; U^d <= 0.90: two; rare: one of weight 10
    u_c, u_d, u_r = np.array([0.8, 0.85, 0.5]), np.array([0.95, 0.9, 0.2]), np.array([False, True, False])
    assert image_relevance(u_c, u_d, u_r) == 14
    assert image_relevance(u_c, u_d, u_r, alpha=0.5, beta=0.1, gamma=3) == 4


def test_an_image_without_cells_is_worth_nothing() -> None:
    nothing = np.zeros(0)
    assert image_relevance(nothing, nothing, np.zeros(0, bool)) == 0
    assert relevance_per_cell(0.0, 0) == 0


def test_relevance_a_cell_divides_by_the_cells() -> None:
    assert relevance_per_cell(14, 4) == 3.5


def test_entropy_is_in_nats() -> None:
    np.testing.assert_allclose(entropy(np.array([[0.5, 0.5], [1.0, 0.0]])), [math.log(2), 0], atol=1e-12)


def test_margin_is_one_for_a_tie_and_grows_with_the_second_class() -> None:
    np.testing.assert_allclose(margin(np.array([[0.6, 0.3, 0.1], [0.4, 0.2, 0.4], [0.0, 1.0, 0.0]])), [0.7, 1, 0])


def test_bald_sees_disagreement_and_not_what_every_pass_is_unsure_of() -> None:
    disagree, unsure = [[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]
    passes = np.array([disagree, unsure]).transpose(1, 0, 2)  # (passes, cells, classes)
    np.testing.assert_allclose(bald(passes), [math.log(2), 0], atol=1e-12)


@pytest.mark.parametrize(
    ("counts", "rare"),
    [
        # of three classes, fewer than a sixth of all boxes
        ({"Normal cell": 100, "Teardrop": 10, "Microcyte": 50}, ("Teardrop",)),
        ({"Normal cell": 40, "Teardrop": 10, "Microcyte": 10}, ()),
        ({"Normal cell": 41, "Teardrop": 10, "Microcyte": 10}, ("Teardrop", "Microcyte")),
        ({"Normal cell": 9}, ("Teardrop", "Microcyte")),
        ({}, ()),
    ],
    ids=["one", "exactly half of a share", "just below", "none seen", "unknown"],
)
def test_rare_classes_are_those_far_below_an_even_share(counts: dict[str, int], rare: tuple[str, ...]) -> None:
    assert rare_labels(LABELS, FasterRCNNOptions(), counts) == rare


def test_a_single_class_is_never_rare() -> None:
    assert rare_labels(LABELS[:1], FasterRCNNOptions(), {LABELS[0]: 7}) == ()


def test_rare_classes_may_be_named_or_turned_off() -> None:
    counts = {"Normal cell": 100}
    assert rare_labels(LABELS, FasterRCNNOptions(rare_classes="Microcyte, Teardrop"), counts) == (
        "Microcyte",
        "Teardrop",
    )
    assert rare_labels(LABELS, FasterRCNNOptions(rare_classes="none"), counts) == ()


def evidence(cells: int = 4) -> Evidence:
    """A sure cell, one whose box moves, one whose class changes once, and one that moves, changes and may be rare."""
    steady, moving = [SAME] * 4, [SAME, HALF, HALF, HALF]
    moves = np.array([steady, moving, steady, moving], np.float32).transpose(1, 0, 2)  # (passes, cells, 4)
    votes = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 2], [1, 2, 3, 0]]).T  # (passes, cells)
    found = Detections(
        np.array([[30 * index, 0, 30 * index + 10, 10] for index in range(4)], np.float32),
        np.array([0, 0, 0, 1]),
        np.array([0.99, 0.98, 0.97, 0.96], np.float32),
    )
    plain = np.array([[0.0, 1, 0, 0], [0.0, 1, 0, 0], [0.0, 0.9, 0.1, 0], [0.1, 0.25, 0.3, 0.35]])
    shown = Detections(found.boxes[:cells], found.labels[:cells], found.scores[:cells])
    return Evidence(
        cells=shown,
        found=shown,
        probabilities=plain[:cells],
        passes=Passes(np.eye(4)[votes][:, :cells], moves[:, :cells]),
        thresholds=[0.5] * 3,
        labels=LABELS,
        rare=("Teardrop", "Microcyte"),
        seed=7,
    )


def test_the_papers_relevance_marks_each_cell_with_its_reasons() -> None:
    found = relevance(evidence(), FasterRCNNOptions(relevance="paper"))
    assert [(mark.index, mark.reason) for mark in found.marks] == [
        (1, "uncertain box"),
        (2, "uncertain class"),
        (3, "uncertain box; uncertain class; maybe rare: Microcyte (35%)"),
    ]


def test_the_parts_say_what_the_relevance_is_made_of() -> None:
    found = relevance(evidence(), FasterRCNNOptions(relevance="paper"))
    assert found.value == 14
    assert found.parts == {"uncertain_class": 2, "uncertain_box": 2, "rare": 1, "cells": 4, "per_cell": 3.5}


def test_the_per_cell_variant_differs_in_nothing_but_the_value() -> None:
    whole = relevance(evidence(), FasterRCNNOptions(relevance="paper"))
    per_cell = relevance(evidence(), FasterRCNNOptions(relevance="paper_per_cell"))
    assert per_cell.value == 3.5
    assert (per_cell.parts, per_cell.marks) == (whole.parts, whole.marks)


def test_its_options_are_those_of_the_equations() -> None:
    found = relevance(evidence(), FasterRCNNOptions(relevance="paper", alpha=0.4, beta=0.4, gamma=2, rare_above=0.36))
    assert found.value == 1
    assert [(mark.index, mark.reason) for mark in found.marks] == [(3, "uncertain class")]


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_no_cell_gives_no_relevance_and_no_nan(name: str) -> None:
    found = relevance(evidence(cells=0), FasterRCNNOptions(relevance=name))
    assert all(map(math.isfinite, [found.value, *found.parts.values()]))
    assert (found.parts["cells"], found.marks) == (0, ())
    assert 0 < found.value < 1 if name == "random" else found.value == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # of the plain prediction: cells 3 and 4
        ("entropy", -sum(p * math.log(p) for p in (0.9, 0.1, 0.1, 0.25, 0.3, 0.35))),
        ("margin", (1 - 0.8) + (1 - 0.05)),
        # of passes that are each sure: the entropy of their votes, 3 against 1, and four apart
        ("bald", -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) + math.log(4)),
    ],
)
def test_other_strategies_add_their_cells(name: str, value: float) -> None:
    assert relevance(evidence(), FasterRCNNOptions(relevance=name)).value == pytest.approx(value)
