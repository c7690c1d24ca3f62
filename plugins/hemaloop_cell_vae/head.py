"""The classifier on stored latents, and what it needs to say how new a cell is: learned in seconds."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import Tensor, nn
from torch.nn import functional as F

from hemaloop.errors import DatasetError, TrainingDiverged
from hemaloop.networks.artifact import round_weights
from hemaloop.plugin import Progress
from hemaloop_cell_vae.network import Classifier
from hemaloop_cell_vae.options import CellVAEOptions

LEARNING_RATE = 0.002
WEIGHT_DECAY = 0.01
BATCH = 64
PATIENCE = 30
"""Epochs without a smaller loss on the tune cells after which a fit ends."""
FEW = 5
"""Cells of a class below which a person is told that there are few."""
HOTTEST = 20.0
LEAST_SPREAD = 1e-3
"""Deviation of a latent dimension below which it is taken for this, so that one that says nothing is not magnified."""

Latents = NDArray[np.float32]
Classes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A classifier in use. temperature: of the calibration. known: float32 (M, D), standardised latents of the labelled
    cells, from which novelty is measured. reach: the distance that is usual between them, > 0.
    """

    classifier: Classifier
    temperature: float
    known: Latents
    reach: float

    @torch.no_grad()
    def probabilities(self, latents: Latents) -> NDArray[np.float64]:
        """Calibrated, (N, C), of latents (N, D)."""
        logits: Tensor = self.classifier(torch.from_numpy(np.ascontiguousarray(latents, np.float32)))
        found: NDArray[np.float64] = torch.softmax(logits.double() / self.temperature, dim=1).numpy()
        return found

    def standardised(self, latents: Latents) -> Latents:
        """Latents in deviations of the labelled cells, (N, D)."""
        centre, scale = self.classifier.centre.numpy(), self.classifier.scale.numpy()
        found: Latents = ((latents - centre) / scale).astype(np.float32)
        return found


def check_learnable(classes: Classes, labels: Sequence[str]) -> tuple[str, ...]:
    """Notes on classes with few cells or none. Raises `DatasetError` where there is nothing to choose between."""
    counts = np.bincount(classes, minlength=len(labels))
    told = ", ".join(f"{label} {count}" for label, count in zip(labels, counts.tolist(), strict=True))
    if not len(classes):
        raise DatasetError("classifier: found no labelled cell, expected some of two classes or more")
    if (counts > 0).sum() < 2:
        raise DatasetError(f"classifier: found one class only ({told}), expected two or more; label cells of another")
    return tuple(
        f"{label}: no training cell has it, so it will never be said"
        if not count
        else f"{label}: only {count} training cell(s), expected {FEW} or more"
        for label, count in zip(labels, counts.tolist(), strict=True)
        if count < FEW
    )


