"""`hemaloop simulate`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hemaloop import registry
from hemaloop.cli.offline_data import load, require_detections, require_labels, show_findings, show_notes
from hemaloop.cli.watching import Watch
from hemaloop.config import load_settings
from hemaloop.errors import OptionError
from hemaloop.formats import Dataset, PointRules
from hemaloop.model_folder import preset_of
from hemaloop.plugin import Plugin
from hemaloop.queues import Queues
from hemaloop.simulation.experiment import RARE_OPTION, Experiment, Extent, fingerprint, rare_classes
from hemaloop.simulation.folder import Folder
from hemaloop.simulation.images import Images
from hemaloop.simulation.local import run_here, run_in_processes
from hemaloop.simulation.queued import run_queued, shared_folder
from hemaloop.simulation.results import PRECISION, Results, write_results
from hemaloop.simulation.statistics import RARE, Savings
from hemaloop.simulation.strategies import strategies_of
from hemaloop.simulation.units import Unit, left, units_of


@dataclass(frozen=True, slots=True)
class Order:
    """What to simulate, as it was asked for. rare: None for the classes with few cells, () for none."""

    data: Path
    out: Path
    family: str
    strategies: tuple[str, ...]
    preset: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    rare: tuple[str, ...] | None = None
    images: Path | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    rules: PointRules | None = None
    seeds: int = 5
    start: int = 20
    batch: int = 5
    candidates: int = 50
    rounds: int = 6
    test: float = 0.2
    tune: float = 0.1
    jobs: int = 1
    workers: bool = False
    device: str = "auto"


def run(order: Order, *, only_report: bool = False) -> None:
    """Simulate, or go on with it, and write what came out.

    Raises `DatasetError`, `OptionError`, `PluginError`, `Cancelled`; what is finished is kept and reported even then.
    """
    console = Console()
    folder = Folder(shared_folder(load_settings(), order.out) if order.workers else order.out)
    if only_report:
        report(console, folder)
        return
    if order.candidates < order.batch:
        raise OptionError(f"--candidates {order.candidates}: expected --batch {order.batch} or more, to choose from")
    family = registry.find(order.family)
    require_detections(family)
    options = {**(preset_of(family, order.preset).options if order.preset else {}), **order.options}
    strategies_of(order.strategies, family, options)  # before the data are read: a wrong option is told at once
    dataset = load(order.data, order.images, order.renamed, order.rules)
    experiment = experiment_of(order, family, options, dataset)
    images = Images(dataset, experiment)
    extent = Extent(order.seeds, min(order.rounds, images.rounds(experiment)), order.strategies)
    units = units_of(extent)
    with folder.alone():
        folder.begin(experiment, dataset)
        tell(console, dataset, experiment, images, order)
        print_line(console, f"{left(folder, units, extent.rounds)} of {extent.steps} trainings to do, in {folder.path}")
        try:
            _run(order, folder, images, units, extent.rounds)
        finally:
            if folder.points():
                report(console, folder)


def _run(order: Order, folder: Folder, images: Images, units: Sequence[Unit], rounds: int) -> None:
    with Watch("simulation", kept="what is finished is kept, the same command goes on") as watch:
        if order.workers:
            with contextlib.closing(Queues(load_settings())) as queues:
                run_queued(folder, units, rounds, queues, watch)
        elif order.jobs > 1:
            run_in_processes(folder, units, rounds, order.jobs, watch)
        else:
            run_here(folder, images, units, rounds, watch)


def experiment_of(order: Order, family: type[Plugin], options: Mapping[str, Any], dataset: Dataset) -> Experiment:
    """The experiment that was asked for. Raises `DatasetError` and `OptionError`."""
    present = tuple(label for label, count in dataset.counts().items() if count)
    labels = order.labels or (preset_of(family, order.preset).labels if order.preset else present)
    require_labels(dataset, labels or dataset.labels)
    rare = rare_classes(dataset, labels, order.rare)
    if RARE_OPTION in family.Options.model_fields and RARE_OPTION not in order.options:
        options = {**options, RARE_OPTION: ",".join(rare) or "none"}
    for name in order.strategies:
        plan = strategies_of((name,), family, options)[0]
        family(labels, {**options, **plan.options}, order.device)  # also what only labels and options together tell
    return Experiment(
        data=fingerprint(dataset.items),
        family=family.family,
        family_version=family.version,
        labels=labels,
        options=options,
        rare=rare,
        start=order.start,
        batch=order.batch,
        candidates=order.candidates,
        test=order.test,
        tune=order.tune,
        device=order.device,
    )


def tell(console: Console, dataset: Dataset, experiment: Experiment, images: Images, order: Order) -> None:
    """What is about to happen, and what is odd about it."""
    counts = dataset.counts()
    show_findings(console, {"faults in the files": [str(fault) for fault in dataset.faults]} if dataset.faults else {})
    show_notes(console, dataset)
    rare = ", ".join(f"{label} ({counts[label]})" for label in experiment.rare)
    print_line(console, f"{len(images.pool)} images to choose from, {len(images.test)} that judge")
    print_line(console, f"rare classes: {rare}" if rare else "no rare class: only the precision of all is followed")
    for note in oddities(experiment, images, order):
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def oddities(experiment: Experiment, images: Images, order: Order) -> Sequence[str]:
    """Sentences about what will not be as asked for."""
    notes = []
    if len(experiment.labels) == 1:
        notes.append(f"{experiment.labels[0]} is the only class, so the precision of all is that of one class")
    most = images.rounds(experiment)
    if order.rounds > most:
        notes.append(f"the pool is empty after round {most}, so there are no more rounds than that")
    spare = len(images.pool) - experiment.start
    short = max(0, (spare - experiment.candidates) // experiment.batch + 1) + 1
    if short <= min(order.rounds, most):
        notes.append(
            f"from round {short} on fewer than {experiment.candidates} images are unlabelled; all of them are then "
            "sorted"
        )
    return notes


def report(console: Console, folder: Folder) -> None:
    """What came out so far, on the screen and as files."""
    found = write_results(folder)
    show(console, found)
    print_line(console, f"results and curves: {folder.path}")


def show(console: Console, found: Results) -> None:
    """A line a strategy: what it reached, what it saved and what it gained against chance."""
    print_line(console, f"{len(found.points)} trainings, {found.hours:.1f} hours of computing")
    rare = {one.strategy: one.gain for one in found.comparisons if one.figure == RARE}
    table = Table(title="weighted precision (eq. 9), and average precision of the rare classes", title_justify="left")
    for column in ("strategy", "seeds", "cells", "precision", "chance", "cells needed", "rare AP won", "by chance"):
        table.add_column(column, justify="left" if column == "strategy" else "right")
    for one in found.comparisons:
        if one.figure == PRECISION:
            won = rare.get(one.strategy)
            table.add_row(
                one.strategy,
                str(one.seeds),
                f"{one.gain.cells:,.0f}",
                f"{one.gain.value:.3f}",
                f"{one.gain.random:.3f}",
                _share(one.savings),
                f"{won.gain:+.3f}" if won else "",
                f"{won.random_gain:+.3f}" if won else "",
            )
    if table.row_count:
        console.print(table)
        console.print(
            "At equal numbers of newly labelled cells. Cells needed: for the precision that chance reaches in the end, "
            "as a share of the cells that chance needs; in brackets 95 % of bootstrap draws over seeds.",
            style="dim",
        )


def _share(savings: Savings) -> str:
    if not math.isfinite(savings.share.value):
        return "not reached"
    interval = savings.share.interval
    return _percent(savings.share.value) + (
        f" ({_percent(interval[0])} to {_percent(interval[1])})" if interval else ""
    )


def _percent(share: float) -> str:
    return f"{share:.0%}" if math.isfinite(share) else "never"


def print_line(console: Console, line: str) -> None:
    """A line as it is."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
