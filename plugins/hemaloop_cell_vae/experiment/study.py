"""The experiment step by step, each step a file that appears whole or not at all, so that a kill loses one step."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from hemaloop.cli.watching import Watch
from hemaloop.dataset import split_of
from hemaloop.errors import DatasetError, OptionError
from hemaloop.evaluation.classification import evaluate_classification
from hemaloop.formats.classes import ClassItem, read_classes
from hemaloop.networks.arithmetic import arithmetic_for
from hemaloop.plugin import Classification, Progress, Silent
from hemaloop.stages import Stage
from hemaloop_cell_vae import representation
from hemaloop_cell_vae.embedding import Embedder
from hemaloop_cell_vae.experiment.grid import EVERYTHING, GRID, QUICK
from hemaloop_cell_vae.experiment.measures import cell_mask, l1_inside, ssim_inside
from hemaloop_cell_vae.experiment.report import report
from hemaloop_cell_vae.head import fit_head
from hemaloop_cell_vae.options import CellVAEOptions
from hemaloop_cell_vae.patches import square
from hemaloop_cell_vae.representation import as_encoded

PLAN = "plan.json"
FOR_CLASSES = 0.34
"""Share of the images that the classifier alone sees, as in the paper: 6085 of 17607."""
TUNED = 0.2
"""Of a classifier's training images, those that choose its epoch."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared and how. methods: names in `grid.EVERYTHING`."""

    methods: tuple[str, ...]
    size: int
    epochs: int
    folds: int
    seed: int

    @classmethod
    def of(
        cls,
        *,
        quick: bool,
        size: int | None,
        epochs: int | None,
        folds: int | None,
        methods: tuple[str, ...] | None,
        seed: int,
    ) -> Plan:
        """From the command line. Raises `OptionError` for an unknown method or a size that does not fit."""
        chosen = methods or (QUICK if quick else tuple(GRID))
        unknown = [name for name in chosen if name not in EVERYTHING]
        if unknown:
            raise OptionError(f"--methods: found {', '.join(unknown)}, expected some of: {'; '.join(EVERYTHING)}")
        plan = cls(
            chosen, size or (128 if quick else 256), epochs or (8 if quick else 100), folds or (3 if quick else 5), seed
        )
        for name in chosen:
            plan.options(name)
        return plan

    def options(self, method: str) -> CellVAEOptions:
        """Of one method. Raises `OptionError`."""
        from hemaloop_cell_vae import CellVAE

        found = CellVAE.parse_options({**EVERYTHING[method], "image_size": self.size, "epochs": self.epochs})
        if not isinstance(found, CellVAEOptions):
            raise OptionError(f"options of 'cell_vae': found {type(found).__name__}")
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """uint8 (N, S, S, 3), classes (N,), and which of them only the classifier sees; folds (N,) of 0 to folds - 1."""

    pixels: NDArray[np.uint8]
    classes: NDArray[np.int64]
    labelled: NDArray[np.bool_]
    folds: NDArray[np.int64]
    labels: tuple[str, ...]


def work(data: Path, out: Path, plan: Plan, *, without: Sequence[str], only_report: bool) -> None:
    """Do what is missing, and report. Raises `DatasetError`, `OptionError` where `out` holds another experiment."""
    out.mkdir(parents=True, exist_ok=True)
    _remember(out, plan, data, without)
    if not only_report:
        with Watch("suppression", kept="finished folds are kept; the same command goes on") as watch:
            patches = read(data, plan, without, watch)
            steps = [(method, fold) for method in plan.methods for fold in range(plan.folds)]
            for number, (method, fold) in enumerate(steps):
                stage = Stage(watch, number, number + 1, len(steps), f"{method}, fold {fold + 1}")
                if not path_of(out, method, fold).exists():
                    one_fold(patches, plan, method, fold, out, stage)
                stage.report(1, 1, "done")
    report(out, plan.methods, plan.folds, Console())


def _remember(out: Path, plan: Plan, data: Path, without: Sequence[str]) -> None:
    """Methods may be added; everything else belongs to the experiment."""
    said = {**asdict(plan), "data": data.name, "without": sorted(without)}
    del said["methods"]
    path = out / PLAN
    if path.exists():
        known = json.loads(path.read_text("utf-8"))
        if known != said:
            differs = ", ".join(
                f"{name} {known.get(name)} (now {said[name]})" for name in said if known.get(name) != said[name]
            )
            raise OptionError(f"{out}: holds another experiment: {differs}; choose another --out")
    else:
        path.write_text(json.dumps(said, indent=1), "utf-8")


