"""Intersection over union of class maps, an image at a time and pooled, and cell counts against truth.

The overlap paper (Brünggel et al., Tables 1 to 3) gives the IoU of each class on each image, and their mean, standard
deviation, least and largest. It warns that an image with one tiny overlap, missed, has an IoU of 0 there; hence the
pooled IoU beside it, which counts pixels over all images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import DatasetError
from hemaloop.plugin import UNKNOWN, ClassMap

FloatArray = NDArray[np.float64]
BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one class over the images that have it in truth or prediction; NaN where none has."""

    mean: float
    std: float
    least: float
    largest: float


@dataclass(frozen=True, slots=True)
class MapCount:
    """Cells of all images: in the truth and in the prediction, and mean errors an image.

    error_per_image: absolute difference. percentage_error: the same in per cent of the truth, over the images that have
    a cell; NaN where none has.
    """

    truth: int
    found: int
    error_per_image: float
    percentage_error: float


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationReport:
    """Figures of class maps. classes: background first, then the labels.

    per_image: IoU (images, classes), NaN where a class is in neither truth nor prediction. pooled: by class.
    """

    classes: tuple[str, ...]
    per_image: FloatArray
    pooled: Mapping[str, float]
    count: MapCount | None = None

    @property
    def mean_iou(self) -> float:
        """Mean of the pooled IoU over the labels that occur, background left out: what a promotion is decided by."""
        known = [value for name, value in self.pooled.items() if name != BACKGROUND and math.isfinite(value)]
        return float(np.mean(known)) if known else math.nan

    @property
    def mean_iou_all(self) -> float:
        """Mean of the pooled IoU over background and labels, which the paper calls mean."""
        known = [value for value in self.pooled.values() if math.isfinite(value)]
        return float(np.mean(known)) if known else math.nan

    def image_means(self) -> FloatArray:
        """Mean over the classes of each image, (images,)."""
        known = np.isfinite(self.per_image)
        return np.asarray(np.where(known, self.per_image, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))

    def spreads(self) -> dict[str, Spread]:
        """Mean, standard deviation, least and largest over the images, of each class and of their mean."""
        columns = dict(zip(self.classes, self.per_image.T, strict=True)) | {"mean": self.image_means()}
        return {name: spread(values) for name, values in columns.items()}

    def figures(self) -> dict[str, float]:
        """Flat names and finite numbers, for manifests and logs; what does not exist is left out."""
        named = {"mean_iou": self.mean_iou, "mean_iou_all": self.mean_iou_all}
        named |= {f"iou/{name}": value for name, value in self.pooled.items()}
        for name, one in self.spreads().items():
            named |= {f"image_iou_{kind}/{name}": getattr(one, kind) for kind in ("mean", "std", "least", "largest")}
        if self.count is not None:
            named |= {"count_truth": float(self.count.truth), "count_found": float(self.count.found)}
            named |= {"count_error_per_image": self.count.error_per_image}
            named |= {"count_percentage_error": self.count.percentage_error}
        return {name: value for name, value in named.items() if math.isfinite(value)}


def spread(values: FloatArray) -> Spread:
    """Mean, standard deviation, least and largest of the finite ones among (images,)."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Spread(math.nan, math.nan, math.nan, math.nan)
    return Spread(float(known.mean()), float(known.std()), float(known.min()), float(known.max()))


def confusion(truth: NDArray[np.uint8], found: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Pixels by value in the truth (rows) and in the prediction (columns), (classes, classes). Same shapes."""
    both = truth.astype(np.int64).ravel() * classes + found.ravel()
    return np.bincount(both, minlength=classes**2).reshape(classes, classes)


def iou_of(counts: NDArray[np.int64]) -> FloatArray:
    """Intersection over union of each class of a confusion matrix, (classes,); NaN where it is in neither."""
    both = np.diag(counts).astype(np.float64)
    either = counts.sum(axis=0) + counts.sum(axis=1) - both
    return np.asarray(np.divide(both, either, out=np.full(len(both), math.nan), where=either > 0))


def known_pixels(shape: tuple[int, ...], ignored: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(H, W): False in the boxes (K, 4) px of which the truth says nothing."""
    known = np.ones(shape, bool)
    for x1, y1, x2, y2 in ignored:
        rows = slice(max(0, math.floor(y1)), max(0, math.ceil(y2)))
        known[rows, max(0, math.floor(x1)) : max(0, math.ceil(x2))] = False
    return known


def count_error(truths: Sequence[int], found: Sequence[int]) -> MapCount:
    """Errors of the number of cells on each image."""
    wanted, seen = np.asarray(truths, np.float64), np.asarray(found, np.float64)
    away = np.abs(wanted - seen)
    some = wanted > 0
    share = float(100 * (away[some] / wanted[some]).mean()) if some.any() else math.nan
    return MapCount(int(wanted.sum()), int(seen.sum()), float(away.mean()) if len(away) else 0.0, share)


def evaluate_maps(
    truths: Sequence[ClassMap],
    found: Sequence[ClassMap],
    labels: Sequence[str],
    *,
    known: Sequence[NDArray[np.bool_]] | None = None,
    counts: tuple[Sequence[int], Sequence[int]] | None = None,
) -> SegmentationReport:
    """Every figure of `found` against `truths`, one entry an image.

    Pixels that are `UNKNOWN` in the truth count nowhere. known: bool (H, W) of each image, those of the others that
    count; all if None. counts: cells of each image in the truth and in the prediction. Raises `DatasetError` where
    sizes differ or there is no image.
    """
    if not truths or len(truths) != len(found):
        raise DatasetError(
            f"evaluation: found {len(truths)} truths and {len(found)} predictions, expected one an image"
        )
    size = len(labels) + 1
    each = []
    for index, (truth, one) in enumerate(zip(truths, found, strict=True)):
        if truth.labels.shape != one.labels.shape:
            raise DatasetError(
                f"evaluation: image {index} has a truth of {truth.labels.shape} px and a prediction of "
                f"{one.labels.shape} px, expected the same (H, W)"
            )
        mask = truth.labels != UNKNOWN
        if known is not None:
            mask &= known[index]
        each.append(confusion(truth.labels[mask], one.labels[mask], size))
    classes = (BACKGROUND, *labels)
    pooled = dict(zip(classes, iou_of(np.sum(each, axis=0)).tolist(), strict=True))
    per_image = np.stack([iou_of(counted) for counted in each])
    return SegmentationReport(classes, per_image, pooled, None if counts is None else count_error(*counts))
