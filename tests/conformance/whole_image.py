"""The simplest family that keeps the contract, and families that each break one law of it."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hemaloop.errors import DatasetError, NotFitted, StoreError
from hemaloop.plugin import (
    Detections,
    Example,
    FitReport,
    Image,
    Plugin,
    PluginOptions,
    Prediction,
    Preset,
    Progress,
    ReviewMark,
    Scored,
    Silent,
    option,
)
from hemaloop.testing import LawBroken


class WholeImage(Plugin):
    """One box round the whole image, labelled with the commonest class of the training set."""

    class Options(PluginOptions):
        """One option."""

        rounds: int = option(3, "How often to look at the data", unit="rounds", ge=1)

    family = "whole_image"
    version = "1"
    description = "One box round the whole image"
    produces = Detections
    presets: ClassVar[Mapping[str, Preset]] = {"any": Preset("Any two classes", ("a", "b"))}

    def __init__(self, labels: Sequence[str], options: Any = None, device: str = "cpu", seed: int = 0) -> None:
        super().__init__(labels, options, device, seed)
        self._label: int | None = None

    @property
    def fitted(self) -> bool:
        return self._label is not None

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        return [scored.prediction for scored in self.score(images)]

    def score(self, images: Sequence[Image]) -> list[Scored]:
        if self._label is None:
            raise NotFitted("whole_image: call fit or load first")
        return [self._one(image, self._label) for image in images]

    def _one(self, image: Image, label: int) -> Scored:
        height, width = image.shape[:2]
        box = np.array([[0, 0, width, height]], np.float32)
        return Scored(Detections(box, np.array([label]), np.array([float(image.mean()) / 255], np.float32)), 1.0)

    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        if not train:
            raise DatasetError("whole_image: no example; at least one is needed")
        for done in range(3):
            progress.report(done, 3, "looking", {})
        counts = sum(np.bincount(e.truth.labels, minlength=len(self.labels)) for e in train)  # type: ignore[union-attr]
        self._label = int(np.argmax(counts))
        return FitReport((), {}, (), 0.0)

    def save(self, directory: Path) -> None:
        (directory / "model.json").write_text(json.dumps({"label": self._label, "labels": self.labels}))

    def load(self, directory: Path) -> None:
        try:
            state = json.loads((directory / "model.json").read_text())
        except FileNotFoundError as error:
            raise StoreError(f"whole_image: {error.filename} is missing") from None
        if tuple(state["labels"]) != self.labels:
            raise StoreError(f"whole_image: saved for {state['labels']}, asked for {self.labels}")
        self._label = state["label"]

    def unload(self) -> None:
        self._label = None


def _scored(prediction: Detections, relevance: float = 1.0, review: tuple[ReviewMark, ...] = ()) -> Scored:
    return Scored(prediction, relevance, review)


def _box(x2: float, dtype: type = np.float32) -> Detections:
    return Detections(np.array([[0, 0, x2, 1]], dtype), np.array([0]), np.array([0.5], np.float32))


class OutsideBox(WholeImage):
    def _one(self, image: Image, label: int) -> Scored:
        return _scored(_box(image.shape[1] + 1.0))


class DoubleBox(WholeImage):
    def _one(self, image: Image, label: int) -> Scored:
        return _scored(_box(1.0, np.float64))


class Hider(WholeImage):
    """Shows nothing of what it finds, and does not say so."""

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        return [Detections.empty() for _ in images]

    def predict_unfiltered(self, images: Sequence[Image]) -> list[Prediction]:
        return super().predict(images)


class Moody(WholeImage):
    def score(self, images: Sequence[Image]) -> list[Scored]:
        scored = super().score(images)
        return [Scored(s.prediction, float(len(images))) for s in scored]


class _Featured(WholeImage):
    """Gives features, such as `_features` makes them."""

    def score(self, images: Sequence[Image]) -> list[Scored]:
        return [
            replace(one, features=self._features(image, images))
            for one, image in zip(super().score(images), images, strict=True)
        ]

    def _features(self, image: Image, batch: Sequence[Image]) -> Any:
        raise NotImplementedError


class Crowded(_Featured):
    """Features that depend on the batch."""

    def _features(self, image: Image, batch: Sequence[Image]) -> Any:
        return np.full(2, len(batch), np.float32)


class Sized(_Featured):
    """As many features as the image has rows."""

    def _features(self, image: Image, batch: Sequence[Image]) -> Any:
        return image.mean(axis=(1, 2), dtype=np.float32)


class Halved(_Featured):
    """Features of another type."""

    def _features(self, image: Image, batch: Sequence[Image]) -> Any:
        return image.mean(axis=(0, 1))


class Dark(_Featured):
    """Features that are not finite for some images."""

    def _features(self, image: Image, batch: Sequence[Image]) -> Any:
        with np.errstate(all="ignore"):
            return (np.zeros(3) / image.std()).astype(np.float32)


class Negative(WholeImage):
    def _one(self, image: Image, label: int) -> Scored:
        return _scored(_box(1.0), -1.0)


class WrongMark(WholeImage):
    def _one(self, image: Image, label: int) -> Scored:
        return _scored(_box(1.0), review=(ReviewMark(7, "doubtful"),))


class Scribbler(WholeImage):
    def _one(self, image: Image, label: int) -> Scored:
        if image.flags.writeable:
            image[:] = 0
        else:
            raise LawBroken("an image was written to")
        return super()._one(image, label)


class Gambler(WholeImage):
    def _one(self, image: Image, label: int) -> Scored:
        random.random()
        return super()._one(image, label)


class Guesser(WholeImage):
    def score(self, images: Sequence[Image]) -> list[Scored]:
        return [self._one(image, self._label or 0) for image in images]


class Pickler(WholeImage):
    def save(self, directory: Path) -> None:
        super().save(directory)
        (directory / "model.pkl").write_bytes(b"")


class Forgetful(WholeImage):
    def save(self, directory: Path) -> None:
        (directory / "model.json").write_text(json.dumps({"label": 1, "labels": self.labels}))


class AnyLabels(WholeImage):
    def load(self, directory: Path) -> None:
        if not (directory / "model.json").exists():
            raise StoreError("model.json is missing")
        self._label = 0


class NoFiles(WholeImage):
    def load(self, directory: Path) -> None:
        if (directory / "model.json").exists():
            super().load(directory)
        else:
            self._label = 0


class Deaf(WholeImage):
    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        return super().fit(train, tune, Silent())


class HalfDone(WholeImage):
    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        self._label = None
        return super().fit(train, tune, progress)


class Learner(WholeImage):
    """Each fit depends on the one before."""

    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        before = self._label
        report = super().fit(train, tune, progress)
        self._label = 0 if before is None else 1
        return report


class Nothing(WholeImage):
    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        if not train:
            return FitReport((), {}, (), 0.0)
        return super().fit(train, tune, progress)


class Keeper(WholeImage):
    def unload(self) -> None:
        """Keeps everything."""


class Loose(WholeImage):
    class Options(PluginOptions):
        """Accepts anything."""

        model_config = {"extra": "allow"}


class Nameless(WholeImage):
    description = ""


class Heavy(WholeImage):
    __module__ = "torch"


class AnyNames(WholeImage):
    def __init__(self, labels: Sequence[str], options: Any = None, device: str = "cpu", seed: int = 0) -> None:
        self.labels = tuple(labels)
        self.options = self.parse_options(options)
        self._label = None


class LostStarter(WholeImage):
    presets = {"any": Preset("Any two classes", ("a", "b"), starter=Path("no such directory"))}


class Talkative(WholeImage):
    def score(self, images: Sequence[Image]) -> list[Scored]:
        return super().score(images) or [_scored(_box(1.0))]


class TwoMinded(WholeImage):
    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        return [_box(1.0) for _ in images]


class Crosstalk(WholeImage):
    """Keeps the image of a call on the object, where another thread replaces it."""

    def score(self, images: Sequence[Image]) -> list[Scored]:
        self._images = images
        time.sleep(0.05)
        return super().score(self._images)


class Glaring(WholeImage):
    """A heat map above 1."""

    def explain(self, image: Image) -> Any:
        return np.full(image.shape[:2], 2, np.float32)
