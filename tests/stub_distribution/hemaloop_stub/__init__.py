"""A tiny real model family for tests: bright blobs on a dark ground, each named after the nearest mean colour.

It finds connected pixels brighter than a threshold and gives each the label whose mean colour, learned from the
truth, is nearest. That is quick, deterministic and gets better with more examples, so the whole loop can be run on it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import DatasetError, NotFitted, StoreError
from hemaloop.plugin import (
    Classification,
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
    option,
)

LABELS = ("red", "green", "blue")
CRASH_COLOUR = (255, 0, 255)
FAIL_COLOUR = (255, 255, 0)


class StubOptions(PluginOptions):
    """What a test can turn."""

    threshold: int = option(60, "brightest channel from which a pixel belongs to a cell", ge=0, le=255)
    delay_seconds: float = option(0.0, "time that one image takes", unit="s", ge=0)
    load_seconds: float = option(0.0, "time that loading a model takes", unit="s", ge=0)
    epochs: int = option(2, "how often `fit` looks at the examples", ge=1)
    epoch_seconds: float = option(0.0, "time that one epoch takes", unit="s", ge=0)
    relevance: Literal["doubt", "paper"] = option("doubt", "doubt of all cells, or paper: how many cells there are")


class Stub(Plugin):
    """Blobs by mean colour. An image whose first pixel is `CRASH_COLOUR` ends the process, `FAIL_COLOUR` raises."""

    family = "stub"
    version = "1"
    description = "blobs by mean colour, for tests"
    produces = Detections
    Options = StubOptions
    presets: ClassVar = {
        "blobs": Preset("red, green and blue blobs", LABELS, starter=Path(__file__).parent / "starter"),
        "bare": Preset("the same without a starter", LABELS),
    }
    options: StubOptions
    _means: NDArray[np.float32] | None = None

    @property
    def fitted(self) -> bool:
        return self._means is not None

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        return [scored.prediction for scored in self.score(images)]

    def score(self, images: Sequence[Image]) -> list[Scored]:
        if self._means is None:
            raise NotFitted("stub: found no model, expected fit or load before")
        return [self._score_one(image, self._means) for image in images]

    def _score_one(self, image: Image, means: NDArray[np.float32]) -> Scored:
        first = tuple(int(value) for value in image[0, 0])
        if first == CRASH_COLOUR:
            os._exit(7)
        if first == FAIL_COLOUR:
            raise RuntimeError("stub: asked to fail")
        time.sleep(self.options.delay_seconds)
        boxes, colours = self._blobs(image)
        features = image.reshape(-1, 3).mean(axis=0).astype(np.float32)
        if not len(boxes):
            return Scored(Detections.empty(), 0.0, features=features)
        distance = np.linalg.norm(colours[:, None] - means[None], axis=2)  # (N, C)
        distance[~np.isfinite(distance)] = 1e6
        labels = distance.argmin(axis=1)
        scores = (1 / (1 + distance.min(axis=1) / 64)).astype(np.float32)
        order = np.argsort(-scores, kind="stable")
        detections = Detections(boxes[order], labels[order].astype(np.int64), scores[order])
        doubt = 1 - scores[order]
        review = tuple(ReviewMark(int(i), "unusual colour") for i in np.flatnonzero(doubt > 0.5))
        parts = {"doubt": float(doubt.sum()), "paper": float(len(detections))}
        return Scored(detections, parts[self.options.relevance], review, parts, features)

    def _blobs(self, image: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes (N, 4) px and mean colours (N, 3) of connected bright pixels."""
        bright = image.max(axis=2) > self.options.threshold
        from scipy import ndimage  # which `hemaloop serve` must not pay for

        numbered, count = ndimage.label(bright)
        places = ndimage.find_objects(numbered)
        boxes = [[x.start, y.start, x.stop, y.stop] for y, x in places]
        colours = [image[place][numbered[place] == i + 1].mean(axis=0) for i, place in enumerate(places)]
        return np.asarray(boxes, np.float32).reshape(count, 4), np.asarray(colours, np.float32).reshape(count, 3)

    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        began = time.perf_counter()
        if not len(train):
            raise DatasetError("stub: found 0 examples, expected one or more; annotate a task first")
        sums, counts = np.zeros((len(self.labels), 3)), np.zeros(len(self.labels))
        epochs = []
        for epoch in range(self.options.epochs):
            sums[:], counts[:] = 0, 0
            for example in train:
                for box, label in zip(example.truth.boxes.astype(int), example.truth.labels, strict=True):
                    crop = example.image[box[1] : box[3], box[0] : box[2]].reshape(-1, 3)
                    cell = crop[crop.max(axis=1) > self.options.threshold]
                    if len(cell):
                        sums[label] += cell.mean(axis=0)
                        counts[label] += 1
            time.sleep(self.options.epoch_seconds)
            epochs.append({"loss": 1.0 / (1 + epoch)})
            progress.report(epoch + 1, self.options.epochs, "mean colours", epochs[-1])
        if not counts.any():
            raise DatasetError("stub: found no box in any example, expected one or more")
        with np.errstate(invalid="ignore"):
            self._means = (sums / counts[:, None]).astype(np.float32)  # (C, 3); NaN for a class without example
        notes = tuple(f"no example of {self.labels[i]!r}" for i in np.flatnonzero(counts == 0))
        return FitReport(tuple(epochs), {"examples": float(len(train))}, notes, time.perf_counter() - began)

    def save(self, directory: Path) -> None:
        if self._means is None:
            raise NotFitted("stub: nothing to save, expected fit or load before")
        means = [[None if np.isnan(v) else float(v) for v in row] for row in self._means]
        (directory / "stub.json").write_text(json.dumps({"labels": self.labels, "means": means}))

    def load(self, directory: Path) -> None:
        time.sleep(self.options.load_seconds)
        try:
            content = json.loads((directory / "stub.json").read_text())
        except OSError as error:
            raise StoreError(f"stub: {directory} cannot be read ({error}), expected stub.json") from error
        known = dict(zip(content["labels"], content["means"], strict=True))
        missing = [label for label in self.labels if label not in known]
        if missing:
            raise StoreError(f"stub: found labels {list(known)}, expected {list(self.labels)}")
        rows = [[np.nan if value is None else value for value in known[label]] for label in self.labels]
        self._means = np.asarray(rows, np.float32)

    def unload(self) -> None:
        self._means = None


