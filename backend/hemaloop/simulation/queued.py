"""A whole simulation by workers: one job a seed and strategy, in a folder that they share with whoever asks.

Jobs carry names: the folder is one of `data_dir/simulations`. A job makes way for a training of a project between two
of its own, and goes on behind it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rq import get_current_job

from hemaloop.config import Settings, load_settings
from hemaloop.errors import QueueError, SettingsError
from hemaloop.plugin import Progress
from hemaloop.progress import Interrupted, JobProgress
from hemaloop.queues import Queues
from hemaloop.simulation.folder import Folder
from hemaloop.simulation.local import ONE_THREAD
from hemaloop.simulation.schedule import run_elsewhere
from hemaloop.simulation.units import Unit, work

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


def shared_folder(settings: Settings, out: Path) -> Path:
    """The folder of a simulation by workers: ``data_dir/simulations/<name>``.

    out: the name, or that path. Raises `SettingsError` for anything else.
    """
    home = settings.data_dir.resolve() / "simulations"
    if not _NAME.fullmatch(out.name) or (out.parent != Path() and out.resolve().parent != home):
        raise SettingsError(
            f"--out {out}: with --workers, expected a name of letters, digits, - and _; the folder is then in {home}, "
            "where workers look"
        )
    return home / out.name


def run_queued(folder: Folder, units: Sequence[Unit], rounds: int, queues: Queues, progress: Progress) -> None:
    """Every unit that is not done, as many at a time as there are workers.

    Raises `QueueError` where no worker serves the queue, `Cancelled` after the jobs were cancelled too, and in the end
    `HemaloopError` that names the units which failed; the others are done then.
    """
    if not queues.served("simulate"):
        raise QueueError("no worker serves the queue 'simulate'; start one with `hemaloop worker`")
    run_elsewhere(folder, units, rounds, lambda unit: _Job(queues, folder, unit, rounds), len(units), progress)


class _Job:
    """The job of a unit."""

    def __init__(self, queues: Queues, folder: Folder, unit: Unit, rounds: int) -> None:
        self._queues = queues
        self._id = queues.request_simulation(folder.path.name, unit.seed, unit.strategy, rounds)

    @property
    def alive(self) -> bool:
        return self._queues.to_come(self._id)

    def fault(self) -> str | None:
        told = self._queues.job_status(self._id)
        return None if told["status"] == "finished" else f"{told['error'] or told['status']} (job {self._id})"

    def stop(self) -> None:
        self._queues.cancel(self._id)


def work_in_job(name: str, seed: int, strategy: str, rounds: int) -> dict[str, Any]:
    """Do a unit in the process of a job, with one thread.

    Raises `Interrupted` between two trainings where a project's training waits: the job then starts again behind it.
    """
    os.environ.update(ONE_THREAD)  # before torch is imported, which reads it once
    settings = load_settings()
    path = shared_folder(settings, Path(name))
    unit = Unit(int(seed), str(strategy))
    with (
        contextlib.closing(Queues(settings)) as queues,
        JobProgress(get_current_job(), queues.ledger) as progress,
    ):

        def make_way() -> None:
            if queues.waiting("train"):
                raise Interrupted(f"{unit}: makes way for a training of a project")

        work(path, unit, int(rounds), progress, make_way)
    return {"state": "done", "folder": str(path)}
