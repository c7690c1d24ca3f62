"""From the last of a few annotations to the pool's new order in a real Label Studio, and what of it is work.

    PYTHONPATH=tests python -m benchmarks.refit --data ../shared/data/pbc

2,500 single cells of ten types are embedded (64 px, a representation of one epoch: its quality does not matter here).
Each round labels cells of two more types, so that the new head beats the one before; the clock runs from the answer to
the last annotation until Label Studio names the new version, whose predictions are then all there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.__main__ import machine
from hemaloop.children import Watch, unwatched
from hemaloop.demo.stack import Stack
from hemaloop.project_setup import create_project, set_up
from hemaloop.store import ArtifactStore

ROUNDS = 4
EACH = 14
"""Cells of each new type that a round labels."""
_SIDE = 360


@contextlib.contextmanager
def _silent(name: str) -> Iterator[Watch]:
    del name
    yield unwatched


def config(labels: list[str]) -> str:
    """One choice of ten types."""
    choices = "".join(f'<Choice value="{label}"/>' for label in labels)
    return (
        '<View><Image name="image" value="$image"/><Choices name="type" toName="image" model_family="cell_vae" '
        'model_order="spread" model_min_new_annotations="5" model_option_image_size="64" model_option_epochs="1" '
        f'model_option_max_images="200">{choices}</Choices></View>'
    )


def choice(label: str) -> list[dict[str, Any]]:
    """What a person submits."""
    size = {"original_width": _SIDE, "original_height": _SIDE, "image_rotation": 0}
    names = {"id": "c", "from_name": "type", "to_name": "image", "type": "choices"}
    return [{**names, **size, "value": {"choices": [label]}}]


def measure(data: Path) -> dict[str, Any]:
    """Seconds of each round, with those of the job's parts."""
    labels = sorted(path.name for path in data.iterdir() if path.is_dir() and path.name != "PLATELET")
    files = {label: sorted((data / label).glob("*.jpg")) for label in labels}
    policy = {"image_folders": (data.resolve(),), "train_debounce_seconds": 2.0, "log_level": "INFO"}
    with (
        tempfile.TemporaryDirectory(prefix="hemaloop-refit-") as name,
        Stack(Path(name), waiting=_silent, port=0, backend_port=0, policy=policy) as stack,
    ):
        project = create_project(stack.studio, "refit", config(labels))
        named = [(label, path) for label in labels for path in files[label]]
        ids = stack.studio.import_tasks(project.id, [{"data": {"image": str(path.resolve())}} for _, path in named])
        tasks: dict[str, list[int]] = {label: [] for label in labels}
        for (label, _), number in zip(named, ids, strict=True):
            tasks[label].append(number)
        set_up(stack.studio, stack.settings, project.id)
        key = stack.studio.project(project.id).key
        began = time.monotonic()
        stack.queues.request_training(key, "benchmark", now=True)
        _wait(lambda: not stack.queues.running(key), stack, 1200)
        embedded = time.monotonic() - began
        rounds = [_round(stack, project.id, key, labels[2 * one : 2 * one + 2], tasks) for one in range(ROUNDS)]
    return {"machine": machine(), "cells": len(ids), "learned_and_embedded": embedded, "rounds": rounds}


def _round(stack: Stack, number: int, key: str, new: list[str], tasks: dict[str, list[int]]) -> dict[str, Any]:
    store = ArtifactStore(stack.settings.artifacts)
    submitted = 0.0
    for label in new:
        for task in tasks[label][:EACH]:
            stack.studio.submit_annotation(task, choice(label))
            submitted = time.monotonic()
    done = sum(1 for _ in stack.studio.tasks(number, only="annotated", with_annotations=False))

    def live() -> bool:
        version = stack.studio.project(number).model_version
        return bool(
            version
            and store.has(key, "type", version)
            and len(store.manifest(key, "type", version).annotations) == done
        )

    _wait(live, stack, 120)
    seconds = time.monotonic() - submitted
    version = str(stack.studio.project(number).model_version)
    _wait(lambda: stack.studio.versions(number).get(version, 0) >= 2500 - done, stack, 60)
    _wait(lambda: not stack.queues.running(key), stack, 600)
    told = stack.queues.ledger.outcomes(key)["refit"]
    accuracy = store.manifest(key, "type", version).figures["accuracy"]
    return {"annotated": done, "seconds": seconds, "work": told.get("seconds"), "gate_accuracy": accuracy}


def _wait(seen: Any, stack: Stack, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not seen():
        stack.check()
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:.0f} s; outcomes: {json.dumps(stack.queues.ledger.projects())}")
        time.sleep(0.1)


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("reports/refit.json"))
    given = parser.parse_args()
    found = measure(given.data)
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1))
    console = Console()
    console.print(found)
    console.print(f"median {statistics.median(one['seconds'] for one in found['rounds']):.1f} s")


if __name__ == "__main__":
    main()
