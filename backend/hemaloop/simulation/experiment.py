"""What makes the figures of a simulation what they are; a folder holds the results of one experiment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hemaloop.errors import DatasetError, StoreError
from hemaloop.formats import Dataset, Item

RARE_SHARE = 0.5
"""A class is rare with fewer than this part of an even share of all cells."""
RARE_OPTION = "rare_classes"
"""The option by which a family is told which classes are rare."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """Everything that a figure depends on, besides seed, strategy and round.

    data: fingerprint of images and truth. options: of the family, with the preset's. rare: classes whose precision is
    followed. start: images labelled at the beginning; candidates: images that a strategy sorts in a round;
    batch: of these, how many are labelled. test, tune: shares of the images, by their hash.
    """

    data: str
    family: str
    family_version: str
    labels: tuple[str, ...]
    options: Mapping[str, Any]
    rare: tuple[str, ...]
    start: int
    batch: int
    candidates: int
    test: float
    tune: float
    device: str = "auto"

    def as_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "labels": list(self.labels), "rare": list(self.rare), "options": dict(self.options)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any], where: str) -> Experiment:
        """What `as_json` gave. Raises `StoreError` that names where it was found."""
        try:
            values = dict(found)
            return cls(**{**values, "labels": tuple(values["labels"]), "rare": tuple(values["rare"])})
        except (KeyError, TypeError) as error:
            raise StoreError(f"{where}: is not the experiment of a simulation ({error}); name another folder") from None


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of an experiment is wanted; it may grow from one call to the next."""

    seeds: int
    rounds: int
    strategies: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Trainings in all: one a seed to start with, then one a round of each strategy."""
        return self.seeds * (1 + self.rounds * len(self.strategies))


def differences(found: Experiment, wanted: Experiment) -> list[str]:
    """What differs between the experiment of a folder and the one asked for, one phrase each."""
    there, asked = found.as_json(), wanted.as_json()
    told = []
    for name, value in asked.items():
        if there[name] == value:
            continue
        if name == "options":
            keys = sorted(key for key in {*there[name], *value} if there[name].get(key) != value.get(key))
            told += [f"option {key}: {there[name].get(key)!r} there, {value.get(key)!r} asked for" for key in keys]
        elif name == "data":
            told.append("the images or their labels")
        else:
            told.append(f"{name.replace('_', ' ')}: {there[name]!r} there, {value!r} asked for")
    return told


def fingerprint(items: Sequence[Item]) -> str:
    """Of images and truth: another box, name or image gives another."""
    digest = hashlib.sha256()
    for item in sorted(items, key=lambda one: one.key):
        digest.update(f"{item.key} {' '.join(item.names)}\n".encode())
        digest.update(item.boxes.tobytes())
        digest.update(item.ignore.tobytes())
    return digest.hexdigest()[:32]


def rare_classes(dataset: Dataset, labels: Sequence[str], named: Sequence[str] | None) -> tuple[str, ...]:
    """The classes to follow: those named, or (None) those with fewer than half of an even share of the cells.

    Raises `DatasetError` for a named class that is not learned, or of which there is no cell.
    """
    counts = dataset.counts()
    if named is not None:
        for name in named:
            if name not in labels or not counts[name]:
                known = ", ".join(f"{label} ({counts[label]})" for label in labels)
                raise DatasetError(f"rare class {name!r}: found no cell of it; classes and their cells: {known}")
        return tuple(dict.fromkeys(named))
    even = sum(counts[label] for label in labels) / len(labels)
    return tuple(label for label in labels if 0 < counts[label] < RARE_SHARE * even)
