"""What the page shows of a project beside its models, as a worker has left it in the store (`portraying`).

The web process reads it and asks for a new one (`Queues.request_portrait`); it never asks Label Studio nor opens an
image itself. A portrait is made anew at most every `LEAST_SECONDS`, only while somebody looks at the page, and never
takes more than a `SHARE`th of a worker's time.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any

from hemaloop.store import ArtifactStore

NAME = "page/portrait"
LEAST_SECONDS = 10.0
SHARE = 20


def read(store: ArtifactStore, project: str) -> dict[str, Any] | None:
    """The last portrait of a project, or None. Raises `StoreError` where the store cannot be read."""
    data = store.get_scratch(project, NAME)
    return dict(json.loads(gzip.decompress(data))) if data is not None else None


def write(store: ArtifactStore, project: str, found: Mapping[str, Any]) -> None:
    """Replace a project's portrait; thumbnails that it no longer names go."""
    before = read(store, project)
    store.put_scratch(project, NAME, gzip.compress(json.dumps(found).encode(), compresslevel=3))
    for name in set(before["thumbnails"] if before else ()) - set(found["thumbnails"]):
        store.drop_scratch(project, thumbnail_name(name))


def thumbnail_name(name: str) -> str:
    """Where a thumbnail lies in the project's scratch."""
    return f"page/{name}"