def read(data: Path, plan: Plan, without: Sequence[str], progress: Progress) -> Patches:
    """Every image once. Who learns from it is decided by its content."""
    found = read_classes(data, progress)
    labels = tuple(label for label in found.labels if label not in without)
    items = [item for item in found.items if item.label in labels]
    labelled = np.array([split_of(item.key, item.group, gate=FOR_CLASSES) == "gate" for item in items], bool)
    if len(labels) < 2 or labelled.sum() < 2 * plan.folds or (~labelled).sum() < 2 * plan.folds:
        raise DatasetError(
            f"data set {data}: found {len(items)} images of {len(labels)} classes, expected two classes or more and "
            f"{8 * plan.folds} images at least"
        )
    return Patches(
        np.stack([square(item.image(), plan.size) for item in items]),
        np.array([labels.index(item.label) for item in items], np.int64),
        labelled,
        np.array([_fold(item, plan.folds) for item in items], np.int64),
        labels,
    )


def _fold(item: ClassItem, folds: int) -> int:
    return int((item.group or item.key).encode().hex(), 16) % 1_000_003 % folds


def path_of(out: Path, method: str, fold: int) -> Path:
    """The file of one fold of a method."""
    return out / f"{method.replace(' ', '_')}-{fold}.json"


def one_fold(patches: Patches, plan: Plan, method: str, fold: int, out: Path, progress: Progress) -> None:
    """An auto-encoder, how well it reconstructs cells that it has not seen, and a classifier on its latents."""
    began = time.monotonic()
    options = plan.options(method)
    arithmetic = arithmetic_for("cpu", options.precision)
    learned = ~patches.labelled & (patches.folds != fold)
    pixels = torch.from_numpy(patches.pixels[learned]).permute(0, 3, 1, 2)
    network, epochs = representation.learn(pixels, options, arithmetic, plan.seed + fold, Stage(progress, 0, 8, 10))
    embedder = Embedder(network, options, arithmetic)
    unseen = patches.pixels[~patches.labelled & (patches.folds == fold)]
    l1, ssim = reconstruction(embedder, unseen, options)
    progress.report(9, 10, "classifying")
    latents = embedder.embed(list(patches.pixels[patches.labelled]))
    scores = classification(latents, patches, options, plan)
    found: Mapping[str, Any] = {
        "method": method,
        "fold": fold,
        "l1": l1,
        "ssim": ssim,
        "f1": scores,
        "active_dimensions": representation.active_dimensions(latents),
        "epochs": [dict(one) for one in epochs],
        "seconds": time.monotonic() - began,
    }
    path = path_of(out, method, fold)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(found, indent=1), "utf-8")
    partial.replace(path)


def reconstruction(embedder: Embedder, images: NDArray[np.uint8], options: CellVAEOptions) -> tuple[float, float]:
    """Mean L1 and SSIM inside the cells of images (N, S, S, 3)."""
    found = []
    for image in images:
        shown = as_encoded(torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255, options)
        seen = (shown[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        made = embedder.reconstruct(embedder.embed([image]))[0]
        mask = cell_mask(seen)
        found.append((l1_inside(seen, made, mask), ssim_inside(seen, made, mask)))
    l1, ssim = np.mean(found, axis=0).tolist()
    return l1, ssim


def classification(latents: NDArray[np.float32], patches: Patches, options: CellVAEOptions, plan: Plan) -> list[float]:
    """Macro F1 of the shallow classifier in each fold of the labelled images."""
    classes, folds = patches.classes[patches.labelled], patches.folds[patches.labelled]
    eye = np.eye(len(patches.labels), dtype=np.float32)
    scores = []
    for fold in range(plan.folds):
        others = np.random.default_rng((plan.seed, fold)).permutation(np.flatnonzero(folds != fold))
        cut = round(TUNED * len(others))
        tune, train = others[:cut], others[cut:]
        made = fit_head(
            (latents[train], classes[train]),
            (latents[tune], classes[tune]),
            patches.labels,
            options,
            plan.seed,
            Silent(),
        )
        tested = folds == fold
        said = [Classification(eye[one]) for one in classes[tested]]
        answers = [Classification(row.astype(np.float32)) for row in made.head.probabilities(latents[tested])]
        scores.append(evaluate_classification(said, answers, patches.labels).macro_f1)
    return scores
