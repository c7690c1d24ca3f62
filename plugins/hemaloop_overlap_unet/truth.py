"""Examples as the U-Net learns from them: labels as classes, regions that say nothing as unknown, faults told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import DatasetError
from hemaloop.plugin import UNKNOWN, ClassMap, Example
from hemaloop_overlap_unet.classical import segment
from hemaloop_overlap_unet.meaning import Meaning
from hemaloop_overlap_unet.sources import Cutout, Source, cutouts, make_source, usable

MOST_CUTOUTS = 800
"""White cells and platelets that are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """sources: images with free-standing cells. real: images on which somebody marked overlaps, or showed that there is
    none to be found. pieces: their white cells and platelets. notes: what a person should know."""

    sources: list[Source]
    real: list[Source]
    pieces: list[Cutout]
    notes: tuple[str, ...]


def truth_classes(example: Example, meaning: Meaning) -> NDArray[np.uint8]:
    """uint8 (H, W): 0 background, 1 one cell, 2 overlap, `UNKNOWN`. Raises `DatasetError` naming the image."""
    truth = example.truth
    if not isinstance(truth, ClassMap):
        raise DatasetError(f"image {example.key}: found truth of type {type(truth).__name__}, expected ClassMap")
    if truth.labels.shape != example.image.shape[:2]:
        raise DatasetError(
            f"image {example.key}: found a mask of {truth.labels.shape[1]} x {truth.labels.shape[0]} px for an image "
            f"of {example.image.shape[1]} x {example.image.shape[0]} px, expected the same size"
        )
    most = int(truth.labels[truth.labels != UNKNOWN].max(initial=0))
    if most > 2:
        raise DatasetError(f"image {example.key}: found mask values up to {most}, expected 0, 1, 2 and {UNKNOWN}")
    classes = meaning.classes(truth.labels)
    height, width = classes.shape
    for x1, y1, x2, y2 in example.ignore:
        rows = slice(max(0, int(np.floor(y1))), min(height, int(np.ceil(y2))))
        columns = slice(max(0, int(np.floor(x1))), min(width, int(np.ceil(x2))))
        # what is marked inside an ignore region stays known: it is the rest of it that nobody looked at
        part = classes[rows, columns]
        part[part == 0] = UNKNOWN
    return classes


def read_sources(
    examples: Sequence[Example], meaning: Meaning, diameter: float
) -> tuple[list[Source], list[Cutout], list[str]]:
    """Each example once: sources, cut-outs of foreign cells, and keys of images without a marked pixel."""
    sources: list[Source] = []
    pieces: list[Cutout] = []
    bare: list[str] = []
    for index in range(len(examples)):
        example = examples[index]
        classes = truth_classes(example, meaning)
        if not (classes > 0).any():
            bare.append(example.key)
        found = segment(example.image)
        sources.append(make_source(example.image, classes, found, diameter))
        if len(pieces) < MOST_CUTOUTS:
            pieces += cutouts(example.image, found, diameter)
    return sources, pieces, bare


def read_training_set(examples: Sequence[Example], meaning: Meaning, diameter: float) -> TrainingSet:
    """Raises `DatasetError` where nothing can be learned."""
    if not len(examples):
        raise DatasetError("training set: found no image; label some and train again")
    sources, pieces, bare = read_sources(examples, meaning, diameter)
    free = usable(sources)
    real = [source for source in sources if source.has_overlaps]
    if not free and not real:
        raise DatasetError(
            f"training set: found no free-standing cell and no overlap on any of {len(sources)} images; mask some "
            "cells and train again"
        )
    cells = sum(int(source.cells.any()) for source in free)
    notes = [f"{cells} images have free-standing cells for artificial overlaps, {len(real)} have real overlaps"]
    if not free:
        notes.append("no free-standing cell: only the marked overlaps were learned, which are few")
    if bare:
        notes.append(f"{len(bare)} images have no marked pixel and count as background: {', '.join(bare[:5])}")
    return TrainingSet(free, real, pieces, tuple(notes))
