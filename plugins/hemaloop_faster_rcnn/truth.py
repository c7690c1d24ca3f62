"""Examples as the detector learns from them: truth checked, images small enough to keep, faults told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from hemaloop.errors import DatasetError
from hemaloop.plugin import Detections, Example
from hemaloop.unlabelled import uncovered_share, unlabelled_looking
from hemaloop_faster_rcnn.resampling import resize

BARE = 0.5
"""An image short of boxes is left out where more than this share of its stained area lies outside every box."""


@dataclass(frozen=True, slots=True)
class Smear:
    """One training image: pixels uint8 (H, W, 3), boxes float32 (N, 4) px, labels int64 (N,).

    ignore: float32 (K, 4) px, neither cell nor background.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignore: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What a detector learns from, and sentences about what was found wrong."""

    smears: list[Smear]
    notes: tuple[str, ...]


def checked_truth(example: Example, classes: int) -> Detections:
    """Truth of `example`. Raises `DatasetError` naming the image where it is of another kind, or a label is unknown."""
    truth = example.truth
    if not isinstance(truth, Detections):
        raise DatasetError(f"image {example.key}: found truth of type {type(truth).__name__}, expected Detections")
    if len(truth) and not (truth.labels.min() >= 0 and truth.labels.max() < classes):
        raise DatasetError(
            f"image {example.key}: found labels {sorted(set(truth.labels.tolist()))}, expected 0 to {classes - 1}"
        )
    return truth


def looks_bare(image: NDArray[np.uint8], truth: Detections, ignore: NDArray[np.float32]) -> bool:
    """Whether most of what is stained lies outside every box and every ignore region."""
    return uncovered_share(image, truth, ignore) > BARE


def usable_boxes(drawn: NDArray[np.float32], height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Boxes cut to the image, and which of them have an area of a pixel or more and finite corners."""
    corners = np.array([width, height, width, height], np.float32)
    finite = np.asarray(np.isfinite(drawn).all(axis=1))
    boxes = np.where(finite[:, None], drawn, 0).clip(0, corners).astype(np.float32)
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf)
    return boxes, np.asarray(finite & (sides >= 1), bool)


def _shrunk(pixels: NDArray[np.uint8], longest_use: int) -> NDArray[np.uint8]:
    """The image with a shorter side of at most `longest_use` px, which is all that a training looks at."""
    height, width = pixels.shape[:2]
    scale = longest_use / min(height, width)
    if scale >= 1:
        return np.array(pixels)
    small = resize(torch.from_numpy(np.array(pixels)).permute(2, 0, 1), round(height * scale), round(width * scale))
    return np.ascontiguousarray(small.permute(1, 2, 0).numpy())


def read_training_set(examples: Sequence[Example], labels: Sequence[str], longest_use: int) -> TrainingSet:
    """Index each example once; leave out boxes without area, and images that look unlabelled.

    longest_use: shorter side, px, above which images are kept smaller (about a megabyte each at 500 px).
    Raises `DatasetError` where nothing can be learned.
    """
    if not len(examples):
        raise DatasetError("training set: found no image; label some and train again")
    smears: list[Smear] = []
    keys: list[str] = []
    flawed: list[str] = []
    for example in (examples[index] for index in range(len(examples))):
        truth = checked_truth(example, len(labels))
        height, width = example.image.shape[:2]
        boxes, usable = usable_boxes(truth.boxes, height, width)
        ignore, seen = usable_boxes(example.ignore, height, width)
        if not usable.all():
            flawed.append(f"{example.key} ({int((~usable).sum())})")
        pixels = _shrunk(example.image, longest_use)
        factor = np.array([pixels.shape[1] / width, pixels.shape[0] / height] * 2, np.float32)
        smears.append(Smear(pixels, boxes[usable] * factor, truth.labels[usable], ignore[seen] * factor))
        keys.append(example.key)
    if not any(len(smear.labels) for smear in smears):
        raise DatasetError(f"training set: found no box on any of {len(smears)} images; draw some and train again")
    unlabelled = _unlabelled(smears, labels)
    kept = [smear for index, smear in enumerate(smears) if index not in unlabelled]
    return TrainingSet(kept, _notes(labels, smears, keys, flawed, unlabelled))


def _unlabelled(smears: Sequence[Smear], labels: Sequence[str]) -> dict[int, str]:
    """Images that look full of cells without a box, and the class that they lack."""
    truths = [Detections.truth(smear.boxes, smear.labels) for smear in smears]
    return {
        suspicion.index: suspicion.label
        for suspicion in unlabelled_looking(truths, labels)
        if looks_bare(smears[suspicion.index].pixels, truths[suspicion.index], smears[suspicion.index].ignore)
    }


def _notes(
    labels: Sequence[str],
    smears: Sequence[Smear],
    keys: Sequence[str],
    flawed: Sequence[str],
    unlabelled: Mapping[int, str],
) -> tuple[str, ...]:
    learned = np.concatenate([smear.labels for smear in smears])
    notes = [
        f"{label}: no training image has one, so none will be found"
        for index, label in enumerate(labels)
        if not (learned == index).any()
    ]
    if flawed:
        notes.append(f"boxes without area were left out, on images (boxes): {', '.join(flawed)}")
    for label in dict.fromkeys(unlabelled.values()):
        named = [keys[index] for index, missing in unlabelled.items() if missing == label]
        notes.append(
            f"{len(named)} images look full of cells with hardly a box of {label}; they were not learned from, so "
            f"that their cells do not become background. Label them: {', '.join(named)}"
        )
    return tuple(notes)
