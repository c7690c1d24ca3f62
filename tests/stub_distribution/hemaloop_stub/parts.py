"""A tiny real family in two parts, without torch: coarse colours centred on a pool, and the nearest labelled vector."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hemaloop.errors import DatasetError, NotFitted, StoreError
from hemaloop.plugin import (
    Classification,
    Embedded,
    Example,
    FitReport,
    Image,
    PluginOptions,
    Prediction,
    Preset,
    Progress,
    Representing,
    Scored,
    Silent,
    option,
)


class PartsOptions(PluginOptions):
    """One option."""

    side: int = option(4, "places on each side of an image whose colour is kept", ge=1, le=64)


class Parts(Representing):
    """The class of the labelled image whose coarse colours are nearest."""

    family = "parts"
    version = "1"
    description = "images by coarse colours, in two parts, for tests"
    produces = Classification
    Options = PartsOptions
    presets: ClassVar = {"any": Preset("two classes", ("a", "b"))}
    options: PartsOptions
    _centre: NDArray[np.float32] | None = None
    _head: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @property
    def fitted(self) -> bool:
        return self._head is not None

    @property
    def representation(self) -> str:
        return hashlib.sha256(self._learned().tobytes()).hexdigest()[:12]

    def _learned(self) -> NDArray[np.float32]:
        if self._centre is None:
            raise NotFitted("parts: found no representation, expected learn, fit or load before")
        return self._centre

    def _look(self, image: Image) -> NDArray[np.float32]:
        rows, columns = (
            (np.arange(self.options.side) * 2 + 1) * size // (2 * self.options.side) for size in image.shape[:2]
        )
        return image[np.ix_(rows, columns)].astype(np.float32).ravel() / 255

    def learn(self, images: Sequence[Image], progress: Progress) -> FitReport:
        looks = []
        for index in range(len(images)):
            progress.report(index, len(images), "looking")
            looks.append(self._look(images[index]))
        if not looks:
            raise DatasetError("parts: found no image, expected one or more")
        self._centre, self._head = np.mean(looks, axis=0, dtype=np.float32), None
        return FitReport(({"loss": 0.0},), {"images": float(len(looks))}, (), 0.0)

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        centre = self._learned()
        return np.array([self._look(image) - centre for image in images], np.float32).reshape(-1, len(centre))

    def fit_head(self, train: Sequence[Embedded], tune: Sequence[Embedded], progress: Progress) -> FitReport:
        self._learned()
        if not train:
            raise DatasetError("parts: found no labelled image, expected one or more")
        for step in range(3):
            progress.report(step, 3, "remembering")
        said = np.stack([one.truth.probabilities for one in train])
        if len(self.labels) > 1 and said.any(axis=0).sum() < 2:
            raise DatasetError("parts: found one class only, expected two or more")
        self._head = np.stack([one.embedding for one in train]), said
        missing = [label for label, seen in zip(self.labels, said.any(axis=0), strict=True) if not seen]
        notes = tuple(f"{label}: no training image has it" for label in missing)
        found = [one.prediction.probabilities.argmax() for one in self.score_embedded(_rows(tune))] if tune else []
        right = [a == one.truth.probabilities.argmax() for a, one in zip(found, tune, strict=True)]
        return FitReport(({"loss": 0.0},), {"accuracy": float(np.mean(right))} if right else {}, notes, 0.0)

    def score_embedded(self, embeddings: NDArray[np.float32]) -> list[Scored]:
        if self._head is None:
            raise NotFitted("parts: found no head, expected fit, fit_head or load before")
        known, said = self._head
        found = []
        for row in embeddings:
            distances = np.linalg.norm(known - row, axis=1)
            near = int(distances.argmin())
            shares = (0.9 * said[near] + 0.1 / len(self.labels)).astype(np.float32)
            found.append(
                Scored(Classification(shares / shares.sum()), float(distances[near]), features=row.astype(np.float32))
            )
        return found

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        return [one.prediction for one in self.score(images)]

    def score(self, images: Sequence[Image]) -> list[Scored]:
        if self._head is None:
            raise NotFitted("parts: found no head, expected fit, fit_head or load before")
        return self.score_embedded(self.embed(images))

    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        trial = type(self)(self.labels, self.options, self.device, self.seed)
        examples = [train[index] for index in range(len(train))]
        trial.learn([one.image for one in examples], progress)
        vectors = trial.embed([one.image for one in examples])
        labelled = [Embedded(row, one.truth, one.key) for row, one in zip(vectors, examples, strict=True)]
        report = trial.fit_head(labelled, [], Silent())
        self._centre, self._head = trial._centre, trial._head
        return report

    def save(self, directory: Path) -> None:
        tensors = {"centre": self._learned()}
        if self._head is not None:
            tensors |= {"known": self._head[0], "said": self._head[1]}
        save_file(tensors, directory / "parts.safetensors")
        (directory / "parts.json").write_text(json.dumps({"labels": self.labels}))

    def load(self, directory: Path) -> None:
        tensors, labels = _read(directory)
        if labels != self.labels:
            raise StoreError(f"parts: saved for {list(labels)}, asked for {list(self.labels)}")
        self._centre = tensors["centre"]
        self._head = (tensors["known"], tensors["said"]) if "known" in tensors else None

    def load_representation(self, directory: Path) -> None:
        self._centre, self._head = _read(directory)[0]["centre"], None

    def reconstruct(self, embeddings: NDArray[np.float32]) -> list[Image]:
        shown = np.clip((embeddings + self._learned()) * 255, 0, 255).astype(np.uint8)
        return list(shown.reshape(-1, self.options.side, self.options.side, 3))

    def unload(self) -> None:
        self._centre = self._head = None


def _rows(examples: Sequence[Embedded]) -> NDArray[np.float32]:
    return np.stack([one.embedding for one in examples])


def _read(directory: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    try:
        labels = tuple(json.loads((directory / "parts.json").read_text())["labels"])
        return load_file(directory / "parts.safetensors"), labels
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise StoreError(f"parts: {directory} cannot be read ({error}), expected parts.json and its tensors") from None
