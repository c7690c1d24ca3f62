"""The images and labels of a simulation as they were read when it began, so that every process has the same at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import StoreError
from hemaloop.formats import Dataset, Item


def as_json(dataset: Dataset) -> dict[str, Any]:
    """A data set with the paths of its image files; the pixels stay where they are."""
    return {
        "path": str(dataset.path.resolve()),
        "format": dataset.format,
        "labels": list(dataset.labels),
        "images": [
            {
                "path": str(item.path.resolve()),
                "key": item.key,
                "width": item.width,
                "height": item.height,
                "names": list(item.names),
                "boxes": item.boxes.tolist(),
                "ignore": item.ignore.tolist(),
            }
            for item in dataset.items
        ],
    }


def from_json(found: dict[str, Any], where: str) -> Dataset:
    """What `as_json` gave. Raises `StoreError` that names where it was found."""
    try:
        items = tuple(
            Item(
                path=Path(one["path"]),
                boxes=_boxes(one["boxes"]),
                names=tuple(one["names"]),
                key=one["key"],
                width=one["width"],
                height=one["height"],
                ignore=_boxes(one["ignore"]),
            )
            for one in found["images"]
        )
        return Dataset(Path(found["path"]), found["format"], tuple(found["labels"]), items, ())
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{where}: cannot be read ({error!r}); call hemaloop simulate again, it is written anew"
        ) from None


def _boxes(corners: list[list[float]]) -> NDArray[np.float32]:
    return np.array(corners, np.float32).reshape(-1, 4)
