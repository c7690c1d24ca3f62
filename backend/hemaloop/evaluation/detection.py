"""Average precision of boxes, and cell counts against truth.

Two definitions live side by side. `average_precision` is the one that hemaloop decides by: each truth box is found
once. `paper_average_precision` is that of the Faster R-CNN paper (its section "Model performance metrics"), kept so
that its 0.84 has something to be compared with. COCO's figures come from `hemaloop.evaluation.coco`. Where the truth
of an image says nothing of some regions, detections there count nowhere (`hemaloop.evaluation.ignored`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import DatasetError
from hemaloop.evaluation.ignored import judged_of_each
from hemaloop.evaluation.overlap import FloatArray, area, intersection_over_union
from hemaloop.plugin import Detections


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Precision over recall of one class, one point a detection, by falling score.

    recall, precision, scores: float64 (D,); both measured, before any envelope. ap: area in [0, 1], NaN where the
    class has no truth box. truths: how many boxes there were to find.
    """

    recall: FloatArray
    precision: FloatArray
    scores: FloatArray
    ap: float
    truths: int


@dataclass(frozen=True, slots=True)
class CellCount:
    """Cells of one class over all images: boxes in the truth, boxes detected, mean absolute difference an image."""

    truth: int
    detected: int
    error_per_image: float


@dataclass(frozen=True, slots=True, eq=False)
class DetectionReport:
    """All figures of one evaluation; averages run over the classes that have at least one truth box.

    map50, ap: `average_precision` over every detection given. paper_map, paper_ap: `paper_average_precision` over the
    detections at or above the operating thresholds. coco_map (IoU 0.50 to 0.95) and coco_map50: COCO's, None where not
    asked for. counts: at the operating thresholds. A class without a truth box has NaN.
    left_out: detections, of all given, that lie where the truth says nothing and were left out.
    """

    map50: float
    ap: Mapping[str, float]
    paper_map: float
    paper_ap: Mapping[str, float]
    coco_map: float | None
    coco_map50: float | None
    counts: Mapping[str, CellCount]
    curves: Mapping[str, Curve]
    thresholds: Mapping[str, float]
    images: int
    left_out: int = 0

    @property
    def weighted_precision(self) -> float:
        """Equation 9 as the paper has it: N_k is the number of detected cells, at the operating thresholds."""
        return weighted_precision(self.ap, {label: count.detected for label, count in self.counts.items()})

    @property
    def weighted_precision_true(self) -> float:
        """Equation 9 with the number of true cells as N_k, which no model can choose."""
        return weighted_precision(self.ap, {label: count.truth for label, count in self.counts.items()})

    def figures(self) -> dict[str, float]:
        """Flat names and finite numbers, for manifests and logs; what does not exist is left out."""
        named = {"map50": self.map50, "paper_map": self.paper_map, "left_out": float(self.left_out)}
        named["weighted_precision"] = self.weighted_precision
        named["weighted_precision_true"] = self.weighted_precision_true
        named |= {f"ap/{label}": value for label, value in self.ap.items()}
        named |= {f"paper_ap/{label}": value for label, value in self.paper_ap.items()}
        for label, count in self.counts.items():
            named[f"count_truth/{label}"] = float(count.truth)
            named[f"count_detected/{label}"] = float(count.detected)
            named[f"count_error_per_image/{label}"] = count.error_per_image
        if self.coco_map is not None and self.coco_map50 is not None:
            named |= {"coco_map": self.coco_map, "coco_map50": self.coco_map50}
        return {name: value for name, value in named.items() if math.isfinite(value)}


def best_unused(overlaps: FloatArray, iou: float) -> NDArray[np.bool_]:
    """Which of D detections, in order, find a truth box: each takes the best one nobody took, if IoU >= `iou`.

    overlaps: IoU of one image and class, (D, T), detections by falling score.
    """
    free = overlaps.copy()
    found = np.zeros(len(free), bool)
    if not free.size:
        return found
    for row in range(len(free)):
        best = int(free[row].argmax())
        if free[row, best] >= iou:
            found[row] = True
            free[:, best] = -1.0
    return found


