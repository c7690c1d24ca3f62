"""Laws of fit."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hemaloop.errors import Cancelled, DatasetError, OptionError
from hemaloop.evaluation.overlap import intersection_over_union
from hemaloop.plugin import (
    UNKNOWN,
    Classification,
    ClassMap,
    Detections,
    Example,
    FitReport,
    Prediction,
    Silent,
)
from hemaloop.testing.subject import LawBroken, Subject, arrays, demand, same

LEARNED = 0.5
"""How much of the smears that it learned a family must at least get right (see `agreement`), from 0 to 1."""
MATCH_IOU = 0.5


def check_fitting_leaves_random_state(subject: Subject) -> None:
    """Fitting leaves the random state of Python, numpy and torch as it was."""
    demand(
        subject.second.undisturbed,
        "fitting changed global random state: use torch.Generator and numpy.random.default_rng(self.seed), or "
        "torch.random.fork_rng() round what takes no generator",
    )


def check_examples_are_untouched(subject: Subject) -> None:
    """Images and truths that `fit` is given are read, never written."""
    for before, after in zip(subject.examples(), subject.first.examples, strict=True):
        pairs = zip(arrays(before.truth).values(), arrays(after.truth).values(), strict=True)
        demand(
            np.array_equal(before.image, after.image) and all(np.array_equal(a, b) for a, b in pairs),
            "fit changed an image or truth that it was given: copy before augmenting",
        )


def check_fit_reports(subject: Subject) -> None:
    """`fit` gives a FitReport with finite numbers and a time."""
    report = subject.first.report
    if not isinstance(report, FitReport):
        raise LawBroken(f"fit gave {type(report).__name__}, expected a FitReport: return what the training did")
    numbers = [*report.figures.values(), *(value for epoch in report.epochs for value in epoch.values())]
    demand(
        all(math.isfinite(number) for number in numbers) and report.seconds >= 0,
        "a FitReport holds a number that is not finite: raise TrainingDiverged for a loss, leave out what is unknown",
    )


def check_no_example_is_an_error(subject: Subject) -> None:
    """Fitting on nothing raises DatasetError."""
    try:
        subject.build().fit([], [], Silent())
    except DatasetError:
        return
    raise LawBroken("fit([]) must raise DatasetError that says how many examples are needed")


def check_one_label_is_enough(subject: Subject) -> None:
    """A single label can be learned and found, or is refused with an error that says how many are needed."""
    labels, examples = subject.labels[:1], subject.one_label()
    try:
        plugin = subject.build(labels=labels)
        plugin.fit(examples, examples[:1], Silent())
        found = plugin.predict(subject.images[:1])[0]
    except (OptionError, DatasetError):
        return
    except Exception as error:
        raise LawBroken(
            f"one label raised {type(error).__name__}: {error}; learn it, or raise OptionError in the constructor"
        ) from error
    if isinstance(found, Detections):
        demand(not found.labels.any(), "with one label every detection must have label 0")
    elif isinstance(found, ClassMap):
        demand(int(found.labels.max(initial=0)) <= 1, "with one label a class map holds 0 and 1 alone")
    elif type(found) is subject.plugin.produces:
        demand(found.probabilities.shape == (1,), "with one label there is one probability, which is 1")


def check_a_smear_without_cells_is_learned(subject: Subject) -> None:
    """ "No cell here" is truth: it can be learned from and tuned on. (A classification always has a class.)"""
    example = subject.examples()[0]
    nothing: Prediction = Detections.empty()
    if isinstance(example.truth, Classification):
        return
    if isinstance(example.truth, ClassMap):
        nothing = ClassMap(np.zeros_like(example.truth.labels))
    blank = Example(np.full_like(example.image, 235), nothing, "blank")
    try:
        subject.build().fit([example, blank], [blank], Silent())
    except Exception as error:
        raise LawBroken(
            f"an example without a cell raised {type(error).__name__}: {error}; an empty truth says much: count it "
            "as background, and choose thresholds where tune has no cell at all"
        ) from error


def check_pixels_that_nobody_looked_at_are_left_out(subject: Subject) -> None:
    """A map of classes may hold `UNKNOWN`: it is learned from and tuned on, and no prediction holds it."""
    example, other = subject.examples()[:2]
    if not isinstance(example.truth, ClassMap):
        return
    labels = example.truth.labels.copy()
    labels[: len(labels) // 3] = UNKNOWN
    partly = Example(example.image, ClassMap(labels), "partly")
    try:
        plugin = subject.build()
        plugin.fit([partly, other], [partly], Silent())
        found = plugin.predict([example.image])[0]
    except Exception as error:
        raise LawBroken(
            f"a truth with UNKNOWN pixels raised {type(error).__name__}: {error}; leave them out of the loss, as with "
            "ignore_index"
        ) from error
    demand(
        isinstance(found, ClassMap) and int(found.labels.max(initial=0)) <= len(subject.labels),
        "a prediction holds UNKNOWN pixels; every pixel of it is background or has a label",
    )


def agreement(found: Sequence[Prediction], truths: Sequence[Prediction]) -> float:
    """How much of some truths is found, in [0, 1].

    Detections: F1 of boxes with the right label at IoU 0.5. ClassMap: Dice coefficient over all labels, without the
    background. Classification: share of images whose most probable label is right.
    """
    right, size = 0.0, 0.0
    for one, truth in zip(found, truths, strict=True):
        if isinstance(one, Detections) and isinstance(truth, Detections):
            right += 2.0 * _matches(one, truth)
            size += len(one) + len(truth)
        elif isinstance(one, ClassMap) and isinstance(truth, ClassMap):
            right += 2.0 * float(((one.labels == truth.labels) & (truth.labels > 0)).sum())
            size += float((one.labels > 0).sum() + (truth.labels > 0).sum())
        elif isinstance(one, Classification) and isinstance(truth, Classification):
            right += float(one.probabilities.argmax() == truth.probabilities.argmax())
            size += 1.0
    return right / size if size else 0.0


def _matches(found: Detections, truth: Detections) -> int:
    overlaps = intersection_over_union(found.boxes, truth.boxes) * (found.labels[:, None] == truth.labels[None, :])
    free = np.ones(len(truth), bool)
    for row in overlaps:  # by falling score
        best = int(np.argmax(np.where(free, row, -1.0))) if free.any() else -1
        if best >= 0 and row[best] >= MATCH_IOU:
            free[best] = False
    return int((~free).sum())


def check_it_learns_four_smears(subject: Subject) -> None:
    """Four synthetic smears are learned by heart, with `overfit_options` where the family has them."""
    options = subject.plugin.overfit_options
    plugin, examples = subject.fitted, subject.examples()
    if options:
        plugin = subject.build(**options)
        plugin.fit(examples, examples[:2], Silent())
    found = plugin.predict([example.image for example in examples])
    if not all(type(one) is subject.plugin.produces for one in found):
        return
    reached = agreement(found, [example.truth for example in examples])
    demand(
        reached >= LEARNED,
        f"of four smears that it learned, it gets {reached:.2f} right, expected {LEARNED} or more: look for labels off "
        "by one, images and truths that are scaled differently, a head that is never trained; if training is "
        "only too short, say so in `overfit_options`",
    )


def check_same_seed_same_model(subject: Subject) -> None:
    """Two fresh plugins with one seed, fitted on one data set, predict the same."""
    pairs = zip(subject.fitted.predict(subject.images), subject.second.plugin.predict(subject.images), strict=True)
    demand(
        all(same(a, b, tolerance=1e-3) for a, b in pairs),
        "the same seed and data gave another model: seed weights, order and augmentation from self.seed",
    )


def check_refit_forgets(subject: Subject) -> None:
    """A plugin that is fitted on one data set, another, and the first again predicts as after the first."""
    plugin, answers = subject.build(), []
    for place in (slice(0, 3), slice(1, 4), slice(0, 3)):
        part = subject.examples()[place]
        plugin.fit(part, part[:1], Silent())
        answers.append(plugin.predict(subject.images))
    demand(
        all(same(a, b, tolerance=1e-3) for a, b in zip(answers[0], answers[2], strict=True)),
        "an earlier fit leaves a trace: build the network anew in fit, from its starting weights",
    )


class CancelAfter:
    """A `Progress` that asks to stop at the given report."""

    def __init__(self, reports: int) -> None:
        self.left = reports

    def report(self, done: float, total: float, message: str, figures: Mapping[str, float] | None = None) -> None:
        """Raises `Cancelled` once its reports are used up."""
        self.left -= 1
        if self.left < 0:
            raise Cancelled(f"asked to stop at {done:g} of {total:g}: {message} {figures or ''}")


def check_cancel_leaves_it_usable(subject: Subject) -> None:
    """A cancelled fit raises Cancelled and leaves the model that was there before."""
    with tempfile.TemporaryDirectory() as name:
        subject.fitted.save(Path(name))
        plugin = subject.build()
        plugin.load(Path(name))
    expected = plugin.predict(subject.images[:1])[0]
    examples = subject.examples()
    try:
        plugin.fit(examples, examples[:1], CancelAfter(1))
    except Cancelled:
        demand(
            plugin.fitted and same(plugin.predict(subject.images[:1])[0], expected),
            "a cancelled fit must leave the model as it was: train a copy, swap it in at the end",
        )
        return
    raise LawBroken("fit ended although Progress.report raised Cancelled: report often, and let Cancelled pass")
