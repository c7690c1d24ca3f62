"""Image files of this machine, from the folders that the laboratory allowed and nowhere else."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from hemaloop.errors import ImageError


def read_allowed(path: Path, folders: Sequence[Path], max_bytes: int, name: str) -> bytes:
    """The bytes of a file below one of the folders, links and ``..`` resolved first.

    Raises `ImageError` beginning with `name` for a file that is elsewhere, missing, too large or no plain file.
    """
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        real = None
    # Files elsewhere answer alike whether they are there or not.
    if real is None or not any(real.is_relative_to(folder.resolve()) for folder in folders):
        if any(Path(os.path.normpath(path)).is_relative_to(folder) for folder in folders) and real is None:
            raise ImageError(f"{name}: no such file; correct the address in the task")
        allowed = ", ".join(str(folder) for folder in folders) or "none"
        raise ImageError(
            f"{name}: not in an allowed folder (allowed: {allowed}); if it is meant, add its folder to "
            "HEMALOOP_IMAGE_FOLDERS, or connect it to Label Studio as local files"
        )
    try:
        return _read(real, max_bytes, name)
    except OSError as error:
        raise ImageError(f"{name}: cannot be read: {error.strerror}") from None


def _read(path: Path, max_bytes: int, name: str) -> bytes:
    # A link put there since it was resolved is not followed; a pipe does not block.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ImageError(f"{name}: not a plain file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    finally:
        os.close(handle)
    if len(data) > max_bytes:
        raise ImageError(f"{name}: expected at most {max_bytes:,} bytes (HEMALOOP_IMAGE_MAX_BYTES)")
    return data