class Tone(Plugin):
    """Whole images by how much red is in them, each named after the class whose mean is nearest."""

    family = "tone"
    version = "1"
    description = "images by mean redness, for tests"
    produces = Classification
    Options = PluginOptions
    presets: ClassVar = {
        "shades": Preset("bright and dim images", ("bright", "dim")),
        "lit": Preset("the same with a starter", ("bright", "dim"), starter=Path(__file__).parent / "starter_tone"),
    }
    _means: NDArray[np.float64] | None = None

    @property
    def fitted(self) -> bool:
        return self._means is not None

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        return [scored.prediction for scored in self.score(images)]

    def score(self, images: Sequence[Image]) -> list[Scored]:
        if self._means is None:
            raise NotFitted("tone: found no model, expected fit or load before")
        found = []
        for image in images:
            near = np.exp(-np.abs(self._means - image[..., 0].mean()) / 20)
            shares = ((near + 1e-6) / (near + 1e-6).sum()).astype(np.float32)
            found.append(Scored(Classification(shares), float(1 - shares.max())))
        return found

    def explain(self, image: Image) -> NDArray[np.float32]:
        return (image.max(axis=2) / np.float32(255)).astype(np.float32)

    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        if not len(train):
            raise DatasetError("tone: found 0 examples, expected one or more; annotate a task first")
        classes = np.array([example.truth.probabilities.argmax() for example in train])
        shades = np.array([example.image[..., 0].mean() for example in train])
        far = 1e9
        labels = range(len(self.labels))
        self._means = np.array([shades[classes == i].mean() if (classes == i).any() else far for i in labels])
        progress.report(1, 1, "mean redness", {"loss": 0.0})
        return FitReport(({"loss": 0.0},), {}, (), 0.0)

    def save(self, directory: Path) -> None:
        if self._means is None:
            raise NotFitted("tone: nothing to save, expected fit or load before")
        (directory / "tone.json").write_text(json.dumps({"labels": self.labels, "means": self._means.tolist()}))

    def load(self, directory: Path) -> None:
        try:
            content = json.loads((directory / "tone.json").read_text())
        except OSError as error:
            raise StoreError(f"tone: {directory} cannot be read ({error}), expected tone.json") from error
        if tuple(content["labels"]) != self.labels:
            raise StoreError(f"tone: found labels {content['labels']}, expected {list(self.labels)}")
        self._means = np.array(content["means"])

    def unload(self) -> None:
        self._means = None
