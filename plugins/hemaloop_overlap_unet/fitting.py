"""From corrected images to a model: the sentence that a training is.

read the truth → take the free-standing cells → build a network → train it on composed pictures → round its weights →
measure it on pictures composed of the tune images, and on their real overlaps
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hemaloop.errors import StoreError
from hemaloop.evaluation.segmentation import confusion, evaluate_maps, iou_of
from hemaloop.networks.arithmetic import arithmetic_for
from hemaloop.networks.artifact import fill, round_weights
from hemaloop.plugin import UNKNOWN, ClassMap, Example, FitReport, Progress
from hemaloop_overlap_unet import STARTER
from hemaloop_overlap_unet.artifact import WEIGHTS, Description
from hemaloop_overlap_unet.augment import MAGNIFICATION, augmented
from hemaloop_overlap_unet.compose import Mixture, Sample, compose
from hemaloop_overlap_unet.inference import Look
from hemaloop_overlap_unet.meaning import Meaning
from hemaloop_overlap_unet.model import Model
from hemaloop_overlap_unet.network import Architecture, build
from hemaloop_overlap_unet.options import VERSION, OverlapUNetOptions
from hemaloop_overlap_unet.sources import Source, usable
from hemaloop_overlap_unet.training import Course, train
from hemaloop_overlap_unet.truth import TrainingSet, read_sources, read_training_set, truth_classes

CHECKED = 32
"""Pictures composed of the tune images to measure on."""
ROOM = 1.3
"""Side of what is composed, of that of a training picture, so that turning and shrinking finds something to show."""


def mixture_of(options: OverlapUNetOptions) -> Mixture:
    """How often what is drawn."""
    return Mixture(options.rouleaux, options.real, options.absorb, options.foreign, options.uneven)


def fit(
    labels: tuple[str, ...],
    meaning: Meaning,
    options: OverlapUNetOptions,
    device: str,
    seed: int,
    train_set: Sequence[Example],
    tune: Sequence[Example],
    progress: Progress,
) -> tuple[Model, FitReport]:
    """A new model and what happened. Raises `DatasetError`, `StoreError`, `TrainingDiverged`, `Cancelled`."""
    begun = monotonic()
    progress.report(0, 1, "reading the masks")
    data = read_training_set(train_set, meaning, options.diameter)
    tuned = [truth_classes(tune[index], meaning) for index in range(len(tune))]
    arithmetic = arithmetic_for(device, options.precision)
    architecture = Architecture(options.encoder, options.depth, options.decoder)
    seconds = options.max_minutes and options.max_minutes * 60
    course = Course(options.pictures, options.batch_size, options.learning_rate, seconds, options.dice)
    # torch draws first weights from its global generator: it is put back as it was
    with torch.random.fork_rng(devices=[arithmetic.device] if arithmetic.device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = _initial_network(architecture, options)
        epochs = train(network, lambda number: _picture(data, options, seed, number), course, arithmetic, progress)
    network = network.cpu().eval()
    round_weights(network)
    description = Description(
        version=VERSION,
        kind="unet",
        labels=labels,
        encoder=options.encoder,
        depth=options.depth,
        decoder=options.decoder,
        diameter=options.diameter,
        centres=True,
    )
    model = Model(network, description, meaning, options, device)
    figures, notes = measure(model, tune, tuned, data, meaning, options, seed)
    return model, FitReport(epochs, figures, data.notes + notes, monotonic() - begun, _inherited(options))


def _picture(data: TrainingSet, options: OverlapUNetOptions, seed: int, number: int) -> Sample:
    rng = np.random.default_rng((seed, number))
    wide = round(options.window * ROOM * max(1.0, 1 / MAGNIFICATION[0] / ROOM))
    sample = compose(data.sources, data.pieces, data.real, mixture_of(options), wide, options.diameter, rng)
    return augmented(sample, options.window, rng)


def _initial_network(architecture: Architecture, options: OverlapUNetOptions) -> nn.Module:
    network = build(architecture, pretrained=options.weights == "imagenet")
    if options.weights not in ("none", "imagenet"):
        path = STARTER / WEIGHTS if options.weights == "starter" else Path(options.weights)
        if not path.is_file():
            raise StoreError(
                f"weights {options.weights!r}: no such file; expected none, imagenet, starter, or the path of a "
                ".safetensors file"
            )
        fill(network, path)
    return network


def _inherited(options: OverlapUNetOptions) -> tuple[str, ...]:
    """Keys of the images that the starting weights had learned from, as far as they are known."""
    if options.weights != "starter":
        return ()
    return tuple(json.loads((STARTER / "trained_on.json").read_text(encoding="utf-8")))


def measure(
    model: Model,
    tune: Sequence[Example],
    tuned: Sequence[NDArray[np.uint8]],
    data: TrainingSet,
    meaning: Meaning,
    options: OverlapUNetOptions,
    seed: int,
) -> tuple[dict[str, float], tuple[str, ...]]:
    """IoU on artificial overlaps composed of the tune images alone, and on those images as they are."""
    if not len(tune):
        return {}, ("no tune image: nothing was measured",)
    figures: dict[str, float] = {}
    sources = usable(read_sources(tune, meaning, options.diameter)[0])
    if sources:
        figures |= artificial_figures(model, sources, data, options, seed)
    notes: tuple[str, ...] = (
        () if sources else ("no free-standing cell on a tune image: artificial overlaps were not measured",)
    )
    if any((classes == 2).any() for classes in tuned):
        found = [meaning.classes(model.predict(tune[index].image).labels) for index in range(len(tune))]
        report = evaluate_maps(list(map(ClassMap, tuned)), list(map(ClassMap, found)), ("cell", "overlap"))
        figures |= {f"real_{name}": value for name, value in report.figures().items()}
    return figures, notes


def artificial_figures(
    model: Model, sources: Sequence[Source], data: TrainingSet, options: OverlapUNetOptions, seed: int
) -> dict[str, float]:
    """Pooled IoU of background, cells and overlaps on `CHECKED` pictures composed as in training, stain unchanged."""
    counts = np.zeros((3, 3), np.int64)
    finder = model.finder
    for number in range(CHECKED):
        rng = np.random.default_rng((seed, number, 1))
        mixture = replace(mixture_of(options), real=0.0, uneven=0.0)
        sample = compose(sources, data.pieces, (), mixture, options.window, options.diameter, rng)
        found = finder.see(Look(sample.pixels, options.diameter, 1.0)).classes.argmax(axis=0)
        known = sample.classes != UNKNOWN
        counts += confusion(sample.classes[known], found[known].astype(np.uint8), 3)
    background, cell, overlap = iou_of(counts).tolist()
    return {
        "artificial_iou/background": background,
        "artificial_iou/cell": cell,
        "artificial_iou/overlap": overlap,
        "artificial_mean_iou": float(np.mean([background, cell, overlap])),
    }
