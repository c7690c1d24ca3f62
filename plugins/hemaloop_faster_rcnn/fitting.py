"""From labelled smears to a model: the sentence that a training is.

read the truth → build a network → train it → round its weights → measure it on the tune images → choose thresholds
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hemaloop.errors import OptionError
from hemaloop.evaluation.detection import evaluate_detections
from hemaloop.evaluation.ignored import judged_of_each
from hemaloop.networks.arithmetic import Arithmetic, arithmetic_for
from hemaloop.networks.artifact import round_weights
from hemaloop.plugin import Detections, Example, FitReport, Progress
from hemaloop.stages import Stage
from hemaloop.unlabelled import unlabelled_looking
from hemaloop_faster_rcnn import STARTER
from hemaloop_faster_rcnn.arithmetic import Mixed, reduce_heavy_parts, unwrap
from hemaloop_faster_rcnn.artifact import WEIGHTS, Description
from hemaloop_faster_rcnn.detector import Architecture, build, freeze_backbone, renew_box_head
from hemaloop_faster_rcnn.kept import KeptFeatures, keep_features
from hemaloop_faster_rcnn.model import Model
from hemaloop_faster_rcnn.options import STOCHASTIC, VERSION, FasterRCNNOptions
from hemaloop_faster_rcnn.pretrained import apply_weights, read_weights
from hemaloop_faster_rcnn.recipe import Recipe, recipe_of
from hemaloop_faster_rcnn.thresholds import fit_thresholds, operating_thresholds
from hemaloop_faster_rcnn.training import Pictures, schedule_of
from hemaloop_faster_rcnn.training import train as train_network
from hemaloop_faster_rcnn.truth import Smear, checked_truth, looks_bare, read_training_set


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

    Raises `DatasetError`, `StoreError` for weights that cannot be had, `TrainingDiverged`, `Cancelled`, and
    `OptionError` where the model could not be scored as the options ask.
    """
    begun = monotonic()
    if options.relevance in STOCHASTIC and not options.dropout:
        raise OptionError(
            f"options of 'faster_rcnn': relevance {options.relevance!r} needs stochastic passes, found dropout 0; set "
            "dropout=0.2, or choose relevance doubt, entropy, margin or random"
        )
    recipe = recipe_of(options)
    arithmetic = arithmetic_for(device, options.precision)
    longest_use = round(recipe.image_size * max(1.0, recipe.exploring.zoom[1], recipe.settling.zoom[1]))
    data = read_training_set(train, labels, longest_use)
    for index in range(len(tune)):
        checked_truth(tune[index], len(labels))
    pretrained = options.weights in ("imagenet", "coco")
    architecture = Architecture(options.backbone, len(labels), "frozen" if pretrained else "batch", options.dropout)
    # torchvision draws its proposals and first weights from torch's global generator: it is put back as it was
    with torch.random.fork_rng(devices=[arithmetic.device] if arithmetic.device.type == "cuda" else []):
        torch.manual_seed(seed)
        network, anew = _initial_network(architecture, options)
        network = network.to(arithmetic.device)
        epochs = learn(network, data.smears, recipe, arithmetic, seed, options.max_minutes, progress)
    network = network.cpu().eval()
    round_weights(network)
    description = Description(
        version=VERSION,
        labels=labels,
        backbone=options.backbone,
        normalisation=architecture.normalisation,
        image_size=recipe.image_size,
        cell_side=usual_side(data.smears, recipe.image_size),
        dropout=options.dropout,
        boxes=box_counts(data.smears, labels),
    )
    model = Model(network, description, options, device)
    figures, thresholds, notes = measure(model, tune, labels, options)
    if thresholds:
        model = Model(network, description.model_copy(update={"thresholds": thresholds}), options, device)
    if anew:
        notes = (f"weights {options.weights!r}: {', '.join(anew)} have another shape there, so they began anew", *notes)
    return model, FitReport(epochs, figures, data.notes + notes, monotonic() - begun, _inherited(options))


