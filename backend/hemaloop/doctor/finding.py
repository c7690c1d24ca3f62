"""What one check has found: whether that is as it must be, and the exact command or setting that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """FAIL: people wait in vain for something. WARN: something is less than it could be, or soon will be.

    SKIP: could not be looked at, because of a FAIL above.
    """

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True)
class Finding:
    """found: in words for people. remedy: a command, a setting or what to do; empty where nothing is to be done.

    check: name of the check, given by the examination.
    """

    level: Level
    found: str
    remedy: str = ""
    check: str = ""


def ok(found: str) -> Finding:
    """As it must be."""
    return Finding(Level.OK, found)


def warn(found: str, remedy: str) -> Finding:
    """Less than it could be."""
    return Finding(Level.WARN, found, remedy)


def fail(found: str, remedy: str) -> Finding:
    """A cause of silence."""
    return Finding(Level.FAIL, found, remedy)
