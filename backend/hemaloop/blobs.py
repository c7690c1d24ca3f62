"""Bytes under an fsspec address, replaced in one step: a reader meets the old content or the new, never half of it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import fsspec

from hemaloop.errors import StoreError


class Blobs:
    """Files or objects under one address, such as ``file:///var/lib/hemaloop`` or ``s3://bucket/hemaloop``.

    Methods raise `StoreError` that names the path.
    """

    def __init__(self, url: str) -> None:
        # what other machines write is seen at once: no listing is remembered
        self._fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self.root = str(root).rstrip("/")
        protocol = self._fs.protocol
        self.local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)
        """Whether paths are those of this machine's files."""

    def read(self, path: str) -> bytes | None:
        """The content, or None where nothing is there."""
        try:
            return bytes(self._fs.cat_file(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error}") from error

    def write(self, path: str, data: bytes) -> None:
        """One step for a reader: a rename where there are files, one PUT where there are objects."""
        try:
            if self.local:
                _replace(Path(path), data)
            else:
                self._fs.pipe_file(path, data)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written: {error}") from error

    def exists(self, path: str) -> bool:
        """Whether something is there."""
        return bool(self._fs.exists(path))

    def names(self, folder: str) -> list[str]:
        """What lies directly in a folder; nothing where there is no folder."""
        try:
            return [
                str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in self._fs.ls(folder, detail=False, refresh=True)
            ]
        except FileNotFoundError:
            return []

    def remove(self, path: str) -> None:
        """Remove a file or a folder with all that is in it; nothing happens where nothing is there."""
        if self.exists(path):
            self._fs.rm(path, recursive=True)


def _replace(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}")
    try:
        with partial.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
