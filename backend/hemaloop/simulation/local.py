"""A whole simulation on this machine: in this process, or in several with one thread each."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hemaloop.children import Child
from hemaloop.errors import Cancelled, HemaloopError
from hemaloop.plugin import Progress
from hemaloop.simulation.folder import START, Folder
from hemaloop.simulation.images import Images
from hemaloop.simulation.rounds import Rounds
from hemaloop.simulation.schedule import Pace, run_elsewhere, tell_failed
from hemaloop.simulation.units import Unit, left, run
from hemaloop.stages import Stage

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Environment of a process that shares the cores with others."""


def run_here(folder: Folder, images: Images, units: Sequence[Unit], rounds: int, progress: Progress) -> None:
    """Every unit that is not done, one after the other. Raises as `run_in_processes`."""
    steps = Rounds(folder, images)
    total = sum(unit.trainings(rounds) for unit in units)
    failed: dict[Unit, str] = {}
    begin = total - left(folder, units, rounds)
    pace = Pace(progress, begin)
    for unit in units:
        count = unit.left(folder, rounds)
        if not count or Unit(unit.seed, START) in failed:
            continue
        part = _Left(Stage(pace, begin, begin + count, total), unit.trainings(rounds) - count)
        try:
            run(steps, unit, rounds, part)
        except Cancelled:
            raise
        except HemaloopError as error:
            failed[unit] = str(error)
        begin += count
    tell_failed(failed, folder)


def run_in_processes(folder: Folder, units: Sequence[Unit], rounds: int, jobs: int, progress: Progress) -> None:
    """Every unit that is not done, `jobs` at a time, each in a process with one thread that ends with this one.

    Raises `Cancelled`, and in the end `HemaloopError` that names the units which failed; the others are done then.
    """
    run_elsewhere(folder, units, rounds, lambda unit: _Process(folder, unit, rounds), jobs, progress)


class _Process:
    """The process of a unit, its output in the folder's logs."""

    def __init__(self, folder: Folder, unit: Unit, rounds: int) -> None:
        command = [sys.executable, "-m", "hemaloop.simulation", str(folder.path), str(unit.seed), unit.strategy]
        self._child = Child(
            str(unit),
            [*command, str(rounds)],
            log=folder.path / "logs" / f"seed-{unit.seed:03d}-{unit.strategy}.log",
            environment={**os.environ, **ONE_THREAD},
            directory=Path.cwd(),
        )

    @property
    def alive(self) -> bool:
        return self._child.alive

    def fault(self) -> str | None:
        return self._child.last_words(1) if self._child.status else None

    def stop(self) -> None:
        self._child.stop()


class _Left:
    """A `Progress` whose first `skipped` steps are over already and do not count: a strategy counts all its rounds."""

    def __init__(self, progress: Progress, skipped: int) -> None:
        self._progress = progress
        self._skipped = skipped

    def report(self, done: float, total: float, message: str, figures: Mapping[str, float] | None = None) -> None:
        """Pass on what counts."""
        self._progress.report(max(0.0, done - self._skipped), total - self._skipped, message, figures)
