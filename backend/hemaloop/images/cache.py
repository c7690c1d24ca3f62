"""Files kept on disk by name: written whole or not at all, oldest use first out, shared by processes.

    <folder>/3f/3fa9…    SHA-256 of what follows (32 bytes), then the file

A fault of the disk costs a download, never an answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import threading
import time
from pathlib import Path

log = logging.getLogger(__name__)

MAX_AGE_SECONDS = 24 * 3600.0
"""After this a file is fetched anew: what is behind an address may have been replaced."""

_DIGEST = 32
_TEMPORARY = ".part"
_ABANDONED_SECONDS = 3600.0


class DiskCache:
    """At most `max_bytes` on disk, and a sixteenth more for each further process that writes; 0 keeps nothing."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._room = max_bytes - max_bytes // 16  # what an eviction leaves
        self._written = max_bytes  # so that the first write of a process looks at what is there
        self._lock = threading.Lock()
        self._results = {"hit": 0, "miss": 0}

    def taken(self) -> dict[str, int]:
        """How often something asked for was there ("hit") or not ("miss") since the last call."""
        with self._lock:
            found, self._results = self._results, {"hit": 0, "miss": 0}
        return {name: number for name, number in found.items() if number}

    def get(self, *name: str) -> bytes | None:
        """What was put under that name, if it is there, whole and not too old."""
        data = self._get(name)
        with self._lock:
            self._results["miss" if data is None else "hit"] += 1
        return data

    def _get(self, name: tuple[str, ...]) -> bytes | None:
        path = self._path(name)
        try:
            written = path.stat().st_mtime
            content = path.read_bytes() if time.time() - written < MAX_AGE_SECONDS else b""
            # Said to the file system by hand: most are mounted so that reading leaves no trace.
            os.utime(path, (time.time(), written))
        except OSError:
            return None
        data = content[_DIGEST:]
        if not data or hashlib.sha256(data).digest() != content[:_DIGEST]:
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        return data

    def put(self, data: bytes, *name: str) -> None:
        """Keep `data`; a reader sees all of it or nothing."""
        if len(data) + _DIGEST > self._room:
            return
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._write(path, data)
            self._make_room(len(data))
        except OSError as error:
            log.warning("image cache %s: not written: %s", self._folder, error)

    def _path(self, name: tuple[str, ...]) -> Path:
        # Lengths separate the parts, so that no two names run together.
        joined = "".join(f"{len(part)}:{part}" for part in name)
        digest = hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / digest[:2] / digest

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=_TEMPORARY)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(data).digest())
                file.write(data)
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise

    def _make_room(self, size: int) -> None:
        """Look at the folder once in a sixteenth of the limit: a look costs milliseconds for each thousand files."""
        with self._lock:
            self._written += size
            if self._written < self._max_bytes / 16:
                return
            self._written = 0
            self._evict()

    def _evict(self) -> None:
        found: list[tuple[float, int, str]] = []
        for folder in self._folder.iterdir():
            for entry in os.scandir(folder):
                with contextlib.suppress(FileNotFoundError):
                    found.append(self._weigh(entry))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._room:
                return
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
            total -= size

    @staticmethod
    def _weigh(entry: os.DirEntry[str]) -> tuple[float, int, str]:
        """When last used, bytes, path; a temporary file that nobody finishes counts as never used."""
        stat = entry.stat()
        if entry.name.endswith(_TEMPORARY) and time.time() - stat.st_mtime > _ABANDONED_SECONDS:
            return 0.0, stat.st_size, entry.path
        return max(stat.st_mtime, stat.st_atime), stat.st_size, entry.path