def nearest(overlaps: FloatArray, iou: float) -> NDArray[np.bool_]:
    """Which of D detections lie above `iou` with the truth box nearest to them; boxes may be found again and again."""
    if not overlaps.size:
        return np.zeros(len(overlaps), bool)
    return np.asarray(overlaps.max(axis=1) > iou)


def envelope_area(recall: FloatArray, precision: FloatArray) -> float:
    """Trapezoid under the falling envelope of precision, anchored at recall 0 with the best precision there is.

    The envelope at a recall is the best precision at that recall or beyond.
    """
    if not recall.size:
        return 0.0
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.trapezoid(np.r_[envelope[0], envelope], np.r_[0.0, recall]))


def raw_area(recall: FloatArray, precision: FloatArray) -> float:
    """Trapezoid under the measured points alone: what lies left of the first point is not counted."""
    return float(np.trapezoid(precision, recall)) if recall.size else 0.0


def average_precision(
    truths: Sequence[Detections], detections: Sequence[Detections], label: int, iou: float = 0.5
) -> Curve:
    """AP of one class: best unused truth box at IoU >= `iou`, monotone envelope anchored at recall 0, trapezoid.

    truths, detections: one entry an image, in the same order. Truth boxes without area are dropped.
    Raises `DatasetError` where the two differ in length or a score is not a number.
    """
    return _curve(truths, detections, label, iou, best_unused, envelope_area)


def paper_average_precision(
    truths: Sequence[Detections], detections: Sequence[Detections], label: int, iou: float = 0.5
) -> Curve:
    """AP as the paper computes it: nearest truth box above `iou`, a box may be found twice, raw trapezoid.

    A box found twice would lift recall above 1: it is held at 1, so that the area stays in [0, 1].
    """
    return _curve(truths, detections, label, iou, nearest, raw_area)


def _curve(
    truths: Sequence[Detections],
    detections: Sequence[Detections],
    label: int,
    iou: float,
    match: Callable[[FloatArray, float], NDArray[np.bool_]],
    measure: Callable[[FloatArray, FloatArray], float],
) -> Curve:
    _check(truths, detections)
    scores: list[NDArray[np.float32]] = []
    hits: list[NDArray[np.bool_]] = []
    wanted = 0
    for truth, found in zip(truths, detections, strict=True):
        boxes = truth.boxes[(truth.labels == label) & (area(truth.boxes) > 0)]
        mine = found.labels == label
        order = np.argsort(-found.scores[mine], kind="stable")
        scores.append(found.scores[mine][order])
        hits.append(match(intersection_over_union(found.boxes[mine][order], boxes), iou))
        wanted += len(boxes)
    all_scores = np.concatenate(scores).astype(np.float64) if scores else np.zeros(0)
    all_hits = np.concatenate(hits) if hits else np.zeros(0, bool)
    order = np.argsort(-all_scores, kind="stable")
    true_positives = np.cumsum(all_hits[order], dtype=np.float64)
    precision = true_positives / np.arange(1, len(order) + 1)
    recall = np.minimum(true_positives / wanted, 1.0) if wanted else np.full(len(order), math.nan)
    ap = measure(recall, precision) if wanted else math.nan
    return Curve(recall, precision, all_scores[order], ap, wanted)


def _check(truths: Sequence[Detections], detections: Sequence[Detections]) -> None:
    if len(truths) != len(detections):
        raise DatasetError(
            f"evaluation: found {len(truths)} truths and {len(detections)} predictions, expected one an image"
        )
    for index, found in enumerate(detections):
        if not np.isfinite(found.scores).all():
            raise DatasetError(f"evaluation: image {index} has a score that is not a number; expected all in [0, 1]")


