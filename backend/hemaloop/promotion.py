"""Candidate against incumbent, on images that neither has learned from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import DatasetError
from hemaloop.evaluation.classification import evaluate_classification
from hemaloop.evaluation.detection import evaluate_detections
from hemaloop.evaluation.segmentation import evaluate_maps, known_pixels
from hemaloop.measuring import predict, shown
from hemaloop.plugin import Classification, ClassMap, Detections, Plugin, Prediction


@dataclass(frozen=True, slots=True)
class Measured:
    """What a model reaches on the gate. main: the figure that decides, larger is better, by the name `name`."""

    name: str
    main: float
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the candidate goes live, why, in words for people, and both models' figures on the same images."""

    promote: bool
    why: str
    candidate: Mapping[str, float] = field(default_factory=dict)
    incumbent: Mapping[str, float] = field(default_factory=dict)


def too_few(counted: int, needed: int, seen: int = 0) -> str | None:
    """Why a gate of this many images decides nothing, or None where it may.

    The rule: `needed` annotated gate images that neither model has seen, for the first model as for any later one.
    """
    if counted >= needed:
        return None
    also = f" ({seen} more were seen by the live model and do not count)" if seen else ""
    return (
        f"{counted} of the {needed} gate images needed are annotated{also}; no model goes live before. Gate images are "
        "a fixed random share of the queue, so annotating on brings them; HEMALOOP_GATE_MIN_IMAGES changes the rule"
    )


class Judged(Protocol):
    """What a model is judged on: `Example`, or a record of one, whose picture only `ask` needs to know."""

    @property
    def truth(self) -> Prediction:
        """What a person said."""

    @property
    def ignore(self) -> NDArray[np.float32]:
        """Regions that do not count, (K, 4) px."""


def judge(
    candidate: Plugin,
    incumbent: Plugin | None,
    gate: Sequence[Judged],
    objects: str = "images",
    ask: Callable[[Plugin, Any], Sequence[Prediction]] = predict,
) -> Verdict:
    """Compare both on `gate`. The candidate is promoted only where it is better; a tie keeps the incumbent.

    incumbent: None, or not fitted, where no model is live: the candidate must then be better than no prediction at all.
    objects: what the examples are, for people. ask: a model's predictions of them, from their pictures if not given.
    Raises `DatasetError` for an empty gate; `too_few` says what is enough.
    """
    said = [(example.truth, example.ignore) for example in gate]  # images are decoded when indexed: once is enough
    truths, ignored = [truth for truth, _ in said], [regions for _, regions in said]
    found = ask(candidate, gate)
    new = measure(truths, found, candidate.labels, shown(candidate, found), ignored)
    if not math.isfinite(new.main):
        return Verdict(
            False,
            f"the {len(gate)} gate {objects} hold no object of any class, so they say nothing",
            new.figures,
        )
    if incumbent is None or not incumbent.fitted:
        old = Measured(new.name, 0.0)
        against = "no model"
    else:
        theirs = ask(incumbent, gate)
        known, seen_by_people = (
            [align(one, incumbent.labels, candidate.labels) for one in some]
            for some in (theirs, shown(incumbent, theirs))
        )
        old = measure(truths, known, candidate.labels, seen_by_people, ignored)
        against = f"{old.main:.4f} of the live model"
    better = new.main > old.main
    result = "better" if better else "not better, kept aside"
    why = f"{new.name} {new.main:.4f} on {len(gate)} gate {objects} against {against}: {result}"
    return Verdict(better, why, new.figures, old.figures)


def measure(
    truths: Sequence[Prediction],
    found: Sequence[Prediction],
    labels: Sequence[str],
    visible: Sequence[Prediction] | None = None,
    ignored: Sequence[NDArray[np.float32]] | None = None,
) -> Measured:
    """The figure that decides for this kind of prediction, and those that people are shown.

    visible: what annotators get to see of `found`, for the counts of cells; all of it if None.
    ignored: regions (K, 4) px of each image in which boxes are neither right nor wrong.

    Boxes: mAP at IoU 0.5. Classes: accuracy. Class maps: mean over the classes present of
    intersection over union, pooled over all images.
    """
    if not truths:
        raise DatasetError("gate: found no image, expected at least one")
    if isinstance(truths[0], Detections):
        report = evaluate_detections(
            cast(Sequence[Detections], truths),
            cast(Sequence[Detections], found),
            labels,
            shown=cast(Sequence[Detections] | None, visible),
            ignored=ignored,
            coco=False,
        )
        return Measured("mAP", report.map50, report.figures())
    if isinstance(truths[0], Classification):
        classes = evaluate_classification(
            cast(Sequence[Classification], truths), cast(Sequence[Classification], found), labels
        )
        return Measured("accuracy", classes.accuracy, classes.figures())
    maps = cast(Sequence[ClassMap], truths)
    known = None
    if ignored is not None:
        known = [known_pixels(one.labels.shape, regions) for one, regions in zip(maps, ignored, strict=True)]
    masks = evaluate_maps(maps, cast(Sequence[ClassMap], found), labels, known=known)
    return Measured("mean IoU", masks.mean_iou, masks.figures())


def align(prediction: Prediction, known: Sequence[str], wanted: Sequence[str]) -> Prediction:
    """A prediction with label indices of `known` as one with those of `wanted`; what has no counterpart is left out."""
    if tuple(known) == tuple(wanted):
        return prediction
    place = np.array([wanted.index(label) if label in wanted else -1 for label in known], np.int64)  # (K,)
    if isinstance(prediction, Detections):
        labels = place[prediction.labels]
        keep = labels >= 0
        return Detections(prediction.boxes[keep], labels[keep], prediction.scores[keep])
    if isinstance(prediction, ClassMap):
        values = np.concatenate([[0], place + 1]).astype(np.uint8)  # (K + 1,), background first
        return replace(prediction, labels=values[prediction.labels])
    probabilities = np.zeros(len(wanted), np.float32)
    probabilities[place[place >= 0]] = prediction.probabilities[place >= 0]
    total = probabilities.sum()
    return Classification(probabilities / total if total > 0 else np.full(len(wanted), 1 / len(wanted), np.float32))
