"""From patches to a representation, from labelled vectors to a classifier, and both in one."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

import numpy as np

from hemaloop.errors import DatasetError
from hemaloop.evaluation.classification import evaluate_classification
from hemaloop.networks.arithmetic import arithmetic_for
from hemaloop.plugin import Classification, Embedded, Example, FitReport, Image, Prediction, Progress
from hemaloop.stages import Stage
from hemaloop_cell_vae import representation
from hemaloop_cell_vae.head import Classes, Latents, check_learnable, fit_head
from hemaloop_cell_vae.model import Model
from hemaloop_cell_vae.options import CellVAEOptions
from hemaloop_cell_vae.patches import read_patches

LOOKED_AT = 512
"""Images of which a collapse of the latent space is looked for."""


class Images(Sequence[Image]):
    """The images of examples, each decoded when it is asked for."""

    def __init__(self, *parts: Sequence[Example]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        for part in self._parts:
            if index < len(part):
                return part[index].image
            index -= len(part)
        raise IndexError(index)


def learn(
    labels: tuple[str, ...],
    options: CellVAEOptions,
    device: str,
    seed: int,
    images: Sequence[Image],
    progress: Progress,
) -> tuple[Model, FitReport]:
    """A new representation without a head. Raises `DatasetError`, `TrainingDiverged`, `Cancelled`."""
    begun = monotonic()
    patches = read_patches(images, options.image_size, options.max_images, seed, progress)
    arithmetic = arithmetic_for(device, options.precision)
    network, epochs = representation.learn(patches.pixels, options, arithmetic, seed, progress)
    model = Model(network, labels, options, device, None)
    looked = model.embed([one.permute(1, 2, 0).contiguous().numpy() for one in patches.pixels[:LOOKED_AT]])
    active = representation.active_dimensions(looked)
    notes = (*patches.notes, *representation.collapse_note(looked))
    figures = {"active_dimensions": float(active), "images": float(len(patches))}
    return model, FitReport(epochs, figures, notes, monotonic() - begun)


def head_of(
    model: Model,
    labels: tuple[str, ...],
    options: CellVAEOptions,
    seed: int,
    train: Sequence[Embedded],
    tune: Sequence[Embedded],
    progress: Progress,
) -> tuple[Model, FitReport]:
    """The representation of `model` with a new head. Raises `DatasetError`, `TrainingDiverged`, `Cancelled`."""
    begun = monotonic()
    learned, checked = _arrays(train, len(labels)), _arrays(tune, len(labels))
    notes = check_learnable(learned[1], labels)
    if not len(tune):
        notes += ("no tune cell: probabilities are not calibrated",)
    made = fit_head(learned, checked, labels, options, seed, progress)
    fitted = model.with_head(made.head, labels, options)
    figures = {"temperature": made.head.temperature, "reach": made.head.reach}
    if made.tuned is not None:
        said = [one.truth for one in tune if isinstance(one.truth, Classification)]
        found = [Classification(row.astype(np.float32)) for row in made.tuned]
        report = evaluate_classification(said, found, labels)
        figures |= {"accuracy": report.accuracy, "macro_f1": report.macro_f1}
    return fitted, FitReport(made.epochs, figures, notes, monotonic() - begun)


def fit(
    labels: tuple[str, ...],
    options: CellVAEOptions,
    device: str,
    seed: int,
    train: Sequence[Example],
    tune: Sequence[Example],
    progress: Progress,
) -> tuple[Model, FitReport]:
    """Both: the representation from the images of train and tune, without their labels, then the head from these."""
    begun = monotonic()
    if not len(train):
        raise DatasetError("training set: found no image; label some of two classes or more and train again")
    model, first = learn(labels, options, device, seed, Images(train, tune), Stage(progress, 0, 8, 10))
    vectors = [embedded(model, part, Stage(progress, 8, 9, 10)) for part in (train, tune)]
    fitted, second = head_of(model, labels, options, seed, vectors[0], vectors[1], Stage(progress, 9, 10, 10))
    report = FitReport(
        (*first.epochs, *second.epochs),
        {**first.figures, **second.figures},
        (*first.notes, *second.notes),
        monotonic() - begun,
    )
    return fitted, report


def embedded(model: Model, examples: Sequence[Example], progress: Progress) -> list[Embedded]:
    """Each example's vector, a few images in memory at a time."""
    found: list[Embedded] = []
    for start in range(0, len(examples), 64):
        progress.report(start, len(examples), "embedding")
        part = [examples[index] for index in range(start, min(start + 64, len(examples)))]
        vectors = model.embed([one.image for one in part])
        found += [Embedded(vector, one.truth, one.key) for vector, one in zip(vectors, part, strict=True)]
    return found


def _arrays(examples: Sequence[Embedded], classes: int) -> tuple[Latents, Classes]:
    """Vectors (N, D) and classes (N,). Raises `DatasetError` naming a truth that is not one class."""
    said = [_label(example.truth, example.key, classes) for example in examples]
    vectors = np.stack([example.embedding for example in examples]) if len(examples) else np.zeros((0, 0), np.float32)
    return vectors, np.array(said, np.int64)


def _label(truth: Prediction, key: str, classes: int) -> int:
    if not isinstance(truth, Classification):
        raise DatasetError(f"image {key}: found truth of type {type(truth).__name__}, expected Classification")
    shares = truth.probabilities
    if shares.shape != (classes,) or not np.isfinite(shares).all() or (shares == 1).sum() != 1 or shares.sum() != 1:
        raise DatasetError(
            f"image {key}: found {shares.tolist()} as its truth, expected 1 for one of {classes} classes and 0 for the "
            "others"
        )
    return int(shares.argmax())
