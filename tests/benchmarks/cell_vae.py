"""How well a shallow classifier tells ten cell types apart on representations learned without a label.

Each method and seed is one run and one file, so that a run that was broken off goes on with what is missing:

    PYTHONPATH=tests python -m benchmarks.cell_vae --data ../shared/data/pbc --out reports/cell_vae \
        --methods none,sampled,rae,agreement,supervised --seeds 0,1,2

Images go to train, tune or gate by their hash (`dataset.split_of`). Representations are learned from all images of
train, without labels; classifiers from so many of them a class; validation is on tune, testing on gate.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.nn import functional as F

from hemaloop.dataset import split_of
from hemaloop.evaluation.classification import evaluate_classification
from hemaloop.formats.classes import read_classes
from hemaloop.networks.arithmetic import arithmetic_for
from hemaloop.plugin import Classification, Silent
from hemaloop_cell_vae import representation, views
from hemaloop_cell_vae.embedding import Embedder
from hemaloop_cell_vae.experiment.grid import EVERYTHING
from hemaloop_cell_vae.head import fit_head
from hemaloop_cell_vae.network import ENCODED, Architecture, AutoEncoder, placed
from hemaloop_cell_vae.options import CellVAEOptions
from hemaloop_cell_vae.patches import square

METHODS: Mapping[str, Mapping[str, Any]] = {
    "none": EVERYTHING["VAE-256"],
    "sampled": EVERYTHING["sampled 50"],
    "sampled90": EVERYTHING["sampled 90"],
    "rae": EVERYTHING["RAE-1024"],
    "noise": EVERYTHING["noise 100"],
    "learned": EVERYTHING["learned penalty"],
    "crop": EVERYTHING["medium 5"],
    "agreement": EVERYTHING["sampled 50 agreement"],
}
"""Names here, and the configurations of `hemaloop experiment suppression` that they stand for."""
LABELS_A_CLASS = {"20": 20, "100": 100, "all": None}
SUPERVISED_EPOCHS = {"20": 60, "100": 24, "all": 20}


def patches(data: Path, out: Path, size: int) -> dict[str, np.ndarray]:
    """Squares, classes and splits of a folder of classes without platelets, kept for the next run."""
    path = out / f"patches-{size}.npz"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        found = read_classes(data)
        labels = sorted(label for label in found.labels if label != "PLATELET")
        items = [item for item in found.items if item.label in labels]
        np.savez(
            path,
            pixels=np.stack([square(item.image(), size) for item in items]),
            classes=np.array([labels.index(item.label) for item in items]),
            splits=np.array([split_of(item.key) for item in items]),
            labels=np.array(labels),
        )
    with np.load(path) as kept:
        return dict(kept)


def drawn(data: Mapping[str, np.ndarray], count: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of labelled images, so many a class of train; a fifth of them chooses the epoch."""
    learn, tune = [], []
    for label in range(len(data["labels"])):
        places = np.flatnonzero((data["classes"] == label) & (data["splits"] == "train"))
        chosen = np.random.default_rng((seed, label)).permutation(places)[:count]
        cut = len(chosen) // 5
        tune.append(chosen[:cut])
        learn.append(chosen[cut:])
    return np.concatenate(learn), np.concatenate(tune)


def figures(data: Mapping[str, np.ndarray], shares: np.ndarray) -> dict[str, float]:
    """Macro F1 on tune and gate of probabilities (N, C) of all images."""
    eye = np.eye(len(data["labels"]), dtype=np.float32)
    told = {}
    for split, name in (("tune", "validation"), ("gate", "test")):
        places = data["splits"] == split
        truths = [Classification(eye[one]) for one in data["classes"][places]]
        found = [Classification(one.astype(np.float32)) for one in shares[places]]
        told[name] = evaluate_classification(truths, found, [str(one) for one in data["labels"]]).macro_f1
    return told


