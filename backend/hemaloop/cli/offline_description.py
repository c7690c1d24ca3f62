"""`hemaloop describe`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from hemaloop.cli import offline_classes
from hemaloop.cli.offline_data import load, show_findings, show_notes
from hemaloop.describe import ClassSummary, Description, describe
from hemaloop.drawing import save_figure
from hemaloop.formats import PointRules
from hemaloop.formats.classes import ClassDataset


def run(
    data: Path, out: Path, *, images: Path | None, renamed: Mapping[str, str], rules: PointRules | None = None
) -> Description | ClassDataset:
    """Describe a data set on the screen, and as description.json and description.png in `out`."""
    if offline_classes.holds_classes(data):
        return offline_classes.describe(data, out, renamed=renamed)
    console = Console()
    description = describe(load(data, images, renamed, rules))
    show(console, description)
    out.mkdir(parents=True, exist_ok=True)
    (out / "description.json").write_text(json.dumps(description.as_json(), indent=1), "utf-8")
    save_figure(description.figure(), out / "description.png")
    console.print(f"figure and findings: {out}", markup=False, highlight=False)
    return description


def show(console: Console, description: Description) -> None:
    """The table of classes and everything that looks wrong."""
    dataset = description.dataset
    console.print(f"{dataset.path}: {dataset.format}, {len(dataset)} images", markup=False, highlight=False)
    show_notes(console, dataset)
    table = Table("class", "boxes", "images with it", "on one image", "width, px", "height, px")
    for name, summary in description.classes.items():
        table.add_row(name, f"{summary.boxes:,}", f"{summary.images:,}", *_spans(summary))
    console.print(table)
    console.print("Three numbers: 5 %, median, 95 %.", style="dim")
    findings = description.findings()
    show_findings(console, findings)
    if not findings:
        console.print("Nothing looks wrong.")


def _spans(summary: ClassSummary) -> tuple[str, str, str]:
    if not summary.boxes:
        return "-", "-", "-"
    return _span(summary.per_image), _span(summary.sizes[:, 0]), _span(summary.sizes[:, 1])


def _span(values: NDArray[np.generic]) -> str:
    return "  ".join(f"{float(value):.0f}" for value in np.percentile(np.asarray(values, np.float64), (5, 50, 95)))
