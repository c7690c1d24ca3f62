"""From the last of a few annotations to the pool's new order in a real Label Studio, and what of it is work.

    PYTHONPATH=tests python -m benchmarks.refit --data ../shared/data/pbc

2,500 single cells of ten types are embedded (64 px, a representation of one epoch: its quality does not matter here).
Each round labels cells of two more types, so that the new head beats the one before, and a head is due once all of them
are labelled. The clock runs from the answer to the last annotation until Label Studio hands out tasks in the new order:
it names the new version, and the first tasks have that version's scores. Behind that is `rest`: until every open task
has its prediction of it, which waits for a quiet moment.

`--work` measures the job alone instead, in this process, over 2,500 made-up vectors and the tests' double of Label
Studio, in seconds of the wall and of the processor: it takes a minute and no data.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import loop_stage
from benchmarks.__main__ import machine
from cells_pictures import on_smear
from hemaloop.children import Watch, unwatched
from hemaloop.demo.stack import Stack
from hemaloop.labelconfig import parse_label_config
from hemaloop.manifest import Manifest
from hemaloop.plugin import Silent
from hemaloop.project_setup import create_project, set_up
from hemaloop.quick import learning
from hemaloop.quick.refitting import refit_project
from hemaloop.quick.vectors import Vector, Vectors
from hemaloop.redis_server import EmbeddedRedis
from hemaloop.store import ArtifactStore
from loop_stage import PROJECT

CELLS = 2500
ROUNDS = 4
EACH = 40
"""Cells of each new type that a round labels: enough of them fall to the gate."""
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
        'model_order="spread" model_option_image_size="64" model_option_epochs="1" model_option_max_images="200" '
        f'model_min_new_annotations="{2 * EACH}">{choices}</Choices></View>'
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
    policy = {"image_folders": (data.resolve(),), "log_level": "INFO"}
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

    def judged() -> Manifest | None:
        """The model of all these annotations, once the gate has decided about it."""
        found = [store.manifest(key, "type", version) for version in store.versions(key, "type")[-1:]]
        return next((one for one in found if len(one.annotations) == done), None)

    made = _wait(judged, stack, 120)
    told = {"annotated": done, "judged": time.monotonic() - submitted, "gate_accuracy": made.figures["accuracy"]}
    if made.promoted:
        _wait(lambda: stack.studio.project(number).model_version == made.version, stack, 120)
        head = stack.studio.queue_head(number, 20)
        told["seconds"] = time.monotonic() - submitted
        assert len(head) == 20, "the first tasks have a score of the version in force"
        told["work"] = stack.queues.ledger.outcomes(key)["refit"].get("seconds")
        _wait(lambda: stack.studio.versions(number).get(made.version, 0) >= CELLS - done, stack, 300)
        told["rest"] = time.monotonic() - submitted
    _wait(lambda: not stack.queues.running(key), stack, 600)
    return told


def work() -> list[dict[str, Any]]:
    """One row a refit: annotations, wall and processor seconds, what the job says of its parts."""
    labels = [chr(ord("A") + number) for number in range(10)]
    xml = config(labels).replace('"64"', '"32"')
    (control,) = parse_label_config(xml).bound
    rng = np.random.default_rng(0)
    classes = rng.integers(0, len(labels), CELLS)
    rows = rng.normal(0, 0.35, (len(labels), 256))[classes] + rng.normal(0, 1, (CELLS, 256))
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="hemaloop-refit-") as name,
        EmbeddedRedis(Path(name) / "redis") as server,
        loop_stage.label_studio(xml) as studio,
    ):
        place = loop_stage.workplace(loop_stage.settings(Path(name), studio.url, redis_url=server.url))
        plugin = learning.build_representing(control, "cpu")
        report = plugin.learn([on_smear(number % 2, number, 40) for number in range(20)], Silent())
        said = {"fingerprint": learning.binding_of(control), "figures": {"pool": float(CELLS)}}
        place.store.put(PROJECT, learning.slot_of("type"), plugin, Manifest.of_fit(plugin, report, **said))
        Vectors(place.store, PROJECT, "type", plugin.representation).add(
            Vector(f"/{number}.png", f"{number:032x}", _SIDE, _SIDE, row.astype(np.float32))
            for number, row in enumerate(rows)
        )
        for number in range(CELLS):
            studio.add_task(number + 1, {"image": f"/{number}.png"})
        done = 0
        for total in (60, 160, 320):
            for number in range(done, total):
                studio.annotate(number + 1, cells=[], result=choice(labels[classes[number]]))
            done = total
            wall, processor = time.monotonic(), time.process_time()
            told = refit_project(place, PROJECT, "benchmark")
            spent = {"wall": time.monotonic() - wall, "processor": time.process_time() - processor}
            found.append({"annotated": total, **spent, "parts": told["seconds"], "order": told.get("order")})
        place.studio.close()
        place.queues.redis.close()
    return found


def _wait(seen: Callable[[], Any], stack: Stack, seconds: float) -> Any:
    end = time.monotonic() + seconds
    while not (found := seen()):
        stack.check()
        if time.monotonic() > end:
            ledger = stack.queues.ledger
            outcomes = {project: ledger.outcomes(project) for project in ledger.projects()}
            raise TimeoutError(f"not within {seconds:.0f} s; outcomes: {json.dumps(outcomes, default=str)}")
        time.sleep(0.1)
    return found


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("reports/refit.json"))
    given = parser.parse_args()
    if given.work or given.data is None:
        Console().print({"machine": machine(), "refits": work()})
        return
    found = measure(given.data)
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1))
    console = Console()
    console.print(found)
    seconds = [one["seconds"] for one in found["rounds"] if "seconds" in one]
    said = f"median {statistics.median(seconds):.1f} s of {len(seconds)} orders" if seconds else "no head was promoted"
    console.print(said)


if __name__ == "__main__":
    main()
