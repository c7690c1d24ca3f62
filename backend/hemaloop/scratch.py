"""JSON that one job keeps for another, compressed, beside the project's models."""

from __future__ import annotations

import gzip
import json
from typing import Any

from hemaloop.errors import StoreError
from hemaloop.store import ArtifactStore


def put(store: ArtifactStore, project: str, name: str, value: Any) -> None:
    """Keep a JSON value for another job."""
    store.put_scratch(project, name, gzip.compress(json.dumps(value).encode(), compresslevel=3))


def get(store: ArtifactStore, project: str, name: str) -> Any:
    """A JSON value that another job kept. Raises `StoreError` where it is gone."""
    data = store.get_scratch(project, name)
    if data is None:
        raise StoreError(f"project {project}: {name} is gone; another plan has taken its place")
    return json.loads(gzip.decompress(data))
