"""The overlap family on a frame of 2024 x 1512 px: time, memory, and brush masks both ways."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from label_studio_sdk.converter.brush import decode_rle, mask2rle
from numpy.typing import NDArray

from benchmarks.rows import row
from hemaloop import brush
from hemaloop.synthetic import render_smear

WIDTH, HEIGHT = 2024, 1512
CELL = 40
"""px of a cell on the frame, as on the paper's."""
TURNS = 3


def frame() -> NDArray[np.uint8]:
    """A smear whose cells measure about `CELL` px, put together from smaller ones."""
    side = round(480 * CELL / 94)
    rows = []
    for top in range(0, HEIGHT, side):
        smears = [render_smear(seed=top + left, width=side, height=side).image for left in range(0, WIDTH, side)]
        rows.append(np.concatenate(smears, axis=1))
    return np.ascontiguousarray(np.concatenate(rows)[:HEIGHT, :WIDTH])


def seconds(work: Callable[[], object]) -> float:
    """Median of a few turns, after one that warms up."""
    work()
    taken = []
    for _ in range(TURNS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def measure() -> list[dict[str, Any]]:
    """Seconds a frame, memory of a process of its own, and milliseconds of brush masks beside the SDK's."""
    rows = []
    for precision, target in (("auto", 4.0), ("float32", 60.0)):
        took, memory = _alone(precision)
        rows.append(row(f"U-Net, a frame of {WIDTH}x{HEIGHT}, precision {precision}", target, took, "s"))
        rows.append(row(f"memory at most while predicting it, precision {precision}", 2.0, memory, "GB"))
    rows.append(row("classical segmentation, the same frame", 1.0, _alone("classical")[0], "s"))
    return rows + _brush()


def _alone(kind: str) -> tuple[float, float]:
    """Median seconds and most memory, GB, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.overlap", kind], capture_output=True, text=True, check=True, env=os.environ
    )
    took, memory = done.stdout.split()[-2:]
    return float(took), float(memory)


def _brush() -> list[dict[str, Any]]:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rng = np.random.default_rng(0)
    cells = np.zeros((HEIGHT, WIDTH), bool)
    for row_, column in zip(rng.integers(0, HEIGHT, 100), rng.integers(0, WIDTH, 100), strict=True):
        cells |= (y - row_) ** 2 + (x - column) ** 2 <= (CELL / 2) ** 2
    noisy = rng.random((HEIGHT // 2, WIDTH // 2)) < 0.3
    code, noise = brush.encode(cells), brush.encode(noisy)
    encoded, decoded = seconds(lambda: brush.encode(cells)), seconds(lambda: brush.decode(code, WIDTH, HEIGHT))
    ours = seconds(lambda: brush.encode(noisy)), seconds(lambda: brush.decode(noise, WIDTH // 2, HEIGHT // 2))
    theirs = _once(lambda: mask2rle(noisy.astype(np.uint8) * 255)), _once(lambda: decode_rle(bytes(noise)))
    return [
        row("brush mask of 100 cells, written", 20, 1000 * encoded, "ms"),
        row("brush mask of 100 cells, read", 20, 1000 * decoded, "ms"),
        row("noisy brush mask, written: of the SDK's time", 0.2, ours[0] / theirs[0], "×"),
        row("noisy brush mask, read: of the SDK's time", 0.2, ours[1] / theirs[1], "×"),
    ]


def _once(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _main(kind: str) -> None:
    from hemaloop_overlap_unet import CLASSICAL, STARTER, OverlapUNet

    plugin = OverlapUNet(("RBC", "Overlap"), {} if kind == "classical" else {"precision": kind})
    plugin.load(CLASSICAL if kind == "classical" else STARTER)
    image = frame()
    took = seconds(lambda: plugin.predict([image]))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    sys.stdout.write(f"{took} {most}\n")


if __name__ == "__main__":
    _main(sys.argv[1])
