"""Files of a model compared with what was stored: a disk may lose or change what was written to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path


def damaged_files(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Names of files that are gone or whose sha256 is not the one that was stored. files: sha256 by name."""
    return [name for name, expected in files.items() if not _holds(folder / name, expected)]


def sha256_of(path: Path) -> str:
    """Of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _holds(path: Path, expected: str) -> bool:
    try:
        return sha256_of(path) == expected
    except OSError:
        return False
