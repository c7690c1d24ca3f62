"""When to stop labelling, and how far away that is.

"We keep iterating this annotation process until all cells above a particular uncertainty are annotated or a desired
classification performance is achieved" (Sadafi et al. 2019, section 2). Which cells are above it, the model family's
options say: those it marks as unsure. Both criteria are options of a project, `model_stop_uncertain_cells` and
`model_stop_performance`; either one ends it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemaloop import measuring, promotion
from hemaloop.bootstrap import bootstrap
from hemaloop.dataset import Examples
from hemaloop.errors import DatasetError
from hemaloop.learning_curve import LearningCurve, fit_curve
from hemaloop.manifest import Manifest
from hemaloop.marked import Marked
from hemaloop.plugin import Classification, ClassMap, Detections, Plugin

FIGURES: Mapping[type, str] = {Detections: "weighted_precision", ClassMap: "mean_iou", Classification: "accuracy"}
"""The figure that a wish is about where `model_stop_figure` names none; for boxes that of the paper, equation 9."""
DRAWS = 200
"""Bootstrap draws of the gate, each of which is evaluated as a whole."""


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Cells that the model is still unsure of, on images that nobody has labelled.

    images: not labelled. found: what the model says of those that it has looked at. allowed: unsure cells that may be
    left, None where the project has no such wish.
    """

    images: int
    found: Marked
    allowed: int | None

    @property
    def reached(self) -> bool:
        """Whether so few are left; not while there are images that the model has not looked at."""
        return self.allowed is not None and self.found.images == self.images and self.found.unsure <= self.allowed


@dataclass(frozen=True, slots=True)
class Performance:
    """A figure on the frozen gate split.

    value, interval: of the model that people see, NaN and None where there is none or the gate says nothing. images:
    of the gate, that it has not learned from. wanted: None where the project has no such wish. known: what can be
    wished for.
    """

    figure: str
    value: float
    interval: tuple[float, float] | None
    images: int
    wanted: float | None
    known: tuple[str, ...] = ()

    @property
    def reached(self) -> bool:
        """Whether the figure is as wished."""
        return self.wanted is not None and self.value >= self.wanted


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the next batch should bring, by the curve through the models so far.

    labelled: images that a training would learn from now. batch: images of the next batch that it would learn from.
    gain: of the figure. needed: images for the wished figure; None without a wish, or where the curve never gets there.
    """

    curve: LearningCurve
    labelled: int
    batch: float
    gain: float
    needed: float | None


def measure(plugin: Plugin | None, gate: Examples, figure: str, wanted: float | None) -> Performance:
    """A figure of `promotion.measure` on the gate, and the interval that holds it with 95 %.

    Images are drawn anew, all images of a patient or slide together. plugin: None where there is no model.
    """
    if plugin is None or not len(gate):
        return Performance(figure, math.nan, None, len(gate), wanted)
    said = [(example.truth, example.ignore) for example in gate]
    found = measuring.predict(plugin, gate)
    shown = measuring.shown(plugin, found)

    def of(images: Sequence[int]) -> Mapping[str, float]:
        truths, ignored = zip(*(said[index] for index in images), strict=True)
        visible = [shown[index] for index in images]
        return promotion.measure(truths, [found[i] for i in images], plugin.labels, visible, ignored).figures

    everything = of(range(len(gate)))
    if figure not in everything:
        return Performance(figure, math.nan, None, len(gate), wanted, tuple(sorted(everything)))
    groups = _groups(gate)

    def drawn(rows: NDArray[np.int64]) -> float:
        return of([index for row in rows.tolist() for index in groups[row]]).get(figure, math.nan)

    interval = bootstrap(drawn, len(groups), DRAWS)
    return Performance(figure, everything[figure], interval, len(gate), wanted, tuple(sorted(everything)))


def _groups(gate: Examples) -> list[list[int]]:
    """Images that were taken from the same patient or slide, together; others alone."""
    found: dict[str, list[int]] = {}
    for index, record in enumerate(gate.records):
        found.setdefault(record.group or record.key, []).append(index)
    return list(found.values())


def outlook(trained: Sequence[Manifest], figure: str, labelled: int, batch: float, wanted: float | None) -> Outlook:
    """The next batch by the curve of the models so far, promoted or not.

    Only models with the labels and options of the last one are of one curve. Raises `DatasetError` where they are too
    few.
    """
    last = trained[-1] if trained else None
    alike = [
        one
        for one in trained
        if last is not None and (one.labels, one.options) == (last.labels, last.options) and figure in one.figures
    ]
    curve = fit_curve([len(one.train) + len(one.tune) for one in alike], [one.figures[figure] for one in alike])
    if not labelled:
        raise DatasetError("learning curve: found no labelled image to go on from")
    gain = curve.at(labelled + batch) - curve.at(labelled)
    return Outlook(curve, labelled, batch, gain, None if wanted is None else curve.images_for(wanted))
