"""Where the real smears of the CBC data set lie, and a mark for tests that need them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CBC = Path(os.environ.get("HEMALOOP_CBC", Path(__file__).resolve().parents[2] / "shared" / "data" / "cbc"))


def needs_cbc(test):  # type: ignore[no-untyped-def]
    """Mark a test `real_data`, and skip it, saying why, where the smears are not."""
    skip = pytest.mark.skipif(not CBC.is_dir(), reason=f"no CBC smears in {CBC}; name their folder in HEMALOOP_CBC")
    return pytest.mark.real_data(skip(test))
