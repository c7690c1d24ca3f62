"""Classes of whole images, or of single cells, against the truth.

Precision, recall and F1 a class and weighted by support, as in table 1 of Liu and Long (2019); sensitivity and
specificity, ROC, calibration and the confusion matrix besides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import DatasetError
from hemaloop.plugin import Classification

BINS = 15
"""Of the confidence, equally wide, for the expected calibration error (Guo et al. 2017)."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class against all others, each in [0, 1]; NaN where there is nothing to divide by.

    precision: of the images said to be of the class, how many are. recall: of those that are, how many are said to be,
    also called sensitivity. f1: their harmonic mean. specificity: of the images of other classes, how many are not said
    to be of this one. auc: area under the ROC curve. support: images of the class.
    """

    precision: float
    recall: float
    f1: float
    specificity: float
    auc: float
    support: int


@dataclass(frozen=True, slots=True, eq=False)
class Roc:
    """Receiver operating characteristic: both rates float64 (T,), rising from 0 to 1, and the score at each point."""

    false_positive_rate: FloatArray
    true_positive_rate: FloatArray
    scores: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """How often what is said with some confidence is right: a value a bin, NaN in a bin without an image.

    confidence, accuracy: float64 (bins,); counts: int64 (bins,). Confidence is the probability of the class said.
    """

    confidence: FloatArray
    accuracy: FloatArray
    counts: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: |accuracy - confidence| over the bins, weighted by their images, in [0, 1]."""
        filled = self.counts > 0
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float(np.average(gaps, weights=self.counts[filled])) if filled.any() else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class ClassificationReport:
    """Everything measured on some images.

    confusion: int64 (C, C), row the truth, column what was said. weighted: means over the classes by support.
    """

    labels: tuple[str, ...]
    images: int
    accuracy: float
    classes: Mapping[str, ClassFigures]
    weighted: ClassFigures
    confusion: NDArray[np.int64]
    roc: Mapping[str, Roc]
    reliability: Reliability

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that have an image: a rare one counts as much as a frequent one."""
        return float(np.mean([one.f1 for one in self.classes.values() if one.support]))

    def figures(self) -> dict[str, float]:
        """Each finite figure by name, such as ``f1/ALL``."""
        named = {"accuracy": self.accuracy, "ece": self.reliability.error}
        for label, one in (*self.classes.items(), ("", self.weighted)):
            for name in ("precision", "recall", "f1", "specificity", "auc"):
                named[f"{name}/{label}" if label else f"weighted_{name}"] = getattr(one, name)
        named["macro_f1"] = self.macro_f1
        named |= {f"support/{label}": float(one.support) for label, one in self.classes.items()}
        return {name: value for name, value in named.items() if math.isfinite(value)}

    def as_json(self) -> dict[str, Any]:
        """All figures, curves and the confusion matrix, for programs."""
        reliability = {
            "confidence": _listed(self.reliability.confidence),
            "accuracy": _listed(self.reliability.accuracy),
            "images": self.reliability.counts.tolist(),
        }
        curves = {
            label: {
                "false_positive_rate": _listed(one.false_positive_rate),
                "true_positive_rate": _listed(one.true_positive_rate),
                "score": _listed(one.scores),
            }
            for label, one in self.roc.items()
        }
        return {
            "images": self.images,
            "figures": self.figures(),
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
            "reliability": reliability,
            "roc": curves,
        }


def evaluate_classification(
    truths: Sequence[Classification], found: Sequence[Classification], labels: Sequence[str]
) -> ClassificationReport:
    """Compare, image by image. Raises `DatasetError` without an image, or where numbers of images or classes differ."""
    if not truths or len(truths) != len(found):
        raise DatasetError(
            f"evaluation: found {len(truths)} truths and {len(found)} predictions, expected one a truth and some"
        )
    said = np.stack([one.probabilities for one in found]).astype(np.float64)  # (N, C)
    known = np.stack([one.probabilities for one in truths])
    if said.shape != known.shape or said.shape[1] != len(labels):
        raise DatasetError(
            f"evaluation: found {known.shape[1]} classes in truths and {said.shape[1]} in predictions, "
            f"expected {len(labels)}: {', '.join(labels)}"
        )
    classes = known.argmax(axis=1)
    confusion = confusion_matrix(classes, said.argmax(axis=1), len(labels))
    curves = {label: roc_curve(classes == index, said[:, index]) for index, label in enumerate(labels)}
    each = {label: _figures_of(confusion, index, curves[label]) for index, label in enumerate(labels)}
    return ClassificationReport(
        labels=tuple(labels),
        images=len(truths),
        accuracy=float(np.trace(confusion) / confusion.sum()),
        classes=each,
        weighted=_weighted(list(each.values())),
        confusion=confusion,
        roc={label: curve for label, curve in curves.items() if curve is not None},
        reliability=reliability(said, classes),
    )


def confusion_matrix(truths: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """int64 (C, C): images of the row's class that are said to be of the column's."""
    return np.bincount(truths * classes + said, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def roc_curve(positive: NDArray[np.bool_], scores: FloatArray) -> Roc | None:
    """The curve from (0, 0) to (1, 1) with a point a distinct score; None where all images are positive, or none is."""
    if positive.all() or not positive.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # images of one score are one point
    hits = np.cumsum(positive[order])[ends]
    rates = (ends + 1 - hits) / (~positive).sum(), hits / positive.sum()
    starts = np.concatenate([[np.inf], scores[order][ends]])
    return Roc(np.concatenate([[0], rates[0]]), np.concatenate([[0], rates[1]]), starts)


def area(curve: Roc) -> float:
    """Area under a ROC curve, in [0, 1]: the chance that a positive image has a higher score than a negative one."""
    return float(np.trapezoid(curve.true_positive_rate, curve.false_positive_rate))


def reliability(said: FloatArray, truths: NDArray[np.int64], bins: int = BINS) -> Reliability:
    """Bins of equal width over the confidence (0, 1], the upper end belonging to a bin. said: (N, C); truths: (N,)."""
    confidence = said.max(axis=1)
    right = said.argmax(axis=1) == truths
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, weights=values, minlength=bins) / counts for values in (confidence, right)]
    return Reliability(means[0], means[1], counts)


def _figures_of(confusion: NDArray[np.int64], index: int, curve: Roc | None) -> ClassFigures:
    hits, support, said = (int(n) for n in (confusion[index, index], confusion[index].sum(), confusion[:, index].sum()))
    others = int(confusion.sum()) - support
    return ClassFigures(
        precision=_share(hits, said),
        recall=_share(hits, support),
        f1=_share(2 * hits, said + support),
        specificity=_share(others - (said - hits), others),
        auc=area(curve) if curve is not None else math.nan,
        support=support,
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _weighted(each: Sequence[ClassFigures]) -> ClassFigures:
    """Support-weighted means; a class that is never said has precision 0, one without images weighs nothing."""
    present = [one for one in each if one.support]
    weights = [one.support for one in present]

    def mean(name: str) -> float:
        return float(np.average(np.nan_to_num([getattr(one, name) for one in present]), weights=weights))

    auc = mean("auc") if all(math.isfinite(one.auc) for one in present) else math.nan
    specificity = mean("specificity") if all(math.isfinite(one.specificity) for one in present) else math.nan
    return ClassFigures(mean("precision"), mean("recall"), mean("f1"), specificity, auc, sum(weights))


def _listed(values: FloatArray) -> list[float | None]:
    return [round(float(value), 6) if math.isfinite(value) else None for value in values]
