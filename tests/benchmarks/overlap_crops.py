"""Masks of the overlap family on real smears, against what a person outlined (`tests/plugins/overlap_truth`).

PYTHONPATH=tests python -m benchmarks.overlap_crops [MODEL [CROPS]]

MODEL is a folder, or starter:rbc_overlap; CROPS a file of outlines, by default those to test on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from hemaloop.evaluation.segmentation import SegmentationReport, evaluate_maps
from hemaloop.model_folder import open_model
from hemaloop.plugin import ClassMap, Plugin
from overlap_truth import FILE, Crop, read_crops
from real_smears import DATA

LABELS = ("RBC", "Overlap")


def drawer() -> SegmentationReport:
    """The person's own second drawing against the first."""
    twice = [crop for crop in read_crops() if crop.again is not None]
    again = [ClassMap(crop.again) for crop in twice if crop.again is not None]
    return evaluate_maps([ClassMap(crop.classes) for crop in twice], again, LABELS)


def cut(whole: ClassMap, window: tuple[slice, slice]) -> ClassMap:
    """A part of a map; centres beside it count nothing."""
    labels = np.ascontiguousarray(whole.labels[window])
    corner = np.array([window[1].start, window[0].start], np.float32)
    return ClassMap(labels, None if whole.centres is None else whole.centres - corner)


def measure(plugin: Plugin, crops: Sequence[Crop]) -> SegmentationReport:
    """Whole images are predicted, and the outlined parts cut out."""
    found, counted = [], []
    for crop in crops:
        [one] = plugin.predict([crop.pixels(DATA)])
        if not isinstance(one, ClassMap):
            raise TypeError(f"{type(plugin).__name__}: found {type(one).__name__}, expected masks")
        part = cut(one, crop.window())
        found.append(part)
        counted.append(len(plugin.cells(part) or ()))
    truths = [ClassMap(crop.classes) for crop in crops]
    return evaluate_maps(truths, found, LABELS, counts=([crop.count for crop in crops], counted))


def as_json(report: SegmentationReport, crops: Sequence[Crop]) -> str:
    """Figures, and the IoU of each crop."""
    images = [crop.image for crop in crops]
    each = [
        {"image": image, **dict(zip(("background", *LABELS), map(_rounded, values), strict=True))}
        for image, values in zip(images, report.per_image, strict=True)
    ]
    pooled = {name: _rounded(value) for name, value in report.pooled.items()}
    return json.dumps(
        {"real_pooled_iou": pooled, "real_mean_iou": _rounded(report.mean_iou_all), "real_crops": each}, indent=1
    )


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 3)


def main(model: str = "starter:rbc_overlap", outlines: str = str(FILE)) -> None:
    """Print means, spreads and each crop."""
    console = Console()
    crops = read_crops(Path(outlines))
    measured = measure(open_model(model).plugin, crops)
    for name, report in (("drawn twice", drawer()), (model, measured)):
        console.print(f"{name}: pooled {report.pooled}, mean {report.mean_iou_all:.3f}", highlight=False)
        for label, spread in report.spreads().items():
            console.print(f"    {label}: {spread}", highlight=False)
        if report.count is not None:
            console.print(f"    cells: {report.count}", highlight=False)
    console.print(as_json(measured, crops), highlight=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
