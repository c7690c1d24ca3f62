"""The classifier on stored latents, and what it needs to say how new a cell is: learned in seconds."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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
from hemaloop.stages import Stage
from hemaloop_cell_vae.network import Classifier
from hemaloop_cell_vae.options import CellVAEOptions

LEARNING_RATE = 0.002
"""At its highest; it falls along a cosine."""
WEIGHT_DECAY = 0.3
BATCH = 64
STEPS = 1000
"""At most: of many cells, fewer epochs are as good and take no longer."""
FEW = 5
"""Cells of a class below which a person is told that there are few."""
TEMPERATURES = (0.5, 20.0)
"""Among which a calibration looks. Mixed cells leave a classifier too modest; a few tune cells that are all right do
not say how sure it may be, hence the lower end.
"""
SAME = 0.01
"""Of the median distance between labelled cells: nearer ones are the same image."""
LEAST_SPREAD = 0.05
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


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What came of a fit. tuned: calibrated probabilities (T, C) of the tune cells by a classifier that has not learned
    from them, None where there are none.
    """

    head: Head
    epochs: tuple[Mapping[str, float], ...]
    tuned: NDArray[np.float64] | None


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
) -> Fitted:
    """A new head of latents (N, D) with their classes (N,).

    Probabilities are calibrated on `tune` with a classifier of `train` alone; the one that is kept learns from both,
    because of few cells each counts. Without `tune` it is not calibrated. Raises `DatasetError`, `TrainingDiverged`,
    `Cancelled`.
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
) -> Fitted:
    cells, classes = train
    temperature, tuned = 1.0, None
    if len(tune[0]):
        trial, _ = _learned(cells, classes, len(labels), options, seed, Stage(progress, 0, 1, 2))
        temperature = _temperature(trial, *tune)
        tuned = _knowing_no_cell(trial, temperature).probabilities(tune[0])
        cells, classes = np.concatenate([cells, tune[0]]), np.concatenate([classes, tune[1]])
    classifier, epochs = _learned(
        cells, classes, len(labels), options, seed, Stage(progress, int(tuned is not None), 2, 2)
    )
    made = _knowing_no_cell(classifier, temperature)
    known = made.standardised(cells).astype(np.float16).astype(np.float32)  # as it is saved
    return Fitted(replace(made, known=known, reach=usual_distance(known)), epochs, tuned)


def _knowing_no_cell(classifier: Classifier, temperature: float) -> Head:
    return Head(classifier, temperature, np.zeros((0, len(classifier.centre)), np.float32), 1.0)


def _learned(
    cells: Latents, classes: Classes, count: int, options: CellVAEOptions, seed: int, progress: Progress
) -> tuple[Classifier, tuple[Mapping[str, float], ...]]:
    """A classifier in use, its weights rounded, and the loss of each epoch."""
    latents = torch.from_numpy(cells.astype(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = Classifier(latents.shape[1], options.hidden, count, options.dropout)
        classifier.centre.copy_(latents.mean(dim=0))
        classifier.scale.copy_(latents.std(dim=0, correction=0).clamp(min=LEAST_SPREAD))
        epochs = _train(
            classifier, latents, torch.from_numpy(classes), _class_weights(classes, count, options), options, progress
        )
    classifier.eval().requires_grad_(False)
    round_weights(classifier)
    return classifier, epochs


def _train(
    classifier: Classifier,
    latents: Tensor,
    classes: Tensor,
    weights: Tensor,
    options: CellVAEOptions,
    progress: Progress,
) -> tuple[Mapping[str, float], ...]:
    """Of mixed cells: Zhang et al. 2018, "mixup: Beyond empirical risk minimization", with α = 1, on latents."""
    optimizer = torch.optim.AdamW(classifier.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    epochs = max(1, min(options.head_epochs, STEPS // math.ceil(len(latents) / BATCH)))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    wanted = F.one_hot(classes, len(weights)).float()
    told: list[Mapping[str, float]] = []
    classifier.train()
    for epoch in range(epochs):
        progress.report(epoch, epochs, f"classifier: epoch {epoch + 1}")
        total = 0.0
        for part in torch.split(torch.randperm(len(latents)), BATCH):
            other, share = part[torch.randperm(len(part))], torch.rand(len(part), 1)
            shown, said = (share * of[part] + (1 - share) * of[other] for of in (latents, wanted))
            loss = F.cross_entropy(classifier(shown), said, weights)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(loss.detach()) * len(part)
        schedule.step()
        figures = {"head_epoch": epoch + 1.0, "head_loss": total / len(latents)}
        if not np.isfinite(figures["head_loss"]):
            raise TrainingDiverged(f"classifier, epoch {epoch + 1}: the loss is {figures['head_loss']}")
        told.append(figures)
    return tuple(told)


def _class_weights(classes: Classes, count: int, options: CellVAEOptions) -> Tensor:
    """Of each class in the loss, mean 1 over the cells; "balanced": the inverse of its share."""
    counts = np.bincount(classes, minlength=count)
    weights: NDArray[np.float64] = np.ones(count)
    if options.class_weights == "balanced":
        weights = np.where(counts > 0, len(classes) / np.maximum(counts, 1) / max(1, (counts > 0).sum()), 0.0)
    return torch.from_numpy(weights.astype(np.float32))


@torch.no_grad()
def _temperature(classifier: nn.Module, latents: Latents, classes: Classes) -> float:
    """Of the smallest negative log likelihood on the tune cells (Guo et al. 2017)."""
    logits = classifier(torch.from_numpy(latents.astype(np.float32))).double().numpy()  # (N, C)

    def surprise(logarithm: float) -> float:
        return -float(log_softmax(logits / np.exp(logarithm), axis=1)[np.arange(len(classes)), classes].mean())

    found = minimize_scalar(surprise, bounds=np.log(TEMPERATURES).tolist(), method="bounded")
    return float(np.exp(found.x))


def usual_distance(known: Latents) -> float:
    """The median distance of labelled cells to the nearest other one, (M, D) standardised; 1 where there is none.

    Cells so near that they are one image twice are no other ones.
    """
    if len(known) < 2:
        return 1.0
    distances = torch.cdist(torch.from_numpy(known), torch.from_numpy(known)).fill_diagonal_(float("nan"))
    distances[distances <= SAME * distances.nanmedian()] = float("nan")
    nearest = distances.nan_to_num(float("inf")).amin(dim=1)
    nearest = nearest[nearest.isfinite()]
    return max(float(nearest.median()), 1e-6) if len(nearest) else 1.0
