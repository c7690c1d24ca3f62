"""From labelled cells to a model: the sentence that a training is.

cut the cells out → sets A and B → train A and B → combine them and train on everything → round the weights → calibrate
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from hemaloop.evaluation.classification import evaluate_classification
from hemaloop.networks.arithmetic import arithmetic_for
from hemaloop.networks.artifact import round_weights
from hemaloop.plugin import Classification, Example, FitReport, Progress
from hemaloop_leukemia_ensemble import decision
from hemaloop_leukemia_ensemble.artifact import Description
from hemaloop_leukemia_ensemble.bagging import bagging_sets
from hemaloop_leukemia_ensemble.cells import Cells, check_learnable, read_cells
from hemaloop_leukemia_ensemble.model import Model
from hemaloop_leukemia_ensemble.network import Architecture, Ensemble, placed
from hemaloop_leukemia_ensemble.options import VERSION, LeukemiaOptions
from hemaloop_leukemia_ensemble.pretrained import apply_weights, read_weights
from hemaloop_leukemia_ensemble.training import (
    Conditions,
    Steps,
    fine_tune_combined,
    floats,
    train_combined,
    train_member,
)


def fit(
    labels: tuple[str, ...],
    options: LeukemiaOptions,
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
    cells = read_cells(train, labels, options, progress)
    notes = (*cells.notes, *check_learnable(cells, labels), *_disease_note(options, labels))
    checked = read_cells(tune, labels, options, progress, cells.look)
    arithmetic = arithmetic_for(device, options.precision)
    ends = begun + options.max_minutes * 60 if options.max_minutes else math.inf
    conditions = Conditions(options, arithmetic, seed, progress, ends)
    # first weights and dropout draw from torch's global generator: it is put back as it was
    with torch.random.fork_rng(devices=[arithmetic.device] if arithmetic.device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = placed(_initial_network(labels, options), arithmetic)
        _two_stages(network, cells, checked, options.class_weights(labels), conditions)
    network = network.cpu().eval()
    round_weights(network)
    model = Model(network, _description(labels, options, cells), options, device)
    figures: dict[str, float] = {}
    if len(checked):
        logits = _logits(network, checked, conditions)
        model = model.calibrated_on(logits, checked.labels)
        figures = _figures(logits, checked.labels, labels, model.description.temperature)
    else:
        notes += ("no tune image: the training loss chose the epochs, and probabilities are not calibrated",)
    return model, FitReport(tuple(conditions.epochs), figures, notes, monotonic() - begun)


def _two_stages(
    network: Ensemble, cells: Cells, tune: Cells, weights: tuple[float, ...], conditions: Conditions
) -> None:
    """Section 2.4, in place: A and B on their sets, then the combined model on everything."""
    epochs = conditions.options.epochs
    for which, (member, chosen) in enumerate(
        zip((network.a, network.b), bagging_sets(cells.labels, conditions.seed), strict=True)
    ):
        steps = Steps(f"model {decision.MEMBERS[which]}", which * epochs, 3 * epochs)
        train_member(member, cells, chosen, tune, conditions, steps, which)
    steps = Steps("combined model", 2 * epochs, 3 * epochs)
    if len(network.own):
        for own, member in zip(network.own, (network.a, network.b), strict=True):
            own.load_state_dict(copy.deepcopy(member.extractor.state_dict()))
        own_a, own_b = network.own
        fine_tune_combined(network.combined, (own_a, own_b), cells, tune, weights, conditions, steps)  # type: ignore[arg-type]
    else:
        extractors = network.a.extractor, network.b.extractor
        train_combined(network.combined, extractors, cells, tune, weights, conditions, steps)


def _initial_network(labels: tuple[str, ...], options: LeukemiaOptions) -> Ensemble:
    fine_tuned = options.extractors == "fine_tuned"
    network = Ensemble(Architecture(options.backbone, len(labels), options.hidden, options.dropout, fine_tuned))
    if options.weights != "none":
        weights = read_weights(options.backbone, options.weights)
        for member in (network.a, network.b):
            apply_weights(member.extractor, weights, options.weights)
    return network


def _description(labels: tuple[str, ...], options: LeukemiaOptions, cells: Cells) -> Description:
    return Description(
        version=VERSION,
        labels=labels,
        backbone=options.backbone,
        hidden=options.hidden,
        dropout=options.dropout,
        fine_tuned=options.extractors == "fine_tuned",
        image_size=options.image_size,
        patch=options.patch,
        margin=options.margin,
        stain=None if cells.look is None else (cells.look.mean, cells.look.spread),
    )


def _disease_note(options: LeukemiaOptions, labels: tuple[str, ...]) -> tuple[str, ...]:
    if options.disease_label(labels) is not None or options.disease == "none":
        return ()
    return (
        f"none of the labels {', '.join(labels)} is known to mean the disease, so none weighs more than another; name "
        "it with the option disease",
    )


@torch.no_grad()
def _logits(network: Ensemble, cells: Cells, conditions: Conditions) -> NDArray[np.float64]:
    """(N, 3, C), one image at a time, as predictions are made."""
    used = placed(copy.deepcopy(network), conditions.arithmetic)
    found = []
    for index, one in enumerate(torch.split(cells.pixels, 1)):
        conditions.progress.report(index, len(cells), "calibrating")
        look = used.look(floats(one).to(conditions.arithmetic.device), conditions.arithmetic)
        found.append(look.logits[:, 0].double().cpu().numpy())
    return np.stack(found)


def _figures(
    logits: NDArray[np.float64], truths: NDArray[np.int64], labels: tuple[str, ...], temperature: float
) -> dict[str, float]:
    """On the tune images: of each member and of the largest of all (section 2.6)."""
    figures = {"temperature": temperature}
    answers = {name: softmax(logits[:, member], axis=1) for member, name in enumerate(decision.MEMBERS)}
    winners = np.stack([decision.winning_logits(one) for one in logits])
    answers["maximum"] = decision.calibrated(winners, temperature)
    said = [Classification(np.eye(len(labels), dtype=np.float32)[truth]) for truth in truths]
    for name, shares in answers.items():
        found = [Classification(row.astype(np.float32)) for row in shares]
        report = evaluate_classification(said, found, labels)
        figures |= {f"accuracy/{name}": report.accuracy, f"weighted_f1/{name}": report.weighted.f1}
    return figures
