"""Memory that a process holds and does not need."""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_MADV_DONTNEED = 4
_LIBRARY = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-[x-]p .* /.*\.so[.0-9]*$")
"""A mapping of a library that can be read and not written to, as /proc tells it."""
_UNTOUCHED = {"Anonymous:": "0", "Swap:": "0"}
"""Of a mapping of which no page was ever written to, as relocation does before it forbids writing."""


def give_back_memory() -> None:
    """Give back freed pages, with glibc, and on Linux pages of libraries, of which the loader of torch reads 200 MB.

    These stay in the system's cache of files, which maps them again, without a look at the disk, where they are needed.
    """
    if sys.platform != "linux":
        return
    here = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):  # another C library
        here.malloc_trim(0)
    with contextlib.suppress(OSError):
        for start, end in _untouched(Path("/proc/self/smaps").read_text()):
            here.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def _untouched(mappings: str) -> Iterator[tuple[int, int]]:
    """Addresses of the parts of libraries whose pages are what is in their files, and so can be dropped."""
    found, told = None, dict[str, str]()
    for line in mappings.splitlines():
        name, value, *_ = line.split()
        if name in _UNTOUCHED:
            told[name] = value
        elif "-" in name:
            found, told = _LIBRARY.match(line), {}
        elif name == "VmFlags:" and found and told == _UNTOUCHED:
            yield int(found[1], 16), int(found[2], 16)
