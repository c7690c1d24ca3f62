"""Families that break one law of what they declare, learn or store, and no other."""

from __future__ import annotations

import json
import pickle
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from conformance.remembering import Memory, Remembering, RememberingClasses, RememberingMaps
from hemaloop.errors import Cancelled, DatasetError
from hemaloop.plugin import (
    Detections,
    Example,
    FitReport,
    Image,
    Preset,
    Progress,
    Scored,
    Silent,
    option,
)
from hemaloop.testing.declaration import MOST_SECONDS


class Nameless(Remembering):
    description = ""


class Loose(Remembering):
    class Options(Remembering.Options):
        """Accepts anything."""

        model_config = {"extra": "allow"}


class Untyped(Remembering):
    class Options(Remembering.Options):
        """An option that stays text."""

        depth: Any = option(3, "Of the network")


class Strict(Remembering):
    class Options(Remembering.Options):
        """An option that refuses text."""

        depth: int = option(3, "Of the network", strict=True)


class AnyNames(Remembering):
    def __init__(self, labels: Sequence[str], options: Any = None, device: str = "cpu", seed: int = 0) -> None:
        self.labels, self.seed, self._memory = tuple(labels), seed, None
        self.options = self.parse_options(options)


class LostStarter(Remembering):
    presets: ClassVar[Mapping[str, Preset]] = {
        "any": Preset("Any two classes", ("a", "b"), starter=Path("no such directory"))
    }


class Reader(Remembering):
    """Reads a file in its constructor."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        Path(__file__).with_name("settings.json").exists()
        with open(Path("/dev/null")) as file:  # noqa: PTH123 - as people write it
            file.read()


class Builder(Remembering):
    """Builds its network in the constructor."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        ends = time.thread_time() + 2 * MOST_SECONDS
        while time.thread_time() < ends:
            np.random.default_rng(0).normal(size=10_000)


class Guesser(Remembering):
    def score(self, images: Sequence[Image]) -> list[Scored]:
        return super().score(images) if self._memory else [Scored(Detections.empty(), 0.0) for _ in images]


class _Fitting(Remembering):
    """`fit` with something before and after it."""

    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        self._before(train)
        report = super().fit(train, tune, progress)
        self._after(train)
        return report

    def _before(self, train: Sequence[Example]) -> None:
        """Nothing."""

    def _after(self, train: Sequence[Example]) -> None:
        """Nothing."""


class Seeder(_Fitting):
    """Seeds the whole process."""

    def _before(self, train: Sequence[Example]) -> None:
        random.seed(self.seed)
        np.random.seed(self.seed)


class Augmenter(_Fitting):
    """Mirrors the boxes that it was given after it has learned from them."""

    def _after(self, train: Sequence[Example]) -> None:
        for example in train:
            example.truth.boxes[:] = example.truth.boxes[::-1].copy()


class Diverging(Remembering):
    """Reports a loss that is not a number."""

    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        return replace(super().fit(train, tune, progress), epochs=({"loss": float("nan")},))


class Nothing(Remembering):
    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        return super().fit(train, tune, progress) if train else FitReport((), {}, (), 0.0)


class PairsOnly(_Fitting):
    """Looks at the second label, whether there is one or not."""

    def _before(self, train: Sequence[Example]) -> None:
        if train:
            _ = self.labels[1]


class NeedsCells(_Fitting):
    """The mean side of the boxes of each image, of which there may be none."""

    def _before(self, train: Sequence[Example]) -> None:
        if any(not len(example.truth.boxes) for example in train):
            raise DatasetError("an image has no cell")


class Literal(RememberingMaps):
    """Takes what nobody looked at for one more value."""

    def _keep(self, truth: Any, height: int, width: int) -> Any:
        return {"map": truth.labels.copy()}


class OffByOne(RememberingMaps):
    """Learns every value of a map as the next one."""

    def _keep(self, truth: Any, height: int, width: int) -> Any:
        return {"map": np.roll(truth.labels, 60, axis=0) % len(self.labels) + (truth.labels > 1)}


class Shifted(Remembering):
    """Learns boxes as x, y, width, height."""

    def _keep(self, truth: Any, height: int, width: int) -> Any:
        kept = super()._keep(truth, height, width)
        return {**kept, "boxes": kept["boxes"] * np.float32(0.5)}


class Swapped(RememberingClasses):
    """Learns the classes the wrong way round."""

    def _keep(self, truth: Any, height: int, width: int) -> Any:
        return {"probabilities": truth.probabilities[::-1].copy()}


class Unseeded(_Fitting):
    """Another model in every object."""

    made = 0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        Unseeded.made += 1
        self._number = Unseeded.made

    def _after(self, train: Sequence[Example]) -> None:
        for one in self._memory or ():
            one["boxes"] = np.clip(one["boxes"] * np.float32(1 - 0.003 * (self._number % 13)), 0, 1)


class Continuing(_Fitting):
    """Each fit goes on from the one before."""

    _fits = 0

    def _after(self, train: Sequence[Example]) -> None:
        for one in self._memory or ():
            one["boxes"] = one["boxes"] * np.float32(1 - 0.01 * self._fits)
        self._fits += 1


class Deaf(Remembering):
    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        return super().fit(train, tune, Silent())


class HalfDone(Remembering):
    """Throws its model away when a fit is cancelled."""

    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        try:
            return super().fit(train, tune, progress)
        except Cancelled:
            self._memory = None
            raise


class Forgetful(Remembering):
    """Saves rounded."""

    def save(self, directory: Path) -> None:
        exact = self._memory or []
        self._memory = [{**one, "boxes": one["boxes"].round(2)} for one in exact]
        super().save(directory)
        self._memory = exact


class Pickler(Remembering):
    def save(self, directory: Path) -> None:
        super().save(directory)
        (directory / "extra.pkl").write_bytes(pickle.dumps({}))


class Disguised(Remembering):
    """A pickle with another name."""

    def save(self, directory: Path) -> None:
        super().save(directory)
        (directory / "extra.safetensors").write_bytes(pickle.dumps({}))


class AnyLabels(Remembering):
    def load(self, directory: Path) -> None:
        state = directory / "memory.json"
        if state.exists():
            state.write_text(json.dumps({**json.loads(state.read_text()), "labels": self.labels}))
        super().load(directory)


class NoFiles(Remembering):
    def load(self, directory: Path) -> None:
        if any(directory.iterdir()):
            super().load(directory)


class Keeper(Remembering):
    def unload(self) -> None:
        """Keeps everything."""


class OneWay(Remembering):
    """What was unloaded once does not load again."""

    _gone = False

    def unload(self) -> None:
        super().unload()
        self._gone = True

    @property
    def fitted(self) -> bool:
        return super().fitted and not self._gone


class Hoarder(Remembering):
    """Keeps what it has seen outside the object."""

    cache: ClassVar[list[Memory]] = []

    def _one(self, image: Image, memory: Memory) -> Scored:
        Hoarder.cache.append(memory)
        return super()._one(image, memory)
