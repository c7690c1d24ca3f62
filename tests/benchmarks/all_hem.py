"""The ensemble on a stand-in for ALL and HEM: lymphocytes against immature granulocytes of the PBC images.

    PYTHONPATH=tests python -m benchmarks.all_hem --data ../shared/data/pbc --out reports/all_hem

250 lymphocytes play HEM; promyelocytes, myelocytes and metamyelocytes, thinned by chance to 500, play ALL. Each seed
draws three tenths of each to test on and learns from the rest. A seed is a file, so that a stopped run goes on;
a table and ``all_hem.json`` come at the end. `--pilot` looks at a quarter of the seed's training images instead, for
choosing a recipe.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.special import softmax
from skimage.color import hsv2rgb, rgb2hsv

from benchmarks.__main__ import machine
from hemaloop.evaluation.classification import ClassificationReport, evaluate_classification
from hemaloop.formats.items import load_picture
from hemaloop.plugin import Classification, Example, Image, Silent
from hemaloop_leukemia_ensemble import ALL_HEM, LeukemiaEnsemble
from hemaloop_leukemia_ensemble.decision import MEMBERS, calibrated, winning_logits

CLASSES = {"LY": "HEM", "PMY": "ALL", "MY": "ALL", "MMY": "ALL"}
DISEASED = 500
TEST, TUNE = 0.3, 0.2
"""Shares: of all images, to test on; of those left, to tune on."""
CHANGES = {
    "hue -0.03": (-0.03, 1.0),
    "hue +0.03": (0.03, 1.0),
    "brightness x 0.8": (0.0, 0.8),
    "brightness x 1.2": (0.0, 1.2),
}
"""Hue in turns of the colour circle, brightness as a factor."""
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""0.975 quantile of Student's t for that many seeds."""


@dataclass(frozen=True)
class Labelled:
    """A file and its class, an index into `ALL_HEM`."""

    path: Path
    label: int


def stand_in(data: Path) -> list[Labelled]:
    """750 images: every lymphocyte, and 500 immature granulocytes drawn by the hash of their names."""
    files = [(path, CLASSES[name]) for name in CLASSES for path in sorted((data / name).glob("*.jpg"))]
    by_chance = sorted(files, key=lambda one: hashlib.sha256(one[0].name.encode()).digest())
    diseased = [one for one in by_chance if one[1] == "ALL"][:DISEASED]
    return [
        Labelled(path, ALL_HEM.index(label)) for path, label in files if label == "HEM" or (path, label) in diseased
    ]


def drawn(items: Sequence[Labelled], share: float, seed: tuple[int, ...]) -> tuple[list[Labelled], list[Labelled]]:
    """The rest, and a share of each class by chance."""
    taken: set[int] = set()
    for label in range(len(ALL_HEM)):
        members = [index for index, item in enumerate(items) if item.label == label]
        order = np.random.default_rng((*seed, label)).permutation(members)
        taken |= set(order[: round(share * len(members))].tolist())
    return [item for i, item in enumerate(items) if i not in taken], [items[i] for i in sorted(taken)]


def example(item: Labelled) -> Example:
    """As a family learns from it."""
    picture = load_picture(item.path)
    return Example(picture.pixels, Classification(np.eye(len(ALL_HEM), dtype=np.float32)[item.label]), picture.key)


def changed(image: Image, hue: float, brightness: float) -> Image:
    """Another stain or lamp: hue in turns, brightness as a factor."""
    hsv = rgb2hsv(image)
    hsv[..., 0] = (hsv[..., 0] + hue) % 1
    return np.rint(hsv2rgb(hsv).clip(0, 1) * 255 * brightness).clip(0, 255).astype(np.uint8)


def run_seed(data: Path, seed: int, options: dict[str, str], *, pilot: bool) -> dict[str, Any]:
    """Train once and ask all members about every image that was kept back."""
    learned, test = drawn(stand_in(data), TEST, (seed, 1))
    if pilot:
        learned, test = drawn(learned, 0.25, (seed, 3))
    train, tune = drawn(learned, TUNE, (seed, 2))
    plugin = LeukemiaEnsemble(ALL_HEM, options, device="cpu", seed=seed)
    began = time.monotonic()
    report = plugin.fit([example(item) for item in train], [example(item) for item in tune], Silent())
    seconds = time.monotonic() - began
    images = [example(item).image for item in test]
    found = {
        "seed": seed,
        "pilot": pilot,
        "options": options,
        "images": {"train": len(train), "tune": len(tune), "test": len(test)},
        "seconds": seconds,
        "temperature": plugin.temperature,
        "epochs": [sum(one["model"] == which for one in report.epochs) for which in range(len(MEMBERS))],
        "figures": dict(report.figures),
        "truths": [item.label for item in test],
        "files": [f"{item.path.parent.name}/{item.path.name}" for item in test],
        "logits": plugin.logits(images).tolist(),
        "tune_truths": [item.label for item in tune],
        "tune_logits": plugin.logits([example(item).image for item in tune]).tolist(),
        "notes": list(report.notes),
    }
    if not pilot:
        found["changed"] = {
            name: plugin.logits([changed(image, *change) for image in images]).tolist()
            for name, change in CHANGES.items()
        }
    found["one_cell_ms"] = 1000 * statistics.median(_seconds(plugin, image) for image in images[:40])
    return found


