"""One measured figure beside its target, and how figures of many samples are taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def row(name: str, target: float, measured: float, unit: str, ok: bool | None = None) -> dict[str, Any]:
    """ok: `measured` is under the target, if not given."""
    return {
        "name": name,
        "target": target,
        "measured": round(measured, 2),
        "unit": unit,
        "ok": measured < target if ok is None else ok,
    }


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` of all do not exceed; NaN without samples."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan
