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
    """Give freed pages back to the system: loading a model takes more than the model does. Only with glibc."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def rest() -> None:
    """Give back what is only needed again with the next task: freed pages, and on Linux pages of libraries.

    Of these the loader has read 200 MB to relocate torch for a GPU. They stay in the system's cache of files, which
    maps them again, without a look at the disk, where they are needed.
    """
    give_back_memory()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            advise = ctypes.CDLL(None).madvise
            for start, end in _untouched(Path("/proc/self/smaps").read_text()):
                advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


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