def learn(
    network: nn.Module,
    smears: Sequence[Smear],
    recipe: Recipe,
    arithmetic: Arithmetic,
    seed: int,
    max_minutes: float | None,
    progress: Progress,
) -> tuple[dict[str, float], ...]:
    """Train, in place, all of `network` that is not frozen; its box head alone where the recipe keeps looks."""
    parts: Any = network
    schedule = schedule_of(recipe, len(smears), max_minutes)
    if recipe.looks:
        kept = keep_features(network, smears, recipe, arithmetic, seed, Stage(progress, 0.0, 0.5, 1.0))
        reduce_heavy_parts(network, arithmetic, Mixed)
        head_lesson = KeptFeatures(parts.roi_heads, kept, recipe, schedule.steps_per_epoch, seed)
        epochs = train_network(parts.roi_heads, head_lesson, schedule, recipe, Stage(progress, 0.5, 1.0, 1.0))
    else:
        reduce_heavy_parts(network, arithmetic, Mixed)
        lesson = Pictures(network, smears, recipe, arithmetic.device, seed)
        epochs = train_network(network, lesson, schedule, recipe, progress)
    unwrap(network)
    return epochs


def usual_side(smears: Sequence[Smear], image_size: int) -> float:
    """Median over all boxes of the square root of their area, px of images whose shorter side is `image_size`."""
    sides = [
        np.sqrt(np.prod(smear.boxes[:, 2:] - smear.boxes[:, :2], axis=1)) * image_size / min(smear.pixels.shape[:2])
        for smear in smears
    ]
    return round(float(np.median(np.concatenate(sides))), 2)


def box_counts(smears: Sequence[Smear], labels: Sequence[str]) -> dict[str, int]:
    """Boxes of each label on all smears."""
    counts = np.bincount(np.concatenate([smear.labels for smear in smears]), minlength=len(labels))
    return dict(zip(labels, counts.tolist(), strict=True))


def _initial_network(architecture: Architecture, options: FasterRCNNOptions) -> tuple[nn.Module, tuple[str, ...]]:
    """What a training starts from, and the parts that its starting weights could not give."""
    network = build(architecture, options.nms, options.score_floor)
    anew: tuple[str, ...] = ()
    if options.weights != "none":
        source = str(STARTER / WEIGHTS) if options.weights == "starter" else options.weights
        anew = apply_weights(network, read_weights(options.backbone, source), options.weights)
    if options.frozen_backbone:
        freeze_backbone(network)
    if anew and recipe_of(options).looks:
        # units that were made to tell other classes apart hold a new head back: half of its classes it never learned
        renew_box_head(network)
    return network, anew


def _inherited(options: FasterRCNNOptions) -> tuple[str, ...]:
    """Keys of the images that the starting weights had learned from, as far as they are known."""
    if options.weights != "starter":
        return ()
    return tuple(json.loads((STARTER / "trained_on.json").read_text(encoding="utf-8")))


def measure(
    model: Model, tune: Sequence[Example], labels: tuple[str, ...], options: FasterRCNNOptions
) -> tuple[dict[str, float], dict[str, float], tuple[str, ...]]:
    """Figures on the tune images, the thresholds of best F1 there, and what a person should know."""
    if not len(tune):
        return {}, {}, ("no tune image: nothing was measured, thresholds are the paper's",)
    truths: list[Detections] = []
    found: list[Detections] = []
    ignored: list[NDArray[np.float32]] = []
    bare: list[bool] = []
    for index in range(len(tune)):
        example = tune[index]
        truths.append(checked_truth(example, len(labels)))
        found += model.find([example.image])
        ignored.append(example.ignore)
        bare.append(looks_bare(example.image, truths[-1], example.ignore))
    skipped = {suspicion.index for suspicion in unlabelled_looking(truths, labels) if bare[suspicion.index]}
    kept = [index for index in range(len(truths)) if index not in skipped]
    truths, ignored = [truths[index] for index in kept], [ignored[index] for index in kept]
    found = judged_of_each(truths, [found[index] for index in kept], ignored)
    thresholds = fit_thresholds(truths, found, labels)
    operating = operating_thresholds(labels, options, thresholds)
    report = evaluate_detections(truths, found, labels, operating, coco=False, ignored=ignored)
    notes = tuple(
        f"{label}: no hit on a tune image, so its threshold is the paper's"
        for label in labels
        if options.thresholds == "fit" and label not in thresholds
    )
    if skipped:
        notes += (f"{len(skipped)} tune images look full of cells without boxes; nothing was measured on them",)
    return report.figures(), thresholds, notes
