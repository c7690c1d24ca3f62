"""A data set looked at before anyone trains on it: how many, how large, and what is wrong with it.

The counts an image, the sizes of each class and the search for images without a class follow the exploration in
the Faster R-CNN paper (its section "Data wrangling and EDA").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as Pillow

from hemaloop.drawing import dataset_figure
from hemaloop.evaluation.overlap import intersection_over_union
from hemaloop.formats.items import Dataset, Item
from hemaloop.plugin import Image
from hemaloop.unlabelled import uncovered_share, unlabelled_looking

DOUBLE = 0.8
"""IoU from which two boxes of an image are taken for the same cell, boxed twice."""
_HASH_SIDE = 16
_SAME_PICTURE = 12
"""Differing bits, of 256, up to which two pictures are one: JPEG and scaling change a few, another field half."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassSummary:
    """One class: boxes on every image (images,), and width and height in px of every box (boxes, 2)."""

    per_image: NDArray[np.int64]
    sizes: NDArray[np.float32]

    @property
    def boxes(self) -> int:
        """Of the class, in all."""
        return len(self.sizes)

    @property
    def images(self) -> int:
        """With at least one box of the class."""
        return int((self.per_image > 0).sum())


@dataclass(frozen=True, slots=True)
class Suspect:
    """An image that looks unlabelled: why, and which part of its stained area lies outside every box."""

    path: Path
    reason: str
    uncovered: float

    def __str__(self) -> str:
        return (
            f"{self.path.name}: {self.reason}; {100 * self.uncovered:.0f} % of what is stained lies outside every box"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """What `describe` found. duplicates: groups of files with the same picture; doubled: boxes drawn twice, by file."""

    dataset: Dataset
    classes: Mapping[str, ClassSummary]
    suspects: tuple[Suspect, ...]
    duplicates: tuple[tuple[Path, ...], ...]
    doubled: Mapping[Path, int]

    def figure(self) -> Figure:
        """Boxes of each class, boxes an image, and size of each box."""
        return dataset_figure(
            {name: found.per_image for name, found in self.classes.items()},
            {name: found.sizes for name, found in self.classes.items()},
            f"{'/'.join(self.dataset.path.parts[-2:])}: {len(self.dataset)} images",
        )

    def findings(self) -> dict[str, list[str]]:
        """Everything that somebody should look at, one line each, by kind; kinds without a finding are left out."""
        found = {
            "images that look unlabelled": [str(suspect) for suspect in self.suspects],
            "the same picture more than once": [" = ".join(p.name for p in group) for group in self.duplicates],
            "cells that seem boxed twice": [f"{path.name}: {count}" for path, count in self.doubled.items()],
            "classes without a box": [name for name, summary in self.classes.items() if not summary.boxes],
            "faults in the files": [str(fault) for fault in self.dataset.faults],
        }
        return {kind: lines for kind, lines in found.items() if lines}

    def as_json(self) -> dict[str, object]:
        """The same, for programs."""
        return {
            "path": str(self.dataset.path),
            "format": self.dataset.format,
            "images": len(self.dataset),
            "classes": {name: _class_figures(summary) for name, summary in self.classes.items()},
            "findings": self.findings(),
        }


def _class_figures(summary: ClassSummary) -> dict[str, object]:
    figures: dict[str, object] = {"boxes": summary.boxes, "images": summary.images}
    if summary.boxes:
        figures["median_per_image"] = float(np.median(summary.per_image))
        figures["width_px"], figures["height_px"] = (
            [round(float(value), 1) for value in np.percentile(summary.sizes[:, axis], (5, 50, 95))] for axis in (0, 1)
        )
    return figures


def suspects(dataset: Dataset) -> tuple[Suspect, ...]:
    """The images that look unlabelled, each with what its picture says."""
    truths = dataset.truths(dataset.labels)
    found = []
    for suspicion in unlabelled_looking(truths, dataset.labels):
        item = dataset.items[suspicion.index]
        share = uncovered_share(item.image(), truths[suspicion.index], item.ignore)
        found.append(Suspect(item.path, str(suspicion), share))
    return tuple(found)


def describe(dataset: Dataset) -> Description:
    """Look at a whole data set; decodes every image once."""
    return Description(
        dataset,
        {label: _summary(dataset, label) for label in dataset.labels},
        suspects(dataset),
        tuple(_same_pictures(dataset)),
        {item.path: count for item in dataset.items if (count := doubled_boxes(item))},
    )


def _summary(dataset: Dataset, label: str) -> ClassSummary:
    per_image = [item.names.count(label) for item in dataset.items]
    truths = dataset.truths([label])
    corners = np.concatenate([truth.boxes for truth in truths]) if truths else np.zeros((0, 4), np.float32)
    return ClassSummary(np.array(per_image, np.int64), corners[:, 2:] - corners[:, :2])


def doubled_boxes(item: Item) -> int:
    """How many boxes of an image lie almost exactly on an earlier one, of whatever class."""
    overlaps = np.triu(intersection_over_union(item.boxes, item.boxes), 1)
    return int((overlaps >= DOUBLE).any(axis=0).sum()) if len(item.boxes) > 1 else 0


def picture_hash(image: Image) -> NDArray[np.bool_]:
    """Difference hash, 256 bits: whether each of 16x16 cells is brighter than its left neighbour."""
    small = Pillow.fromarray(image).convert("L").resize((_HASH_SIDE + 1, _HASH_SIDE), Pillow.Resampling.BOX)
    grey = np.asarray(small, np.int16)
    return np.asarray(grey[:, 1:] > grey[:, :-1]).ravel()


def _same_pictures(dataset: Dataset) -> Iterator[tuple[Path, ...]]:
    """Groups of files with the same picture, be it encoded anew or scaled."""
    if not dataset.items:
        return
    hashes = np.stack([picture_hash(item.image()) for item in dataset.items]).astype(np.int32)  # (images, 256)
    ones = hashes.sum(axis=1)
    taken: set[int] = set()
    for first in range(len(hashes)):
        if first in taken:
            continue
        differing = ones[first] + ones - 2 * (hashes @ hashes[first])
        group = [int(index) for index in np.flatnonzero(differing <= _SAME_PICTURE) if index not in taken]
        # A plain picture has no features to recognise it by: only its bytes count
        if ones[first] == 0:
            group = [index for index in group if dataset.items[index].key == dataset.items[first].key]
        taken.update(group)
        if len(group) > 1:
            yield tuple(dataset.items[index].path for index in group)
