"""The images of a simulation: those that judge, and those that are labelled one after the other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from hemaloop.dataset import split_of
from hemaloop.errors import DatasetError
from hemaloop.formats import Dataset, Examples, Item
from hemaloop.simulation.experiment import Experiment


class Images:
    """A labelled data set that plays an unlabelled one; the same picture twice counts once.

    test: the images that judge, for ever those of the same content. pool: keys of all others.
    Raises `DatasetError` where nothing can be tested, or the pool is too small for a single round.
    """

    def __init__(self, dataset: Dataset, experiment: Experiment) -> None:
        self.labels = experiment.labels
        self._items = {item.key: item for item in dataset.items}
        sides = {key: split_of(key, gate=experiment.test, tune=experiment.tune) for key in sorted(self._items)}
        self.test = Examples([self._items[key] for key, side in sides.items() if side == "gate"], self.labels)
        self.pool = tuple(key for key, side in sides.items() if side != "gate")
        self._tune = frozenset(key for key, side in sides.items() if side == "tune")
        needed = experiment.start + experiment.batch
        if len(self.pool) < needed:
            raise DatasetError(
                f"data set {dataset.path}: {len(self.pool)} images are left to learn from, expected {needed} or more: "
                f"{experiment.start} to start with and {experiment.batch} for a round; lower --start or --batch"
            )
        found = self.cells_of(self.test.items)
        missing = [label for label in experiment.rare if not found[label]]
        if missing or not found.total():
            what = ", ".join(missing) or "any class"
            raise DatasetError(
                f"data set {dataset.path}: no cell of {what} on the {len(self.test)} test images, so nothing can be "
                "measured; raise --test, or leave the class out of --rare"
            )

    def rounds(self, experiment: Experiment) -> int:
        """Rounds until every image of the pool is labelled, the last one perhaps with fewer than a batch."""
        return -(-(len(self.pool) - experiment.start) // experiment.batch)

    def start(self, seed: int, count: int) -> tuple[str, ...]:
        """Keys of the images that a seed starts from, whatever the strategy."""
        return tuple(drawn(self.pool, f"start {seed}")[:count])

    def candidates(self, seed: int, number: int, labelled: Iterable[str], count: int) -> tuple[str, ...]:
        """Keys of `count` unlabelled images for a round, or all that are left, in an order drawn by chance.

        Two strategies that have not labelled the same images get the same candidates as far as they can.
        """
        known = frozenset(labelled)
        return tuple(key for key in drawn(self.pool, f"round {seed} {number}") if key not in known)[:count]

    def examples(self, keys: Iterable[str]) -> Examples:
        """Images with their truth, in the order of their keys."""
        return Examples([self._items[key] for key in keys], self.labels)

    def train_and_tune(self, labelled: Iterable[str], share: float) -> tuple[Examples, Examples]:
        """Labelled images to learn from and to tune on, whatever the order in which they were labelled.

        Each has its place for ever; where none has it in `tune` and a share is wanted, one of the others serves.
        """
        keys = sorted(labelled)
        tune = [key for key in keys if key in self._tune]
        if share and not tune and len(keys) > 1:
            tune = drawn(keys, "lend")[:1]
        train = [key for key in keys if key not in tune]
        return (self.examples(train), self.examples(tune)) if train else (self.examples(tune), self.examples(()))

    def cells(self, keys: Iterable[str]) -> Counter[str]:
        """True cells of each class on these images."""
        return self.cells_of([self._items[key] for key in keys])

    def cells_of(self, items: Sequence[Item]) -> Counter[str]:
        """True cells of each class that is learned."""
        found = Counter(name for item in items for name in item.names)
        return Counter({label: found[label] for label in self.labels})


def drawn(keys: Iterable[str], purpose: str) -> list[str]:
    """Keys in an order drawn by chance: always the same for the same purpose, whatever else is there."""
    return sorted(keys, key=lambda key: hashlib.sha256(f"hemaloop simulate 1\n{purpose}\n{key}".encode()).digest())
