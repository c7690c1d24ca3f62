"""`hemaloop evaluate`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hemaloop.cli import offline_classes
from hemaloop.cli.offline_data import (
    for_testing,
    load,
    require_labels,
    require_masks,
    require_regions,
    show_findings,
    show_notes,
)
from hemaloop.cli.watching import Watch
from hemaloop.describe import suspects
from hemaloop.drawing import curves_figure, save_figure
from hemaloop.evaluation.classification import ClassificationReport
from hemaloop.evaluation.detection import DetectionReport
from hemaloop.evaluation.segmentation import SegmentationReport
from hemaloop.formats import Examples, Item, PointRules
from hemaloop.map_drawing import draw_map_errors
from hemaloop.measuring import detection_report, map_report, maps_of
from hemaloop.model_folder import Opened, open_model
from hemaloop.plugin import Classification, ClassMap, Plugin, Progress

Report = DetectionReport | SegmentationReport


def run(
    model: str,
    data: Path,
    out: Path,
    *,
    images: Path | None,
    renamed: Mapping[str, str],
    device: str,
    rules: PointRules | None = None,
    test: float = 0.0,
) -> Report | ClassificationReport:
    """Measure a model; on the screen, and as evaluation.json in `out`, beside curves (boxes) or errors drawn (masks).

    test: share of the images that is measured on, as `for_testing` has it.
    """
    console = Console()
    opened = open_model(model, device)
    if opened.plugin.produces is Classification:
        return offline_classes.evaluate(opened, model, data, out, images=images, renamed=renamed, test=test)
    require_regions(type(opened.plugin))
    dataset = for_testing(load(data, images, renamed, rules), test)
    require_masks(type(opened.plugin), dataset)
    masks = type(opened.plugin).produces is ClassMap
    findings = {
        "images that look unlabelled; each cell found there counts as an error": [
            str(one) for one in ([] if masks else suspects(dataset))
        ],
        "faults in the files": [str(fault) for fault in dataset.faults],
    }
    show_findings(console, {kind: lines for kind, lines in findings.items() if lines})
    show_notes(console, dataset)
    require_labels(dataset, opened.plugin.labels)
    seen = _seen(opened, dataset.items)
    if seen:
        console.print(
            f"{seen} of {len(dataset)} images were used to train this model: the figures flatter it", style="yellow"
        )
    with Watch("evaluating") as watch:
        report = measure(opened.plugin, dataset.items, watch)
    show(console, opened.name, report)
    out.mkdir(parents=True, exist_ok=True)
    content = {"model": opened.name, "data": str(data), "images_seen_in_training": seen, **as_json(report)}
    (out / "evaluation.json").write_text(json.dumps(content, indent=1, allow_nan=False), "utf-8")
    if isinstance(report, DetectionReport):
        save_figure(curves_figure(report), out / "precision_recall.png")
    else:
        with Watch("drawing errors") as watch:
            draw_errors(opened.plugin, dataset.items, out / "errors", watch)
    console.print(f"figures and pictures: {out}", markup=False, highlight=False)
    return report


def measure(plugin: Plugin, items: Sequence[Item], progress: Progress, *, coco: bool = True) -> Report:
    """Every figure of a plugin on these items."""
    if plugin.produces is ClassMap:
        return map_report(plugin, Examples(items, plugin.labels, ClassMap), progress, "images")
    return detection_report(plugin, Examples(items, plugin.labels), progress, "images", coco=coco)


def draw_errors(plugin: Plugin, items: Sequence[Item], folder: Path, progress: Progress) -> None:
    """Each image under its prediction, with what is wrong in another colour."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, item in enumerate(items):
        progress.report(index, len(items), "images")
        image = item.image()
        [found] = maps_of(plugin.predict([image]))
        truth = item.class_map(plugin.labels)
        draw_map_errors(image, truth, found, plugin.labels).save(folder / f"{item.path.stem}.png")


def as_json(report: Report) -> dict[str, Any]:
    """All figures by name, and the curves, for programs."""
    if isinstance(report, SegmentationReport):
        columns = [
            [None if math.isnan(value) else round(value, 4) for value in row] for row in report.per_image.tolist()
        ]
        return {
            "images": len(columns),
            "figures": report.figures(),
            "classes": report.classes,
            "iou_per_image": columns,
        }
    curves = {
        label: {
            "recall": [round(float(value), 5) for value in curve.recall],
            "precision": [round(float(value), 5) for value in curve.precision],
            "score": [round(float(value), 5) for value in curve.scores],
        }
        for label, curve in report.curves.items()
        if curve.truths
    }
    return {"images": report.images, "figures": report.figures(), "curves": curves}


def show(console: Console, name: str, report: Report) -> None:
    """A line a class, and the means."""
    if isinstance(report, SegmentationReport):
        _show_maps(console, name, report)
    else:
        _show_boxes(console, name, report)


def _show_maps(console: Console, name: str, report: SegmentationReport) -> None:
    table = Table(title=f"{name} on {len(report.per_image)} images", title_justify="left")
    for column in ("class", "IoU, pooled", "mean an image", "std", "min", "max"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for label, one in report.spreads().items():
        pooled = report.mean_iou_all if label == "mean" else report.pooled[label]
        if label == "mean":
            table.add_section()
        table.add_row(label, *map(_figure, (pooled, one.mean, one.std, one.least, one.largest)))
    console.print(table)
    if report.count is not None:
        count = report.count
        console.print(
            f"cells: {count.truth:,} in the truth, {count.found:,} found; an image is off by "
            f"{count.error_per_image:.2f} ({count.percentage_error:.1f} %) on average",
            highlight=False,
        )
    console.print(
        "IoU: intersection over union of pixels. Pooled: over all images, so that a tiny overlap weighs little.",
        style="dim",
    )


def _show_boxes(console: Console, name: str, report: DetectionReport) -> None:
    table = Table(title=f"{name} on {report.images} images", title_justify="left")
    for column in ("class", "AP", "AP, paper's way", "cells in truth", "cells shown", "difference an image"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for label, count in report.counts.items():
        figures = _figure(report.ap[label]), _figure(report.paper_ap[label])
        table.add_row(label, *figures, f"{count.truth:,}", f"{count.detected:,}", f"{count.error_per_image:.2f}")
    table.add_section()
    table.add_row("mean (mAP)", _figure(report.map50), _figure(report.paper_map), "", "", "")
    table.add_row("weighted by cells shown", _figure(report.weighted_precision), "", "", "", "")
    table.add_row("weighted by cells in truth", _figure(report.weighted_precision_true), "", "", "", "")
    console.print(table)
    console.print(f"COCO mAP (IoU 0.50 to 0.95) {_figure(report.coco_map)}, mAP50 {_figure(report.coco_map50)}")
    if report.left_out:
        console.print(
            f"{report.left_out:,} box(es) lie where the truth says nothing and count nowhere", highlight=False
        )
    console.print(
        "AP: area under the precision-recall curve at IoU 0.5, of every box found. Paper's way: of the boxes shown.",
        style="dim",
    )


def _figure(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _seen(opened: Opened, items: Sequence[Item]) -> int:
    """How many of the images a model learned from or was tuned on."""
    known = opened.manifest.seen if opened.manifest else frozenset()
    return sum(item.key in known for item in items)
