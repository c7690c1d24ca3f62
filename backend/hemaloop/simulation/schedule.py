"""Units of a simulation done elsewhere, several at a time: by processes of this machine or by workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from hemaloop.errors import HemaloopError
from hemaloop.plugin import Progress
from hemaloop.simulation.folder import START, Folder
from hemaloop.simulation.units import Unit, left

_LOOK_SECONDS = 0.5


class Task(Protocol):
    """A unit at work somewhere."""

    @property
    def alive(self) -> bool:
        """Whether it is still to end."""

    def fault(self) -> str | None:
        """Why it failed, once it is no longer alive; None where it knows of nothing."""

    def stop(self) -> None:
        """End it, at the latest at its next step."""


def run_elsewhere(
    folder: Folder, units: Sequence[Unit], rounds: int, begin: Callable[[Unit], Task], most: int, progress: Progress
) -> None:
    """Every unit that is not done, `most` at a time, the strategies of a seed after its start. `begin`: starts one.

    Raises `Cancelled` from `progress`, after all were stopped, and in the end `HemaloopError` that names the units
    which failed; the others are done then.
    """
    total = sum(unit.trainings(rounds) for unit in units)
    pace = Pace(progress, total - left(folder, units, rounds))
    waiting = [unit for unit in units if unit.left(folder, rounds)]
    running: dict[Unit, Task] = {}
    failed: dict[Unit, str] = {}
    try:
        while waiting or running:
            waiting = [unit for unit in waiting if Unit(unit.seed, START) not in failed]
            for unit in list(waiting):
                start = Unit(unit.seed, START)
                if len(running) < most and (unit == start or (start not in waiting and start not in running)):
                    waiting.remove(unit)
                    running[unit] = begin(unit)
            for unit in [unit for unit, task in running.items() if not task.alive]:
                fault = running.pop(unit).fault()
                if unit.left(folder, rounds):
                    failed[unit] = fault or "it ended before it was done"
            pace.report(total - left(folder, units, rounds), total, "; ".join(map(str, running)) or "ending")
            time.sleep(_LOOK_SECONDS)
    finally:
        for task in running.values():
            task.stop()
    tell_failed(failed, folder)


def tell_failed(failed: Mapping[Unit, str], folder: Folder) -> None:
    """Raises `HemaloopError` that says which units failed and why, where any did."""
    if failed:
        told = "\n".join(f"  {unit}: {why}" for unit, why in failed.items())
        raise HemaloopError(
            f"{len(failed)} part(s) of the simulation in {folder.path} failed, the others are done:\n{told}"
        )


class Pace:
    """A `Progress` of trainings that says how long the rest will take, from those since it was made.

    begin: trainings that were there before.
    """

    def __init__(self, progress: Progress, begin: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._progress = progress
        self._begin = begin
        self._clock = clock
        self._began = clock()

    def report(self, done: float, total: float, message: str, figures: Mapping[str, float] | None = None) -> None:
        """Pass it on with the time left."""
        made = done - self._begin
        # before a whole training is over, one of its parts would stand for all of them
        known = made >= 1 and done < total
        rest = f", {in_hours((self._clock() - self._began) / made * (total - done))} left" if known else ""
        self._progress.report(done, total, f"{int(done)} of {total:g} trainings{rest}; {message}", figures)


def in_hours(seconds: float) -> str:
    """A time for people: ``"2.4 h"``, ``"12 min"``."""
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{max(1, round(seconds / 60))} min"
