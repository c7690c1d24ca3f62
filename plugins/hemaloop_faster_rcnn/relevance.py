"""How much an image is worth labelling: the strategies by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemaloop.plugin import Detections, ReviewMark
from hemaloop_faster_rcnn import paper
from hemaloop_faster_rcnn.acquisition import bald, entropy, margin
from hemaloop_faster_rcnn.doubt import expected_doubtful, review_marks
from hemaloop_faster_rcnn.options import FasterRCNNOptions, RelevanceName
from hemaloop_faster_rcnn.stochastic import Passes


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What is known of one image.

    cells: the M detections that are shown. found: all detections. probabilities: float64 (M, classes) of the cells in
    the plain prediction, the background first. passes: of the cells, None where the model has no dropout. thresholds:
    (C,), one a label. rare: labels. seed: from the content of the image.
    """

    cells: Detections
    found: Detections
    probabilities: NDArray[np.float64]
    passes: Passes | None
    thresholds: Sequence[float]
    labels: Sequence[str]
    rare: Sequence[str]
    seed: int

    @property
    def doubtful(self) -> tuple[ReviewMark, ...]:
        """Cells that a person would probably overturn."""
        return review_marks(self.cells, self.found, self.thresholds, self.labels)

    @property
    def measured(self) -> Passes:
        """The passes. Raises `ValueError` where there are none."""
        if self.passes is None:
            raise ValueError("found no stochastic passes; they need a model trained with dropout")
        return self.passes


@dataclass(frozen=True, slots=True)
class Relevance:
    """value: finite, ≥ 0, in the unit of its strategy. parts: what it is made of. marks: cells to look at."""

    value: float
    parts: dict[str, float]
    marks: tuple[ReviewMark, ...]


def by_doubt(evidence: Evidence, options: FasterRCNNOptions) -> Relevance:  # noqa: ARG001
    """Expected number of boxes that a person would overturn; the parts are its classes."""
    parts = expected_doubtful(evidence.found, evidence.thresholds, evidence.labels)
    return Relevance(sum(parts.values()), parts, evidence.doubtful)


def by_paper(evidence: Evidence, options: FasterRCNNOptions) -> Relevance:
    """R_img of the paper, in uncertain cells."""
    passes = evidence.measured
    u_c, u_d = paper.classification_uncertainty(passes.classes), paper.detection_uncertainty(passes.boxes)
    rare = [evidence.labels.index(label) + 1 for label in evidence.rare]
    u_r = paper.rare_class(evidence.probabilities, rare, options.rare_above)
    value = paper.image_relevance(u_c, u_d, u_r, options.alpha, options.beta, options.gamma)
    unsure_class, unsure_box = u_c <= options.alpha, u_d <= options.beta
    named = {"uncertain_class": unsure_class, "uncertain_box": unsure_box, "rare": u_r}
    marks = []
    for cell in range(len(evidence.cells)):
        reasons = ["uncertain box"] if unsure_box[cell] else []
        reasons += ["uncertain class"] if unsure_class[cell] else []
        reasons += [_maybe_rare(evidence, rare, cell)] if u_r[cell] else []
        marks += [ReviewMark(cell, "; ".join(reasons))] if reasons else []
    return Relevance(value, {name: float(cells.sum()) for name, cells in named.items()}, tuple(marks))


def _maybe_rare(evidence: Evidence, rare: Sequence[int], cell: int) -> str:
    likeliest = max(rare, key=lambda column: float(evidence.probabilities[cell, column]))
    return f"maybe rare: {evidence.labels[likeliest - 1]} ({evidence.probabilities[cell, likeliest]:.0%})"


def by_entropy(evidence: Evidence, options: FasterRCNNOptions) -> Relevance:  # noqa: ARG001
    """Entropy of the classes, summed over cells, nats."""
    return Relevance(float(entropy(evidence.probabilities).sum()), {}, evidence.doubtful)


def by_margin(evidence: Evidence, options: FasterRCNNOptions) -> Relevance:  # noqa: ARG001
    """How close the second class comes to the first, summed over cells, in cells that are a tie."""
    return Relevance(float(margin(evidence.probabilities).sum()), {}, evidence.doubtful)


def by_bald(evidence: Evidence, options: FasterRCNNOptions) -> Relevance:  # noqa: ARG001
    """Mutual information of classes and weights, summed over cells, nats."""
    return Relevance(float(bald(evidence.measured.probabilities).sum()), {}, evidence.doubtful)


def by_chance(evidence: Evidence, options: FasterRCNNOptions) -> Relevance:  # noqa: ARG001
    """A number in [0, 1) that depends on the content of the image alone."""
    return Relevance(float(np.random.default_rng(evidence.seed).random()), {}, evidence.doubtful)


STRATEGIES: dict[RelevanceName, Callable[[Evidence, FasterRCNNOptions], Relevance]] = {
    "doubt": by_doubt,
    "paper": by_paper,
    "paper_per_cell": by_paper,
    "entropy": by_entropy,
    "margin": by_margin,
    "bald": by_bald,
    "bald_per_cell": by_bald,
    "random": by_chance,
}


PER_CELL = "_per_cell"
"""How the names of those end that divide by the cells, so that a crowded image is worth no more for being crowded."""


def relevance(evidence: Evidence, options: FasterRCNNOptions) -> Relevance:
    """As `options.relevance` asks; whatever that is, the parts tell the number of cells and the relevance a cell."""
    found = STRATEGIES[options.relevance](evidence, options)
    cells = len(evidence.cells)
    per_cell = paper.relevance_per_cell(found.value, cells)
    value = per_cell if options.relevance.endswith(PER_CELL) else found.value
    return Relevance(value, {**found.parts, "cells": float(cells), "per_cell": per_cell}, found.marks)