def learned_representation(
    data: Mapping[str, np.ndarray], options: CellVAEOptions, seed: int
) -> tuple[AutoEncoder, list[dict[str, float]], float]:
    """From the images of train, without a label."""
    began = time.process_time()
    pixels = torch.from_numpy(data["pixels"][data["splits"] == "train"]).permute(0, 3, 1, 2)
    network, epochs = representation.learn(pixels, options, arithmetic_for("cpu", "auto"), seed, Silent())
    return network, [dict(one) for one in epochs], time.process_time() - began


def run(data: Mapping[str, np.ndarray], method: str, seed: int, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """One representation and the classifiers on it."""
    options = CellVAEOptions(**{**fixed, **METHODS[method]})
    network, epochs, seconds = learned_representation(data, options, seed)
    labels = [str(one) for one in data["labels"]]
    told: dict[str, Any] = {"method": method, "seed": seed, "options": options.model_dump(), "cpu_seconds": seconds}
    told["epochs"] = epochs
    for sides in (1, 4):
        looking = Embedder(network, options.model_copy(update={"views": sides}), arithmetic_for("cpu", "auto"))
        latents = looking.embed(list(data["pixels"]))
        told[f"active/{sides}"] = representation.active_dimensions(latents)
        for name, count in LABELS_A_CLASS.items():
            learn, tune = drawn(data, count, seed)
            pairs = [(latents[part], data["classes"][part]) for part in (learn, tune)]
            made = fit_head(pairs[0], pairs[1], labels, options, seed, Silent())
            told[f"{name}/{sides}"] = figures(data, made.head.probabilities(latents))
    return told


def supervised(data: Mapping[str, np.ndarray], seed: int, name: str, size: int) -> dict[str, Any]:
    """A ResNet-18 that learns from the same labels, all of them, from random weights and with turned views."""
    began = time.process_time()
    torch.manual_seed(seed)
    learn, tune = drawn(data, LABELS_A_CLASS[name], seed)
    places = np.concatenate([learn, tune])
    arithmetic = arithmetic_for("cpu", "auto")
    encoder = placed(AutoEncoder(Architecture(size, len(data["labels"]), variational=False)), arithmetic)
    pixels = torch.from_numpy(data["pixels"]).permute(0, 3, 1, 2)
    classes = torch.from_numpy(data["classes"])
    trained = [*encoder.encoder.parameters(), *encoder.mean.parameters()]
    assert encoder.mean.in_features == ENCODED
    optimizer = torch.optim.Adam(trained, 1e-3, fused=True)
    epochs = SUPERVISED_EPOCHS[name]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    generator = torch.Generator().manual_seed(seed)
    encoder.train()
    for _ in range(epochs):
        order = torch.from_numpy(places)[torch.randperm(len(places), generator=generator)]
        for part in order.split(32):
            shown = views.turned(pixels[part].float() / 255, generator)
            loss = F.cross_entropy(encoder.encode(shown, arithmetic)[0], classes[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    encoder.eval()
    with torch.no_grad():
        logits = torch.cat([encoder.encode(part.float() / 255, arithmetic)[0] for part in pixels.split(64)])
    found = figures(data, torch.softmax(logits, dim=1).numpy())
    return {"method": "supervised", "seed": seed, name: found, "cpu_seconds": time.process_time() - began}


def main() -> None:
    """Do the runs that have no file yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", default="none,sampled,rae,agreement,supervised")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--counts", default=",".join(LABELS_A_CLASS), help="labels a class of the supervised network")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--option", action="append", default=[], help="name=value, of every representation")
    parser.add_argument("--tag", default="", help="in the files' names, for trying options")
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = patches(given.data, given.out, given.size)
    fixed = {"image_size": given.size, "epochs": given.epochs, **dict(one.split("=") for one in given.option)}
    for seed in map(int, given.seeds.split(",")):
        for method in given.methods.split(","):
            for name in given.counts.split(",") if method == "supervised" else ("",):
                path = given.out / f"{method}{name}-{seed}{given.tag}.json"
                if path.exists():
                    continue
                found = supervised(data, seed, name, given.size) if name else run(data, method, seed, fixed)
                path.write_text(json.dumps(found, indent=1))
                Console().print(
                    path.name, {key: one for key, one in found.items() if key.split("/")[0] in LABELS_A_CLASS}
                )


if __name__ == "__main__":
    main()
