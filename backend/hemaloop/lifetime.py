"""Processes that end with the process that started them, however that ends; and files that only one process holds."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_START = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(sys.argv[2]))
if os.getppid() != int(sys.argv[1]):
    sys.exit("the owner is gone")
os.execv(sys.argv[3], sys.argv[3:])
"""
"""PR_SET_PDEATHSIG (1) outlives the exec: the kernel sends the signal when the owner dies."""


def owned(command: Sequence[str], sign: signal.Signals = signal.SIGTERM) -> list[str]:
    """The command, so that the process gets `sign` when this one dies. command: begins with the full path of a program.

    On Linux; elsewhere the command runs as it is. Start it from a thread that lives as long as the process should:
    the kernel counts the thread that started it as its owner.
    """
    return [sys.executable, "-I", "-S", "-c", _START, str(os.getpid()), str(int(sign)), *command]


def hold(path: Path) -> IO[str] | None:
    """The file, locked until it is closed or this process ends; None where another process of this machine has it."""
    stream = path.open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    return stream
