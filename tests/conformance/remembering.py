"""The simplest family that keeps every law: it remembers its training images and answers with the most alike one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from hemaloop.errors import DatasetError, NotFitted, StoreError
from hemaloop.plugin import (
    UNKNOWN,
    Classification,
    ClassMap,
    Detections,
    Example,
    FitReport,
    Image,
    Plugin,
    PluginOptions,
    Prediction,
    Preset,
    Progress,
    Scored,
    option,
)

Memory = list[dict[str, NDArray[Any]]]
"""Of each training image: its `look`, float32 (F,), and the arrays of its truth."""


class Remembering(Plugin):
    """Boxes of the training image that looks most alike."""

    class Options(PluginOptions):
        """Two options."""

        side: int = option(12, "Side of the picture that is kept of an image", unit="px", ge=2)
        strict: bool = option(False, "Say nothing about images that were not seen")

    family = "remembering"
    version = "1"
    description = "Boxes of the training image that looks most alike"
    produces = Detections
    presets: ClassVar[Mapping[str, Preset]] = {"any": Preset("Any two classes", ("a", "b"))}

    def __init__(self, labels: Sequence[str], options: Any = None, device: str = "cpu", seed: int = 0) -> None:
        super().__init__(labels, options, device, seed)
        self._memory: Memory | None = None

    @property
    def fitted(self) -> bool:
        return self._memory is not None

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        return [scored.prediction for scored in self.score(images)]

    def score(self, images: Sequence[Image]) -> list[Scored]:
        if self._memory is None:
            raise NotFitted("remembering: call fit or load first")
        return [self._one(image, self._memory) for image in images]

    def _one(self, image: Image, memory: Memory) -> Scored:
        look = self._look(image)
        distances = [float(np.linalg.norm(look - one["look"])) for one in memory]
        return Scored(self._recall(memory[int(np.argmin(distances))], *image.shape[:2]), min(distances))

    def _keep(self, truth: Any, height: int, width: int) -> dict[str, NDArray[Any]]:
        return {"boxes": truth.boxes / np.float32([width, height, width, height]), "labels": truth.labels.copy()}

    def _recall(self, kept: dict[str, NDArray[Any]], height: int, width: int) -> Prediction:
        sides = np.float32([width, height, width, height])
        boxes = np.clip(kept["boxes"] * sides, 0, sides)
        return Detections(boxes, kept["labels"].copy(), np.ones(len(boxes), np.float32))

    def _look(self, image: Image) -> NDArray[np.float32]:
        rows, columns = (np.linspace(0, size - 1, self.options.side).astype(int) for size in image.shape[:2])
        return image[np.ix_(rows, columns)].astype(np.float32).ravel() / 255

    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        if not train:
            raise DatasetError("remembering: no example; at least one is needed")
        memory = []
        for done, example in enumerate(train):
            progress.report(done, len(train), "looking", {})
            kept = self._keep(example.truth, *example.image.shape[:2])
            memory.append({"look": self._look(example.image), **kept})
        self._memory = memory
        return FitReport(({"seen": float(len(train))},), {}, (), 0.0)

    def save(self, directory: Path) -> None:
        tensors = {
            f"{number}.{name}": array for number, one in enumerate(self._memory or ()) for name, array in one.items()
        }
        save_file(tensors, directory / "memory.safetensors")
        (directory / "memory.json").write_text(json.dumps({"labels": self.labels, "images": len(self._memory or ())}))

    def load(self, directory: Path) -> None:
        try:
            state = json.loads((directory / "memory.json").read_text())
        except FileNotFoundError as error:
            raise StoreError(f"remembering: {error.filename} is missing") from None
        if tuple(state["labels"]) != self.labels:
            raise StoreError(f"remembering: saved for {state['labels']}, asked for {self.labels}")
        tensors = load_file(directory / "memory.safetensors")
        self._memory = [{} for _ in range(state["images"])]
        for key, array in tensors.items():
            number, _, name = key.partition(".")
            self._memory[int(number)][name] = array

    def unload(self) -> None:
        self._memory = None


class RememberingMaps(Remembering):
    """The class map of the training image that looks most alike, at the image's own size."""

    family = "remembering_maps"
    produces = ClassMap

    def _keep(self, truth: Any, height: int, width: int) -> dict[str, NDArray[Any]]:
        return {"map": np.where(truth.labels == UNKNOWN, 0, truth.labels).astype(np.uint8)}

    def _recall(self, kept: dict[str, NDArray[Any]], height: int, width: int) -> Prediction:
        rows, columns = (
            np.arange(size) * known // size for size, known in zip((height, width), kept["map"].shape, strict=True)
        )
        return ClassMap(kept["map"][np.ix_(rows, columns)])


class RememberingClasses(Remembering):
    """The class of the training image that looks most alike."""

    family = "remembering_classes"
    produces = Classification

    def _keep(self, truth: Any, height: int, width: int) -> dict[str, NDArray[Any]]:
        return {"probabilities": truth.probabilities.copy()}

    def _recall(self, kept: dict[str, NDArray[Any]], height: int, width: int) -> Prediction:
        return Classification(kept["probabilities"].copy())