def mean_over_classes(values: Mapping[str, float]) -> float:
    """Mean of the classes that have a value; NaN where none has."""
    known = [value for value in values.values() if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def weighted_precision(ap: Mapping[str, float], cells: Mapping[str, int]) -> float:
    """Sum over classes of N_k AP_k over the sum of N_k (Sadafi et al. 2019, equation 9).

    ap: average precision of each class in [0, 1]. cells: N_k, how many cells a class has. A class whose AP is NaN,
    because it has no truth box, is in neither sum. 0 where the others have no cell: nothing was detected; NaN where
    there is no other.
    """
    known = {label: cells[label] for label, value in ap.items() if math.isfinite(value)}
    if not known:
        return math.nan
    total = sum(known.values())
    return sum(count * ap[label] for label, count in known.items()) / total if total else 0.0


def above(detections: Detections, thresholds: Sequence[float]) -> Detections:
    """The detections whose score reaches the threshold of their class; thresholds (C,), one a label."""
    wanted = np.asarray(thresholds, np.float64)[detections.labels]
    # compared in float32, as scores are: 0.55 given as text would otherwise be above a score of 0.55
    keep = detections.scores >= wanted.astype(np.float32)
    return Detections(detections.boxes[keep], detections.labels[keep], detections.scores[keep])


def count_cells(truths: Sequence[Detections], detections: Sequence[Detections], label: int) -> CellCount:
    """Boxes of one class in truth and detections; truth boxes without area are not cells."""
    wanted = np.array([int(((t.labels == label) & (area(t.boxes) > 0)).sum()) for t in truths], np.int64)
    found = np.array([int((d.labels == label).sum()) for d in detections], np.int64)
    error = float(np.abs(wanted - found).mean()) if len(wanted) else 0.0
    return CellCount(int(wanted.sum()), int(found.sum()), error)


def evaluate_detections(
    truths: Sequence[Detections],
    detections: Sequence[Detections],
    labels: Sequence[str],
    thresholds: Mapping[str, float] | None = None,
    *,
    shown: Sequence[Detections] | None = None,
    ignored: Sequence[NDArray[np.float32]] | None = None,
    coco: bool = True,
) -> DetectionReport:
    """Every figure of `detections` against `truths`, one entry an image.

    detections: as many as there are, down to low scores (0.05), after NMS; a curve that is cut early loses area.
    thresholds: operating threshold of each label, for the counts and the paper's figures; 0 where missing.
    shown: what a model shows by its own thresholds, in place of `thresholds`; these are then the lowest scores shown.
    ignored: ignore regions of each image, (K, 4) px; a detection that lies there counts in no figure.
    coco: whether to compute COCO's figures too, which imports torch.
    Raises `DatasetError` where the two differ in length, are empty, or a score is not a number.
    """
    _check(truths, detections)
    if not truths:
        raise DatasetError("evaluation: found no image, expected at least one with its truth")
    given = sum(map(len, detections))
    if ignored is not None:
        detections = judged_of_each(truths, detections, ignored)
        shown = None if shown is None else judged_of_each(truths, shown, ignored)
    operating = {label: float((thresholds or {}).get(label, 0.0)) for label in labels}
    kept = [above(found, list(operating.values())) for found in detections] if shown is None else shown
    if shown is not None:
        _check(truths, shown)
        operating = {label: _lowest(shown, index) for index, label in enumerate(labels)}
    curves = {label: average_precision(truths, detections, index) for index, label in enumerate(labels)}
    ap = {label: curve.ap for label, curve in curves.items()}
    paper_ap = {label: paper_average_precision(truths, kept, index).ap for index, label in enumerate(labels)}
    coco_map, coco_map50 = _coco(truths, detections) if coco else (None, None)
    return DetectionReport(
        map50=mean_over_classes(ap),
        ap=ap,
        paper_map=mean_over_classes(paper_ap),
        paper_ap=paper_ap,
        coco_map=coco_map,
        coco_map50=coco_map50,
        counts={label: count_cells(truths, kept, index) for index, label in enumerate(labels)},
        curves=curves,
        thresholds=operating,
        images=len(truths),
        left_out=given - sum(map(len, detections)),
    )


def _lowest(shown: Sequence[Detections], label: int) -> float:
    """Lowest score of a class; 0 where nothing of it is shown."""
    return min(
        (float(found.scores[found.labels == label].min()) for found in shown if label in found.labels), default=0.0
    )


def _coco(truths: Sequence[Detections], detections: Sequence[Detections]) -> tuple[float, float]:
    from hemaloop.evaluation.coco import coco_figures  # torch takes a second to import and is rarely needed

    return coco_figures(truths, detections)
