"""The pieces that a simulation can be cut into: the start of a seed, and each of its strategies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hemaloop.plugin import Progress
from hemaloop.simulation.experiment import Extent
from hemaloop.simulation.folder import START, Folder
from hemaloop.simulation.images import Images
from hemaloop.simulation.rounds import Rounds
from hemaloop.simulation.strategies import strategies_of


@dataclass(frozen=True, slots=True, order=True)
class Unit:
    """A seed and a strategy, or `START`, which the strategies of the seed wait for."""

    seed: int
    strategy: str

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.strategy}"

    def trainings(self, rounds: int) -> int:
        """How many it takes."""
        return 1 if self.strategy == START else rounds

    def left(self, folder: Folder, rounds: int) -> int:
        """How many of them are still to come."""
        there = folder.done(self.seed, self.strategy, rounds)
        if self.strategy == START and not folder.model(self.seed).is_dir():
            there = 0
        return self.trainings(rounds) - there


def units_of(extent: Extent) -> list[Unit]:
    """All units, seed by seed, so that what is finished first can be compared first."""
    return [Unit(seed, name) for seed in range(extent.seeds) for name in (START, *extent.strategies)]


def left(folder: Folder, units: Sequence[Unit], rounds: int) -> int:
    """Trainings that are still to come."""
    return sum(unit.left(folder, rounds) for unit in units)


def work(path: Path, unit: Unit, rounds: int, progress: Progress, between: Callable[[], None] | None = None) -> None:
    """Do a unit of the simulation in a folder, from its own description of itself. between: as in `Rounds`.

    Raises `OptionError` for a strategy that there is none of.
    """
    folder = Folder(path)
    run(Rounds(folder, Images(folder.dataset(), folder.experiment()), between), unit, rounds, progress)


def run(steps: Rounds, unit: Unit, rounds: int, progress: Progress) -> None:
    """Do a unit. `progress` counts trainings."""
    if unit.strategy == START:
        steps.start(unit.seed, progress)
    else:
        strategy = strategies_of((unit.strategy,), steps.family, steps.experiment.options)[0]
        steps.follow(unit.seed, strategy, rounds, progress)
