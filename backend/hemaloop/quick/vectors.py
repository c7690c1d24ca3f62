"""Vectors of a project's images, beside its artifacts: what a head learns from and scores without opening an image.

    <root>/<project>/_vectors/<control>/<representation>/<part>.safetensors

A part is written once, whole, and never changed; vectors of two representations never lie together, so that none are
mixed. A part that cannot be read counts as if it were not there: its images are embedded again.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hemaloop.errors import ImageError
from hemaloop.images import LoadedImage
from hemaloop.store import ArtifactStore

log = logging.getLogger(__name__)

_HEADER = 8


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """Of one image. uri: its address in the task. key: hash of its content. embedding: float32 (D,)."""

    uri: str
    key: str
    width: int
    height: int
    embedding: NDArray[np.float32]


class Vectors:
    """The vectors of one control's images under one representation."""

    def __init__(self, store: ArtifactStore, project: str, control: str, representation: str) -> None:
        self._store = store
        self._place = (project, control, representation)

    def add(self, vectors: Iterable[Vector]) -> None:
        """Keep vectors as one part more."""
        found = list(vectors)
        if not found:
            return
        said = [[one.uri, one.key, one.width, one.height] for one in found]
        rows = np.stack([one.embedding for one in found]).astype(np.float32)
        data = save({"embeddings": rows}, {"images": json.dumps(said)})
        self._store.put_vectors(*self._place, f"{uuid.uuid4().hex}.safetensors", data)

    def by_uri(self) -> dict[str, Vector]:
        """Every vector by the address of its image."""
        found: dict[str, Vector] = {}
        for name, data in self._store.vectors(*self._place):
            try:
                found |= _read(data)
            except (SafetensorError, KeyError, ValueError, TypeError) as error:
                log.warning("vectors %s of %s: cannot be read (%s); embedded again", name, "/".join(self._place), error)
        return found


def _read(data: bytes) -> dict[str, Vector]:
    length = int.from_bytes(data[:_HEADER], "little")
    said = json.loads(json.loads(data[_HEADER : _HEADER + length])["__metadata__"]["images"])
    rows = load(data)["embeddings"]
    if len(rows) != len(said) or not np.isfinite(rows).all():
        raise ValueError(f"found {len(rows)} rows for {len(said)} images, expected finite numbers, a row for each")
    return {
        uri: Vector(uri, key, width, height, rows[place].astype(np.float32))
        for place, (uri, key, width, height) in enumerate(said)
    }


class Remembered:
    """A `dataset.Loader` of images that have a vector: their keys and sizes, no picture."""

    def __init__(self, vectors: Mapping[str, Vector]) -> None:
        self._vectors = vectors

    def load(self, uri: str, task_id: int | None = None, *, project: str) -> LoadedImage:
        """An image of the right size that holds nothing. Raises `ImageError` where there is no vector yet."""
        known = self._vectors.get(uri)
        if known is None:
            raise ImageError(f"task {task_id} of project {project}: its image has no vector yet; it is embedded soon")
        blank = np.broadcast_to(np.uint8(0), (known.height, known.width, 3))
        return LoadedImage(blank, known.key, known.width, known.height)