def _seconds(plugin: LeukemiaEnsemble, image: Image) -> float:
    began = time.perf_counter()
    plugin.predict([image])
    return time.perf_counter() - began


def report_of(truths: Sequence[int], shares: NDArray[np.float64]) -> ClassificationReport:
    """Figures of probabilities (N, C)."""
    said = [Classification(row.astype(np.float32)) for row in shares]
    known = [Classification(np.eye(len(ALL_HEM), dtype=np.float32)[label]) for label in truths]
    return evaluate_classification(known, said, ALL_HEM)


def answers(one: dict[str, Any], logits: Any = None) -> dict[str, NDArray[np.float64]]:
    """Probabilities (N, C) of each member, of the largest of all, and of that one calibrated."""
    raw = np.array(one["logits"] if logits is None else logits)  # (N, 3, C)
    winners = np.stack([winning_logits(row) for row in raw])
    members = {name: softmax(raw[:, index], axis=1) for index, name in enumerate(MEMBERS)}
    return {**members, "maximum": softmax(winners, axis=1), "calibrated": calibrated(winners, one["temperature"])}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval over seeds (Student's t); 0 where there is one seed."""
    if len(values) < 2:
        return statistics.fmean(values), 0.0
    return statistics.fmean(values), STUDENT[len(values)] * statistics.stdev(values) / math.sqrt(len(values))


def summary(seeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means and intervals over seeds, and calibration pooled over them."""
    each = [answers(one) for one in seeds]
    reports = {name: [report_of(o["truths"], a[name]) for o, a in zip(seeds, each, strict=True)] for name in each[0]}
    figures = {
        name: {
            "weighted_f1": interval([r.weighted.f1 for r in found]),
            "f1/ALL": interval([r.classes["ALL"].f1 for r in found]),
            "f1/HEM": interval([r.classes["HEM"].f1 for r in found]),
            "sensitivity": interval([r.classes["ALL"].recall for r in found]),
            "specificity": interval([r.classes["ALL"].specificity for r in found]),
            "auc": interval([r.classes["ALL"].auc for r in found]),
            "each_weighted_f1": [r.weighted.f1 for r in found],
        }
        for name, found in reports.items()
        if name != "calibrated"
    }
    truths = [label for one in seeds for label in one["truths"]]
    pooled = {
        name: report_of(truths, np.concatenate([a[name] for a in each])).reliability.error
        for name in ("maximum", "calibrated")
    }
    steady = {
        name: interval(
            [report_of(one["truths"], answers(one, one["changed"][name])["maximum"]).weighted.f1 for one in seeds]
        )
        for name in CHANGES
        if all("changed" in one for one in seeds)
    }
    return {
        "seeds": [one["seed"] for one in seeds],
        "pilot": seeds[0]["pilot"],
        "images": seeds[0]["images"],
        "options": seeds[0]["options"],
        "members": figures,
        "ece": pooled,
        "changed": steady,
        "temperature": [one["temperature"] for one in seeds],
        "epochs": [one["epochs"] for one in seeds],
        "minutes": [one["seconds"] / 60 for one in seeds],
        "one_cell_ms": statistics.median(one["one_cell_ms"] for one in seeds),
        "machine": machine(),
    }


def show(found: dict[str, Any]) -> None:
    """For people."""
    console = Console()
    columns = ("weighted_f1", "f1/ALL", "f1/HEM", "sensitivity", "specificity", "auc")
    table = Table("member", *columns, title=f"{len(found['seeds'])} seed(s), {found['images']['test']} images each")
    for name, figures in found["members"].items():
        table.add_row(name, *(f"{figures[one][0]:.4f} ± {figures[one][1]:.4f}" for one in columns))
    console.print(table)
    for name, (mean, half) in found["changed"].items():
        console.print(f"weighted F1 with {name}: {mean:.4f} ± {half:.4f}", highlight=False)
    before, after = (found["ece"][name] for name in ("maximum", "calibrated"))
    console.print(f"ECE pooled over the seeds: {before:.4f} before, {after:.4f} after calibration", highlight=False)
    console.print(f"temperatures {[round(t, 2) for t in found['temperature']]}, epochs of each {found['epochs']}")
    console.print(f"minutes {[round(m, 1) for m in found['minutes']]}, one cell {found['one_cell_ms']:.0f} ms")


def main() -> int:
    """Run the seeds that are missing, then tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("reports/all_hem"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--pilot", action="store_true")
    given = parser.parse_args()
    options = dict(text.split("=", 1) for text in given.option)
    given.out.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in range(given.seeds):
        path = given.out / f"seed_{seed}.json"
        if not path.exists():
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(run_seed(given.data, seed, options, pilot=given.pilot)))
            partial.rename(path)
        one = json.loads(path.read_text())
        if one["options"] != options or one["pilot"] != given.pilot:
            sys.exit(f"{path}: made with {one['options']}, pilot {one['pilot']}; name another --out")
        found.append(one)
    told = summary(found)
    (given.out / "all_hem.json").write_text(json.dumps(told, indent=1))
    show(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
