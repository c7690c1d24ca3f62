"""Learning curves over labelled cells, and what a strategy saves and gains against chance.

Seeds run through the same rounds, so a mean curve has one point a round: mean cells, mean value. Intervals come from
drawing seeds anew with replacement (percentile bootstrap); a seed keeps its strategies together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemaloop.bootstrap import bootstrap
from hemaloop.simulation.folder import START, Point

FloatArray = NDArray[np.float64]

RARE = "rare_ap"
"""Figure: mean average precision of the rare classes."""


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Learning curves of one strategy: one row a seed, one column a round, the start first.

    cells: float64 (S, R + 1), labelled cells in all. values: of each figure, float64 (S, R + 1).
    """

    strategy: str
    seeds: tuple[int, ...]
    cells: FloatArray
    values: Mapping[str, FloatArray]

    @property
    def new_cells(self) -> FloatArray:
        """Cells labelled since the start, (S, R + 1): what the paper's Fig. 4 counts."""
        return np.asarray(self.cells - self.cells[:, :1])

    def of(self, seeds: Sequence[int]) -> Curves:
        """Those of some of its seeds, in their order."""
        rows = [self.seeds.index(seed) for seed in seeds]
        values = {name: found[rows] for name, found in self.values.items()}
        return Curves(self.strategy, tuple(seeds), self.cells[rows], values)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and the interval that holds it with 95 %; None for an interval of a single seed."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Savings:
    """Cells that a strategy needs for what chance reaches in the end.

    target: mean figure of the random strategy after its last round. needed, reference: newly labelled cells of the
    strategy until its mean curve first reaches it, and of chance. share: needed over reference. share_in_all: the same
    with the cells of the start in both. stays: share from which on the curve stays there. Infinite: never reached.
    """

    target: float
    needed: float
    reference: float
    share: Estimate
    share_in_all: Estimate
    stays: float


@dataclass(frozen=True, slots=True)
class Gain:
    """A strategy against chance at equal numbers of newly labelled cells, those that both have reached.

    value, random: the figure of each there; difference: of the two. gain, random_gain: what each has won since the
    start; ratio: of the gains, NaN where chance won nothing.
    """

    cells: float
    value: float
    random: float
    difference: Estimate
    gain: float
    random_gain: float
    ratio: float


def curves_of(points: Sequence[Point], figures: Sequence[str], rare: Sequence[str]) -> dict[str, Curves]:
    """Curves of every strategy, of the seeds that have run through all rounds that any has.

    A figure that a model does not have is 0: one that shows no cell has no weighted precision, and finds nothing.
    """
    found = {(point.seed, point.strategy, point.round): point for point in points}
    rounds = max((point.round for point in points), default=0)
    strategies = sorted({point.strategy for point in points} - {START})
    curves = {}
    for strategy in strategies:
        rows = {}
        for seed in sorted({point.seed for point in points}):
            keys = [(seed, START, 0), *((seed, strategy, number) for number in range(1, rounds + 1))]
            if all(key in found for key in keys):
                rows[seed] = [found[key] for key in keys]
        if rows:
            cells = np.array([[float(point.all_cells) for point in row] for row in rows.values()])
            values = {
                name: np.array([[figure(point, name, rare) for point in row] for row in rows.values()])
                for name in figures
            }
            curves[strategy] = Curves(strategy, tuple(rows), cells, values)
    return curves


def figure(point: Point, name: str, rare: Sequence[str]) -> float:
    """A figure of a point by name; `RARE` is the mean over the rare classes."""
    if name == RARE:
        return float(np.mean([point.figures.get(f"ap/{label}", 0.0) for label in rare]))
    return float(point.figures.get(name, 0.0))


def first_reached(cells: FloatArray, values: FloatArray, target: float) -> float:
    """Cells (R,) at which a curve (R,), straight between its points, first reaches a value; infinite where never."""
    if values[0] >= target:
        return float(cells[0])
    for index in range(1, len(values)):
        if values[index] >= target:
            part = (target - values[index - 1]) / (values[index] - values[index - 1])
            return float(cells[index - 1] + part * (cells[index] - cells[index - 1]))
    return math.inf


def stays_reached(cells: FloatArray, values: FloatArray, target: float) -> float:
    """Cells (R,) from which on a curve (R,) is at a value or above; infinite where it ends below."""
    below = np.flatnonzero(values < target)
    if not len(below):
        return float(cells[0])
    last = int(below[-1])
    return first_reached(cells[last:], values[last:], target)


def savings(curves: Curves, chance: Curves, name: str) -> Savings:
    """What a strategy saves at equal precision. Both need the same seeds."""

    def shares(rows: NDArray[np.int64]) -> tuple[float, float, float, float, float, float]:
        start = float(chance.cells[rows, 0].mean())
        target = float(chance.values[name][rows, -1].mean())
        reference = float(chance.new_cells[rows, -1].mean())
        cells, values = curves.new_cells[rows].mean(axis=0), curves.values[name][rows].mean(axis=0)  # (R + 1,)
        needed = first_reached(cells, values, target)
        stays = stays_reached(cells, values, target)
        shared = (needed + start) / (reference + start)
        return target, needed, reference, needed / reference, shared, stays / reference

    everyone = np.arange(len(curves.seeds))
    target, needed, reference, share, shared, stays = shares(everyone)
    return Savings(
        target=target,
        needed=needed,
        reference=reference,
        share=Estimate(share, bootstrap(lambda rows: shares(rows)[3], len(everyone))),
        share_in_all=Estimate(shared, bootstrap(lambda rows: shares(rows)[4], len(everyone))),
        stays=stays,
    )


def gain(curves: Curves, chance: Curves, name: str) -> Gain:
    """A strategy against chance at equal cells. Both need the same seeds."""

    def at_equal(rows: NDArray[np.int64]) -> tuple[float, float, float, float]:
        both = [(one.new_cells[rows].mean(axis=0), one.values[name][rows].mean(axis=0)) for one in (curves, chance)]
        cells = min(float(x[-1]) for x, _ in both)
        mine, theirs = (float(np.interp(cells, x, y)) for x, y in both)
        return cells, mine, theirs, float(both[0][1][0])

    everyone = np.arange(len(curves.seeds))
    cells, mine, theirs, start = at_equal(everyone)

    def difference(rows: NDArray[np.int64]) -> float:
        found = at_equal(rows)
        return found[1] - found[2]

    won, won_by_chance = mine - start, theirs - start
    return Gain(
        cells=cells,
        value=mine,
        random=theirs,
        difference=Estimate(mine - theirs, bootstrap(difference, len(everyone))),
        gain=won,
        random_gain=won_by_chance,
        ratio=won / won_by_chance if won_by_chance > 0 else math.nan,
    )