def fit_head(
    train: tuple[Latents, Classes],
    tune: tuple[Latents, Classes],
    labels: Sequence[str],
    options: CellVAEOptions,
    seed: int,
    progress: Progress,
) -> tuple[Head, tuple[Mapping[str, float], ...]]:
    """A new head of latents (N, D) with their classes (N,), and its epochs.

    The epoch of the smallest loss on `tune` is kept, and probabilities are calibrated there; without `tune`, the last
    epoch is, uncalibrated. Raises `DatasetError`, `TrainingDiverged`, `Cancelled`.
    """
    with one_thread():
        return _fitted(train, tune, labels, options, seed, progress)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Layers this small are slower on two threads, and very much so where the cores have other things to do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fitted(
    train: tuple[Latents, Classes],
    tune: tuple[Latents, Classes],
    labels: Sequence[str],
    options: CellVAEOptions,
    seed: int,
    progress: Progress,
) -> tuple[Head, tuple[Mapping[str, float], ...]]:
    latents, classes = torch.from_numpy(train[0].astype(np.float32)), torch.from_numpy(train[1])
    weights = _class_weights(train[1], len(labels), options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = Classifier(latents.shape[1], options.hidden, len(labels), options.dropout)
        classifier.centre.copy_(latents.mean(dim=0))
        classifier.scale.copy_(latents.std(dim=0, correction=0).clamp(min=LEAST_SPREAD))
        epochs = _train(classifier, latents, classes, weights, tune, options, seed, progress)
    classifier.eval().requires_grad_(False)
    round_weights(classifier)
    temperature = _temperature(classifier, *tune) if len(tune[0]) else 1.0
    made = Head(classifier, temperature, np.zeros((0, latents.shape[1]), np.float32), 1.0)
    known = made.standardised(train[0]).astype(np.float16).astype(np.float32)  # as it is saved
    return Head(classifier, temperature, known, usual_distance(known)), epochs


def _train(
    classifier: Classifier,
    latents: Tensor,
    classes: Tensor,
    weights: Tensor,
    tune: tuple[Latents, Classes],
    options: CellVAEOptions,
    seed: int,
    progress: Progress,
) -> tuple[Mapping[str, float], ...]:
    optimizer = torch.optim.AdamW(classifier.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    generator = torch.Generator().manual_seed(seed)
    best, smallest, stagnant = copy.deepcopy(classifier.state_dict()), float("inf"), 0
    told: list[Mapping[str, float]] = []
    for epoch in range(options.head_epochs):
        progress.report(epoch, options.head_epochs, f"classifier: epoch {epoch + 1}")
        classifier.train()
        total = 0.0
        for part in torch.split(torch.randperm(len(latents), generator=generator), BATCH):
            loss = F.cross_entropy(classifier(latents[part]), classes[part], weights)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(loss.detach()) * len(part)
        figures = {"head_epoch": epoch + 1.0, "head_loss": total / len(latents)}
        if not np.isfinite(figures["head_loss"]):
            raise TrainingDiverged(f"classifier, epoch {epoch + 1}: the loss is {figures['head_loss']}")
        if len(tune[0]):
            figures["head_tune_loss"] = _tune_loss(classifier, tune, weights)
            if figures["head_tune_loss"] < smallest:
                best, smallest, stagnant = copy.deepcopy(classifier.state_dict()), figures["head_tune_loss"], 0
            else:
                stagnant += 1
        told.append(figures)
        if stagnant >= PATIENCE:
            break
    if len(tune[0]):
        classifier.load_state_dict(best)
    return tuple(told)


@torch.no_grad()
def _tune_loss(classifier: nn.Module, tune: tuple[Latents, Classes], weights: Tensor) -> float:
    classifier.eval()
    logits = classifier(torch.from_numpy(tune[0].astype(np.float32)))
    return float(F.cross_entropy(logits, torch.from_numpy(tune[1]), weights.clamp(min=1e-3)))


def _class_weights(classes: Classes, count: int, options: CellVAEOptions) -> Tensor:
    """Of each class in the loss, mean 1 over the cells; "balanced": the inverse of its share."""
    counts = np.bincount(classes, minlength=count)
    weights: NDArray[np.float64] = np.ones(count)
    if options.class_weights == "balanced":
        weights = np.where(counts > 0, len(classes) / np.maximum(counts, 1) / max(1, (counts > 0).sum()), 0.0)
    return torch.from_numpy(weights.astype(np.float32))


@torch.no_grad()
def _temperature(classifier: nn.Module, latents: Latents, classes: Classes) -> float:
    """1 or more, of the smallest negative log likelihood on the tune cells (Guo et al. 2017)."""
    logits = classifier(torch.from_numpy(latents.astype(np.float32))).double().numpy()  # (N, C)

    def surprise(logarithm: float) -> float:
        return -float(log_softmax(logits / np.exp(logarithm), axis=1)[np.arange(len(classes)), classes].mean())

    found = minimize_scalar(surprise, bounds=(0.0, float(np.log(HOTTEST))), method="bounded")
    return float(np.exp(found.x))


def usual_distance(known: Latents) -> float:
    """The median distance of labelled cells to the nearest other one, (M, D) standardised; 1 where there is none."""
    if len(known) < 2:
        return 1.0
    distances = torch.cdist(torch.from_numpy(known), torch.from_numpy(known))
    distances.fill_diagonal_(float("inf"))
    return max(float(distances.amin(dim=1).median()), 1e-6)
