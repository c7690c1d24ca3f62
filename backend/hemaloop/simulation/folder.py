"""The folder of a simulation: every step a file that appears complete or not at all, so that a kill loses one step.

simulation.json                          the experiment, and where its images are
runs/seed-000/start/round-00.json        the model that a seed starts with, measured
runs/seed-000/start/model/               the model itself: every strategy of the seed chooses with it
runs/seed-000/<strategy>/choice-01.json  what the strategy chose for round 1
runs/seed-000/<strategy>/round-01.json   the model trained with it, measured
results.csv, results.json, curves.png    what came out so far
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from hemaloop.blobs import Blobs
from hemaloop.errors import DatasetError, StoreError
from hemaloop.formats import Dataset
from hemaloop.lifetime import hold
from hemaloop.simulation import truth
from hemaloop.simulation.experiment import Experiment, differences

HEADER = "simulation.json"
TRUTH = "truth.json"
START = "start"
"""In place of a strategy: what all strategies of a seed have in common."""


@dataclass(frozen=True, slots=True)
class Point:
    """One trained model, measured on the test images: a point of a learning curve.

    labelled: keys of the images it was made of. cells: true cells on them, by class. figures: by name. notes: of the
    training. seconds: wall time, by what took it.
    """

    seed: int
    strategy: str
    round: int
    labelled: tuple[str, ...]
    cells: Mapping[str, int]
    figures: Mapping[str, float]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]

    @property
    def all_cells(self) -> int:
        """Labelled cells of every class."""
        return sum(self.cells.values())


@dataclass(frozen=True, slots=True)
class Choice:
    """What a strategy chose for a round. relevances: of the candidates, in their order; none where chance chose."""

    seed: int
    strategy: str
    round: int
    candidates: tuple[str, ...]
    relevances: tuple[float, ...]
    chosen: tuple[str, ...]
    seconds: float


_Step = TypeVar("_Step", Point, Choice)


class Folder:
    """Where one experiment is kept. Methods raise `StoreError` for a file that cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._blobs = Blobs(self.path.as_uri())

    # -- the experiment

    def begin(self, experiment: Experiment, dataset: Dataset) -> None:
        """Make the folder that of an experiment, or go on with it.

        Raises `DatasetError` that names what differs where it holds another experiment, or something else.
        """
        if not (self.path / HEADER).exists():
            if self.path.exists() and any(path.name != _LOCK for path in self.path.iterdir()):
                raise DatasetError(f"--out {self.path}: holds something that is not a simulation; name another folder")
        elif told := differences(self.experiment(), experiment):
            raise DatasetError(
                f"--out {self.path}: holds another experiment: {'; '.join(told)}. Ask for the same, or name another "
                "folder. Seeds, rounds and strategies may be added"
            )
        self.write(HEADER, experiment.as_json())
        self.write(TRUTH, truth.as_json(dataset))

    def experiment(self) -> Experiment:
        """The experiment that is kept here."""
        found = self._json(HEADER)
        if found is None:
            raise StoreError(f"{self.path}: holds no {HEADER}; expected the --out of `hemaloop simulate`")
        return Experiment.from_json(found, str(self.path / HEADER))

    def dataset(self) -> Dataset:
        """Its images with their labels."""
        return truth.from_json(self._json(TRUTH) or {}, str(self.path / TRUTH))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Raises `StoreError` where another process of this machine works here."""
        self.path.mkdir(parents=True, exist_ok=True)
        held = hold(self.path / _LOCK)
        if held is None:
            raise StoreError(f"--out {self.path}: another simulation is at work here; wait for it, or end it")
        with held:
            yield

    # -- its steps

    def model(self, seed: int) -> Path:
        """Folder of the model that a seed starts with."""
        return self.path / "runs" / f"seed-{seed:03d}" / START / "model"

    def point(self, seed: int, strategy: str, number: int) -> Point | None:
        """A measured model, None where it is still to come."""
        return self._step(Point, _place(seed, strategy, "round", number))

    def choice(self, seed: int, strategy: str, number: int) -> Choice | None:
        """What was chosen for a round, None where it is still to come."""
        return self._step(Choice, _place(seed, strategy, "choice", number))

    def keep(self, step: Point | Choice) -> None:
        """Write a step."""
        kind = "round" if isinstance(step, Point) else "choice"
        self.write(_place(step.seed, step.strategy, kind, step.round), asdict(step))

    def done(self, seed: int, strategy: str, rounds: int) -> int:
        """How many trainings of a strategy (or the start) are there, of `rounds`."""
        numbers = (0,) if strategy == START else range(1, rounds + 1)
        return sum((self.path / _place(seed, strategy, "round", number)).exists() for number in numbers)

    def points(self) -> list[Point]:
        """Every measured model, by seed, strategy and round."""
        return self._steps(Point, "round")

    def choices(self) -> list[Choice]:
        """Everything that strategies chose, by seed, strategy and round."""
        return self._steps(Choice, "choice")

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """A JSON file in one step."""
        self.write_bytes(name, json.dumps(content, indent=1, allow_nan=False).encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """A file in one step."""
        self._blobs.write(str(self.path / name), content)

    # -- inside

    def _json(self, name: str) -> dict[str, Any] | None:
        data = self._blobs.read(str(self.path / name))
        if data is None:
            return None
        try:
            found = json.loads(data)
        except ValueError as error:
            raise StoreError(f"{self.path / name}: is not JSON ({error}); remove it, it is made again") from None
        if not isinstance(found, dict):
            raise StoreError(f"{self.path / name}: found {type(found).__name__}, expected an object; remove it")
        return found

    def _steps(self, kind: type[_Step], name: str) -> list[_Step]:
        files = sorted((self.path / "runs").glob(f"seed-*/*/{name}-*.json"))
        found = [self._step(kind, file.relative_to(self.path).as_posix()) for file in files]
        return [step for step in found if step is not None]

    def _step(self, kind: type[_Step], name: str) -> _Step | None:
        found = self._json(name)
        if found is None:
            return None
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in found.items()
        }
        try:
            return kind(**values)
        except TypeError as error:
            raise StoreError(f"{self.path / name}: {error}; remove it, it is made again") from None


_LOCK = ".lock"


def _place(seed: int, strategy: str, kind: str, number: int) -> str:
    return f"runs/seed-{seed:03d}/{strategy}/{kind}-{number:02d}.json"
