"""Where the real smears of the CBC and Chula-RBC-12 data sets lie, and marks for tests that need them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CBC = Path(os.environ.get("HEMALOOP_CBC", DATA / "cbc"))
CHULA = Path(os.environ.get("HEMALOOP_CHULA", DATA / "chula_rbc12"))


def needs_cbc(test):  # type: ignore[no-untyped-def]
    """Mark a test `real_data`, and skip it, saying why, where the smears are not."""
    skip = pytest.mark.skipif(not CBC.is_dir(), reason=f"no CBC smears in {CBC}; name their folder in HEMALOOP_CBC")
    return pytest.mark.real_data(skip(test))


def needs_chula(test):  # type: ignore[no-untyped-def]
    """Mark a test `real_data`, and skip it, saying why, where the smears are not."""
    reason = f"no Chula-RBC-12 smears in {CHULA}; name their folder in HEMALOOP_CHULA"
    return pytest.mark.real_data(pytest.mark.skipif(not CHULA.is_dir(), reason=reason)(test))
