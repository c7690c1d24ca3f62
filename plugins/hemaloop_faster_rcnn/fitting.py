"""From labelled smears to a model: the sentence that a training is.

read the truth → build a network → train it → round its weights → measure it on the tune images → choose thresholds
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from torch import nn

from hemaloop.evaluation.detection import evaluate_detections
from hemaloop.plugin import Detections, Example, FitReport, Progress
from hemaloop.unlabelled import uncovered_share, unlabelled_looking
from hemaloop_faster_rcnn.arithmetic import arithmetic_for
from hemaloop_faster_rcnn.artifact import WEIGHTS, Description, round_weights
from hemaloop_faster_rcnn.detector import Architecture, build, freeze_backbone
from hemaloop_faster_rcnn.model import Model
from hemaloop_faster_rcnn.options import VERSION, FasterRCNNOptions
from hemaloop_faster_rcnn.pretrained import apply_weights, read_weights
from hemaloop_faster_rcnn.recipe import recipe_of
from hemaloop_faster_rcnn.thresholds import fit_thresholds, operating_thresholds
from hemaloop_faster_rcnn.training import train as train_network
from hemaloop_faster_rcnn.truth import BARE, Smear, checked_truth, read_training_set

STARTER_WEIGHTS = Path(__file__).parent / "starter" / "cbc" / WEIGHTS


def fit(
    labels: tuple[str, ...],
    options: FasterRCNNOptions,
    device: str,
    seed: int,
    train: Sequence[Example],
    tune: Sequence[Example],
    progress: Progress,
) -> tuple[Model, FitReport]:
    """A new model and what happened.

    Raises `DatasetError`, `StoreError` for weights that cannot be had, `TrainingDiverged`, `Cancelled`.
    """
    begun = monotonic()
    recipe = recipe_of(options)
    arithmetic = arithmetic_for(device, options.precision)
    longest_use = round(recipe.image_size * max(1.0, recipe.exploring.zoom[1], recipe.settling.zoom[1]))
    data = read_training_set(train, labels, longest_use)
    for index in range(len(tune)):
        checked_truth(tune[index], len(labels))
    pretrained = options.weights in ("imagenet", "coco")
    architecture = Architecture(options.backbone, len(labels), "frozen" if pretrained else "batch")
    # torchvision draws its proposals and first weights from torch's global generator: it is put back as it was
    with torch.random.fork_rng(devices=[arithmetic.device] if arithmetic.device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = _initial_network(architecture, options).to(arithmetic.device)
        epochs = train_network(network, data.smears, recipe, arithmetic, seed, options.max_minutes, progress)
    network = network.cpu().eval()
    round_weights(network)
    description = Description(
        version=VERSION,
        labels=labels,
        backbone=options.backbone,
        normalisation=architecture.normalisation,
        image_size=recipe.image_size,
        cell_side=usual_side(data.smears, recipe.image_size),
    )
    model = Model(network, description, options, device)
    figures, thresholds, notes = measure(model, tune, labels, options)
    if thresholds:
        model = Model(network, description.model_copy(update={"thresholds": thresholds}), options, device)
    return model, FitReport(epochs, figures, data.notes + notes, monotonic() - begun)


def usual_side(smears: Sequence[Smear], image_size: int) -> float:
    """Median over all boxes of the square root of their area, px of images whose shorter side is `image_size`."""
    sides = [
        np.sqrt(np.prod(smear.boxes[:, 2:] - smear.boxes[:, :2], axis=1)) * image_size / min(smear.pixels.shape[:2])
        for smear in smears
    ]
    return round(float(np.median(np.concatenate(sides))), 2)


def _initial_network(architecture: Architecture, options: FasterRCNNOptions) -> nn.Module:
    network = build(architecture, options.nms, options.score_floor)
    if options.weights != "none":
        source = str(STARTER_WEIGHTS) if options.weights == "starter" else options.weights
        apply_weights(network, read_weights(options.backbone, source), options.weights)
    if options.frozen_backbone:
        freeze_backbone(network)
    return network


def measure(
    model: Model, tune: Sequence[Example], labels: tuple[str, ...], options: FasterRCNNOptions
) -> tuple[dict[str, float], dict[str, float], tuple[str, ...]]:
    """Figures on the tune images, the thresholds of best F1 there, and what a person should know."""
    if not len(tune):
        return {}, {}, ("no tune image: nothing was measured, thresholds are the paper's",)
    truths: list[Detections] = []
    found: list[Detections] = []
    bare: list[bool] = []
    for index in range(len(tune)):
        example = tune[index]
        truths.append(checked_truth(example, len(labels)))
        found += model.find([example.image])
        bare.append(uncovered_share(example.image, truths[-1]) > BARE)
    skipped = {suspicion.index for suspicion in unlabelled_looking(truths, labels) if bare[suspicion.index]}
    truths, found = ([one for index, one in enumerate(each) if index not in skipped] for each in (truths, found))
    thresholds = fit_thresholds(truths, found, labels)
    operating = operating_thresholds(labels, options, thresholds)
    report = evaluate_detections(truths, found, labels, operating, coco=False)
    notes = tuple(
        f"{label}: no hit on a tune image, so its threshold is the paper's"
        for label in labels
        if options.thresholds == "fit" and label not in thresholds
    )
    if skipped:
        notes += (f"{len(skipped)} tune images look full of cells without boxes; nothing was measured on them",)
    return report.figures(), thresholds, notes
