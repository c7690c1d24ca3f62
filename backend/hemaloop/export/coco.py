"""COCO: boxes, or the connected regions of masks as uncompressed run-length codes, in one ``annotations.json``.

What is neither an object nor background is a crowd, as the format has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hemaloop.export.collect import Exported
from hemaloop.plugin import ClassMap, Detections

ANNOTATIONS = "annotations.json"


class Coco:
    """Writes ``annotations.json`` into a folder; image files are named relative to it."""

    images = "images"

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self._folder = folder
        self._labels = labels
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._numbers = count(1)

    def add(self, one: Exported) -> None:
        """Take a task."""
        self._images.append(_image(one))
        self._annotations += [{"id": next(self._numbers), **entry} for entry in _entries(one)]

    def finish(self, about: Mapping[str, Any]) -> None:
        """Write the file. about: for its `info`."""
        content = {
            "info": about,
            "images": self._images,
            "categories": [{"id": index, "name": label} for index, label in enumerate(self._labels, 1)],
            "annotations": self._annotations,
        }
        (self._folder / ANNOTATIONS).write_text(json.dumps(content, indent=1, allow_nan=False), "utf-8")


def _image(one: Exported) -> dict[str, Any]:
    return {
        "id": one.task,
        "file_name": f"images/{one.file}",
        "width": one.width,
        "height": one.height,
        "split": one.split,
        "pre_labelled_by": one.pre_labelled_by,
    }


def _entries(one: Exported) -> Iterator[dict[str, Any]]:
    truth = one.truth
    if truth is None:
        return
    if isinstance(truth.prediction, Detections):
        for box, label in zip(truth.prediction.boxes.tolist(), truth.prediction.labels.tolist(), strict=True):
            yield _entry(one, label + 1, box)
    elif isinstance(truth.prediction, ClassMap):
        yield from _regions(one, truth.prediction.labels)
    for box in truth.ignore.tolist():
        yield {**_entry(one, 1, box), "iscrowd": 1}


def _entry(one: Exported, category: int, box: Sequence[float]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    size = [x1, y1, x2 - x1, y2 - y1]
    return {
        "image_id": one.task,
        "category_id": category,
        "bbox": [round(value, 3) for value in size],
        "area": round(size[2] * size[3], 3),
        "iscrowd": 0,
        "segmentation": [],
    }


def _regions(one: Exported, values: NDArray[np.uint8]) -> Iterator[dict[str, Any]]:
    for value in np.unique(values[values > 0]).tolist():
        parts, _ = ndimage.label(values == value)
        for index, window in enumerate(ndimage.find_objects(parts), 1):
            rows, columns = window
            mask = parts == index
            entry = _entry(one, value, [columns.start, rows.start, columns.stop, rows.stop])
            yield {
                **entry,
                "area": int(mask.sum()),
                "segmentation": {"size": [one.height, one.width], "counts": run_lengths(mask)},
            }


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """bool (H, W) -> lengths of runs down the columns, the first of pixels that are off (COCO's uncompressed RLE)."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(length) for length in np.diff(np.concatenate([[0], changes, [mask.size]]))]
