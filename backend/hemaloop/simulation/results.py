"""What came out of a simulation, as results.csv (a line a trained model), results.json (everything) and curves."""

from __future__ import annotations

import csv
import io
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hemaloop.errors import DatasetError
from hemaloop.simulation.figure import curves_figure
from hemaloop.simulation.folder import Folder, Point
from hemaloop.simulation.statistics import RARE, Curves, Gain, Savings, curves_of, gain, savings
from hemaloop.simulation.strategies import RANDOM

PRECISION = "weighted_precision"
"""Equation 9 of the paper: N_k are the cells that the model shows."""
PRECISION_TRUE = "weighted_precision_true"
"""Equation 9 with the true cells of each class as N_k."""
_PROGRAMS = ("hemaloop", "numpy", "torch", "torchvision")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A strategy against chance by one figure, over the seeds that both have run through."""

    strategy: str
    figure: str
    seeds: int
    savings: Savings
    gain: Gain


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """Everything that came out so far. figures: names of those that curves are drawn of, the most telling first."""

    points: Sequence[Point]
    figures: tuple[str, ...]
    curves: Mapping[str, Curves]
    comparisons: tuple[Comparison, ...]
    hours: float


def read_results(folder: Folder) -> Results:
    """What a folder holds. Raises `DatasetError` where no training is finished."""
    points = folder.points()
    if not points:
        raise DatasetError(f"{folder.path}: no training of the simulation is finished yet")
    rare = folder.experiment().rare
    single = tuple(f"ap/{label}" for label in rare)
    figures = (PRECISION, PRECISION_TRUE, "map50", *((RARE,) if rare else ()), *single)
    curves = curves_of(points, figures, rare)
    seconds = sum(sum(point.seconds.values()) for point in points) + sum(one.seconds for one in folder.choices())
    return Results(points, figures, curves, tuple(_comparisons(curves, figures)), seconds / 3600)


def _comparisons(curves: Mapping[str, Curves], figures: Sequence[str]) -> list[Comparison]:
    if RANDOM not in curves:
        return []
    chance = curves[RANDOM]
    found = []
    for strategy, one in curves.items():
        seeds = [seed for seed in one.seeds if seed in chance.seeds]
        if seeds:
            mine, theirs = one.of(seeds), chance.of(seeds)
            found += [
                Comparison(strategy, name, len(seeds), savings(mine, theirs, name), gain(mine, theirs, name))
                for name in figures
            ]
    return found


def write_results(folder: Folder) -> Results:
    """Write every file and return what is in them. Raises `DatasetError` where no training is finished."""
    found = read_results(folder)
    experiment = folder.experiment()
    folder.write_bytes("results.csv", _table(found, experiment.labels).encode())
    content = {
        "program": {"python": platform.python_version(), **{name: version(name) for name in _PROGRAMS}},
        "machine": machine(),
        "experiment": experiment.as_json(),
        "hours_of_computing": found.hours,
        "trainings": len(found.points),
        "curves": {name: _curves(one) for name, one in found.curves.items()},
        "against_random": [asdict(one) for one in found.comparisons],
    }
    folder.write("results.json", _plain(content))
    if found.curves:
        drawn = [name for name in found.figures if name == PRECISION or name.startswith("ap/")]
        picture = curves_figure(list(found.curves.values()), drawn)
        for suffix in ("png", "svg"):
            stream = io.BytesIO()
            picture.savefig(stream, format=suffix, dpi=150)
            folder.write_bytes(f"curves.{suffix}", stream.getvalue())
    return found


def machine() -> dict[str, Any]:
    """What the figures were made on."""
    processor = platform.processor()
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        names = [line.partition(":")[2].strip() for line in listed.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    return {"system": platform.platform(), "processor": processor, "cores": os.cpu_count()}


def _table(found: Results, labels: Sequence[str]) -> str:
    aps = [f"ap/{label}" for label in labels]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    head = ["seed", "strategy", "round", "images", "cells", PRECISION, PRECISION_TRUE, "map50"]
    writer.writerow([*head, *aps, *(f"cells/{label}" for label in labels), "seconds"])
    for point in found.points:
        figures = [_number(point.figures.get(name)) for name in (PRECISION, PRECISION_TRUE, "map50", *aps)]
        counts = [point.cells.get(label, 0) for label in labels]
        made = [point.seed, point.strategy, point.round, len(point.labelled), point.all_cells]
        writer.writerow([*made, *figures, *counts, f"{sum(point.seconds.values()):.1f}"])
    return stream.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"


def _curves(curves: Curves) -> dict[str, Any]:
    several = len(curves.seeds) > 1
    rows = {"cells": curves.cells, "new_cells": curves.new_cells, **curves.values}
    return {
        "seeds": list(curves.seeds),
        "mean": {name: values.mean(axis=0).tolist() for name, values in rows.items()},
        "std": {name: values.std(axis=0, ddof=1).tolist() for name, values in rows.items()} if several else None,
    }


def _plain(value: Any) -> Any:
    """JSON has neither infinity nor NaN: null stands for both, a target that is never reached among them."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
