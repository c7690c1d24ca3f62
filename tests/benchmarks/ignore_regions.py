"""Does it help to ignore cells that nobody labelled? Trains with and without, and measures both on the same images.

    PYTHONPATH=tests python -m benchmarks.ignore_regions ../shared/data/chula_rbc12 --images 60 --seeds 2

Each pair of trainings has the same images, seed and number of steps, and differs only in what cells without a point
are: left out of the loss, or background. Both are measured twice, with ignore regions (a box on an unlabelled cell
counts nowhere) and without (it counts as an error). Takes minutes a training; what is finished is in the report.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import machine
from hemaloop import registry
from hemaloop.cli.offline_data import for_learning, for_testing, load
from hemaloop.cli.watching import Watch
from hemaloop.evaluation.detection import DetectionReport, evaluate_detections
from hemaloop.formats import Examples, Item, PointRules
from hemaloop.measuring import boxes_of, predict, shown
from hemaloop.plugin import Plugin

FIGURES = {
    "map50": "mAP",
    "weighted_precision": "by cells shown",
    "weighted_precision_true": "by true cells",
    "left_out": "left out",
}
"""Of a report, and how the table calls them; the middle two are equation 9."""
CELLS = "shown"


def main(
    data: Annotated[Path, typer.Argument(help="A folder of points on cells.")],
    images: Annotated[int, typer.Option(help="Images to learn from.")] = 60,
    test_images: Annotated[int, typer.Option(help="Images to measure on, of those that test.")] = 40,
    seeds: int = 1,
    test: float = 0.2,
    preset: str = "rbc12",
    option: Annotated[list[str], typer.Option(metavar="NAME=VALUE")] = ["recipe=head", "weights=starter"],  # noqa: B006 - typer copies it
    out: Path = Path("reports/ignore_regions.json"),
) -> None:
    """Train and measure; print the table and write the report."""
    family = registry.find("faster_rcnn")
    labels = family.presets[preset].labels
    options = {**family.presets[preset].options, **dict(each.split("=", 1) for each in option)}
    ignoring = load(data, None, {})
    plain = load(data, None, {}, PointRules(ignore_unlabelled=False))
    judges = for_testing(ignoring, test).items[:test_images]
    runs: list[dict[str, Any]] = []
    for seed in range(seeds):
        for name, dataset in (("ignored", ignoring), ("background", plain)):
            learned = sorted(for_learning(dataset, test).items, key=lambda item: item.key)
            chosen = [learned[place] for place in np.random.default_rng(seed).permutation(len(learned))[:images]]
            plugin = family(labels, options, "auto", seed)
            with Watch(f"seed {seed}, unlabelled cells {name}") as watch:
                report = plugin.fit(Examples(chosen, labels), [], watch)
                measured = measure(plugin, judges, watch)
            run = {"seed": seed, "training": name, "images": len(chosen), "seconds": round(report.seconds, 1)}
            runs.append({**run, "measured": measured})
            settings = {"options": plugin.options.model_dump(mode="json"), "test images": len(judges)}
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps({"machine": machine(), **settings, "runs": runs}, indent=1), "utf-8")
    Console().print(table(runs))


def measure(plugin: Plugin, items: Sequence[Item], watch: Watch) -> dict[str, dict[str, float]]:
    """Figures with ignore regions and without, of the same predictions."""
    everything = boxes_of(predict(plugin, Examples(items, plugin.labels), watch))
    visible = boxes_of(shown(plugin, everything))
    truths = [item.truth(plugin.labels) for item in items]
    found = {}
    for name, ignored in (("ignored", [item.ignore for item in items]), ("background", None)):
        report = evaluate_detections(truths, everything, plugin.labels, shown=visible, ignored=ignored, coco=False)
        found[name] = _figures(report)
    return found


def _figures(report: DetectionReport) -> dict[str, float]:
    figures = report.figures()
    chosen = {name: figures[name] for name in FIGURES if name in figures}
    chosen |= {name: value for name, value in figures.items() if name.startswith("ap/")}
    return {**chosen, CELLS: float(sum(count.detected for count in report.counts.values()))}


def table(runs: Sequence[dict[str, Any]]) -> Table:
    """Means over the seeds."""
    shown = Table("training", "measuring", *FIGURES.values(), CELLS, title="unlabelled cells; mean over seeds")
    for training in ("ignored", "background"):
        for measuring in ("ignored", "background"):
            found = [run["measured"][measuring] for run in runs if run["training"] == training]
            means = [np.mean([each.get(name, np.nan) for each in found]) for name in (*FIGURES, CELLS)]
            shown.add_row(training, measuring, *(f"{mean:.3f}" for mean in means))
    return shown


if __name__ == "__main__":
    typer.run(main)
