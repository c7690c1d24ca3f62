"""Outlines of points, made once: kept on disk by image, points and the code that makes them.

They lie in hemaloop/outlines of the user's cache folder (XDG_CACHE_HOME, else ~/.cache) for a day at most. A fault of
the disk costs time, never an outline.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemaloop import points, stain
from hemaloop.images import LoadedImage
from hemaloop.images.cache import DiskCache
from hemaloop.points import Outlined, outline

_MAX_BYTES = 64 * 2**20
"""Of all outlines; those of an image take a few kilobytes."""


def outlined(picture: LoadedImage, marked: NDArray[np.float64], side: float | None) -> Outlined:
    """`outline` of a picture, from the disk where it was made before. marked: points (N, 2) px."""
    cache = _cache()
    name = _code(), picture.key, hashlib.sha256(marked.tobytes()).hexdigest(), repr(side)
    kept = cache.get(*name)
    if kept is not None:
        with np.load(io.BytesIO(kept)) as arrays:
            return Outlined(arrays["boxes"], arrays["guessed"], arrays["ignore"])
    found = outline(picture.pixels, marked, side)
    content = io.BytesIO()
    np.savez(content, boxes=found.boxes, guessed=found.guessed, ignore=found.ignore)
    cache.put(content.getvalue(), *name)
    return found


@functools.cache
def _cache() -> DiskCache:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "hemaloop" / "outlines"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return DiskCache(folder, 0)  # keeps nothing
    return DiskCache(folder, _MAX_BYTES)


@functools.cache
def _code() -> str:
    """Of the modules that make outlines: changed code makes them anew."""
    sources = (Path(module.__file__ or "").read_bytes() for module in (points, stain))
    return hashlib.sha256(b"\0".join(sources)).hexdigest()
