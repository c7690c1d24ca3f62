"""The experiment as a table, JSON, CSV and a figure like figures 2 and 3 of the paper."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from hemaloop.drawing import PALETTE


def results(out: Path, methods: Sequence[str], folds: int) -> list[dict[str, Any]]:
    """One row a method that has a fold: L1 and SSIM over its folds, F1 of the folds that reconstruct best and worst."""
    from hemaloop_cell_vae.experiment.study import path_of

    rows = []
    for method in methods:
        paths = [path_of(out, method, fold) for fold in range(folds)]
        found = [json.loads(path.read_text("utf-8")) for path in paths if path.exists()]
        if not found:
            continue
        by_ssim = sorted(found, key=lambda one: one["ssim"])
        rows.append(
            {
                "method": method,
                "folds": len(found),
                "l1": float(np.mean([one["l1"] for one in found])),
                "ssim": float(np.mean([one["ssim"] for one in found])),
                "f1_best": float(np.mean(by_ssim[-1]["f1"])),
                "f1_worst": float(np.mean(by_ssim[0]["f1"])),
                "f1": float(np.mean([np.mean(one["f1"]) for one in found])),
                "active_dimensions": float(np.mean([one["active_dimensions"] for one in found])),
                "hours": float(np.sum([one["seconds"] for one in found])) / 3600,
            }
        )
    return rows


def report(out: Path, methods: Sequence[str], folds: int, console: Console) -> None:
    """Show and write what there is."""
    rows = results(out, methods, folds)
    if not rows:
        console.print("no fold is finished yet", style="yellow")
        return
    title = "inside the cell, and macro F1 of the shallow classifier"
    table = Table("method", "folds", "L1", "SSIM", "F1, best fold", "F1, worst fold", "active", "hours", title=title)
    for row in rows:
        figures = [f"{row[name]:.3f}" for name in ("l1", "ssim", "f1_best", "f1_worst")]
        table.add_row(
            row["method"], str(row["folds"]), *figures, f"{row['active_dimensions']:.0f}", f"{row['hours']:.2f}"
        )
    console.print(table)
    (out / "results.json").write_text(json.dumps(rows, indent=1), "utf-8")
    with (out / "results.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    figure_of(rows).savefig(out / "suppression.png", dpi=120)
    console.print(f"results: {out}", markup=False, highlight=False)


def figure_of(rows: Sequence[dict[str, Any]]) -> Figure:
    """Left the L1 inside the cell (less is better), right F1 of the best and, over it, the worst fold."""
    figure = Figure(figsize=(11, 1.6 + 0.32 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(rows))
    left.barh(places, [row["l1"] for row in rows], color=PALETTE[0])
    left.set(title="reconstruction inside the cell", xlabel="L1, pixels in [0, 1]; less is better")
    left.set_yticks(places, [row["method"] for row in rows])
    left.invert_yaxis()
    right.barh(places, [row["f1_best"] for row in rows], color=PALETTE[1], alpha=0.5, label="best fold")
    right.barh(places, [row["f1_worst"] for row in rows], height=0.4, color=PALETTE[1], label="worst fold")
    right.set(title="shallow classifier", xlabel="macro F1; more is better", xlim=(0, 1))
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure
