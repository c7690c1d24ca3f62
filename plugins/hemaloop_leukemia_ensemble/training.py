"""Both stages of training: section 2.4 and 2.5 of the paper."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hemaloop.errors import TrainingDiverged
from hemaloop.networks.arithmetic import Arithmetic
from hemaloop.plugin import Progress
from hemaloop_leukemia_ensemble.augment import augmented, placed_anew
from hemaloop_leukemia_ensemble.bagging import TrainingSet, whole_set
from hemaloop_leukemia_ensemble.cells import Cells
from hemaloop_leukemia_ensemble.network import CombinedHead, Extractor, Member
from hemaloop_leukemia_ensemble.options import LeukemiaOptions

CUT = 0.1
"""What is left of the learning rate after a plateau (section 2.5)."""
DECAY, EPSILON = 0.9, 1e-7
"""RMSprop with "all the settings default" (section 2.5), which are Keras's."""
VIEWS = 4
"""Augmented views of each image of which frozen extractors' features are kept; the epochs take them in turns."""
_AT_ONCE = 64
"""Images whose features are computed together."""

Batch = tuple[Tensor, Tensor]


@dataclass(slots=True)
class Plateau:
    """Section 2.5: the learning rate x 0.1 after `reduce_after` stagnant epochs, the end after `stop_after`."""

    reduce_after: int
    stop_after: int
    best: float = math.inf
    stagnant: int = 0

    def told(self, error: float) -> Literal["better", "cut", "stop", "on"]:
        """What follows from the validation error of one more epoch."""
        if error < self.best:
            self.best, self.stagnant = error, 0
            return "better"
        self.stagnant += 1
        if self.stagnant >= self.stop_after:
            return "stop"
        return "cut" if self.stagnant % self.reduce_after == 0 else "on"


@dataclass(frozen=True, slots=True)
class Steps:
    """Where one training lies in the whole, for progress: the model's name, and its first step of how many."""

    name: str
    first: int
    total: int


@dataclass(slots=True)
class Conditions:
    """What all trainings of a fit share. ends: `monotonic` time after which no epoch begins. epochs: told so far."""

    options: LeukemiaOptions
    arithmetic: Arithmetic
    seed: int
    progress: Progress
    ends: float = math.inf
    epochs: list[Mapping[str, float]] = field(default_factory=list)


def weighted_loss(logits: Tensor, truths: Tensor, weights: Tensor) -> Tensor:
    """Equation 1: the sum over classes of λ_class times their cross entropy, here a batch's mean. weights: λ, (C,)."""
    each = F.cross_entropy(logits, truths, reduction="none")  # (N,)
    return (weights[truths] * each).mean()


def floats(pixels: Tensor) -> Tensor:
    """uint8 as float32 in [0, 1]."""
    return pixels.float() / 255


def batches(
    cells: Cells, chosen: TrainingSet, options: LeukemiaOptions, seed: tuple[int, ...]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels float32 (n, 3, S, S) and classes (n,) of one epoch; it depends on the seed alone."""
    order = np.random.default_rng(seed).permutation(len(chosen))
    generator = _generator(seed)
    # of equal size to within one: batch normalisation has no use for a batch of one
    for part in np.array_split(order, math.ceil(len(order) / options.batch_size)):
        index = torch.from_numpy(chosen.indices[part])
        pixels = floats(cells.pixels[index])
        copies = torch.from_numpy(chosen.copies[part])
        if options.augment == "all" and bool((~copies).any()):
            pixels[~copies] = placed_anew(pixels[~copies], generator)
        if bool(copies.any()):
            pixels[copies] = augmented(pixels[copies], generator)
        yield pixels, torch.from_numpy(cells.labels[index.numpy()])


def train_member(
    member: Member, cells: Cells, chosen: TrainingSet, tune: Cells, conditions: Conditions, steps: Steps, which: int
) -> None:
    """First stage: model A (which = 0) on set A or B (which = 1) on set B, in place; its best epoch is kept."""
    device, arithmetic = conditions.arithmetic.device, conditions.arithmetic
    truths_of_tune = torch.from_numpy(tune.labels)

    def epoch(number: int) -> Iterator[Batch]:
        for pixels, truths in batches(cells, chosen, conditions.options, (conditions.seed, which, number)):
            yield member(pixels.to(device), arithmetic), truths.to(device)

    def validation() -> Batch:
        parts = [member(floats(part).to(device), arithmetic) for part in torch.split(tune.pixels, _AT_ONCE)]
        return torch.cat(parts).cpu(), truths_of_tune

    weights = torch.ones(member.head.out_features, device=device)
    _train(member, epoch, validation if len(tune) else None, weights, conditions, steps)


@torch.no_grad()
def features(extractor: Extractor, pixels: Tensor, arithmetic: Arithmetic) -> Tensor:
    """Penultimate features (N, F) of uint8 (N, 3, S, S), by an extractor in use."""
    parts = [floats(part).to(arithmetic.device) for part in torch.split(pixels, _AT_ONCE)]
    return torch.cat([extractor.pooled(extractor.maps(part, arithmetic)) for part in parts])


def train_combined(
    head: CombinedHead,
    extractors: tuple[Extractor, Extractor],
    cells: Cells,
    tune: Cells,
    weights: tuple[float, ...],
    conditions: Conditions,
    steps: Steps,
) -> None:
    """Second stage on frozen extractors, in place: all images and an augmented copy of each, class weights λ.

    Features are computed once, of the augmented copies in `VIEWS` views.
    """
    arithmetic, options = conditions.arithmetic, conditions.options
    truths = torch.from_numpy(cells.labels).to(arithmetic.device).repeat(2)  # of originals, then of copies

    def seen(pixels: Tensor) -> tuple[Tensor, Tensor]:
        return features(extractors[0], pixels, arithmetic), features(extractors[1], pixels, arithmetic)

    plain, of_tune = seen(cells.pixels), seen(tune.pixels) if len(tune) else None
    views = []
    for view in range(min(VIEWS, options.epochs)):
        conditions.progress.report(steps.first, steps.total, f"{steps.name}: features of augmented view {view + 1}")
        views.append(seen(_augmented_view(cells.pixels, (conditions.seed, 2, view))))

    def epoch(number: int) -> Iterator[Batch]:
        a, b = (torch.cat(pair) for pair in zip(plain, views[number % len(views)], strict=True))
        order = np.random.default_rng((conditions.seed, 3, number)).permutation(len(truths))
        for part in np.array_split(order, math.ceil(len(order) / options.batch_size)):
            yield head(a[part], b[part]), truths[part]

    def validation() -> Batch:
        return head(*of_tune).cpu(), torch.from_numpy(tune.labels)  # type: ignore[misc]

    loss_weights = torch.tensor(weights, device=arithmetic.device)
    _train(head, epoch, None if of_tune is None else validation, loss_weights, conditions, steps)


def _augmented_view(pixels: Tensor, seed: tuple[int, ...]) -> Tensor:
    generator = _generator(seed)
    parts = [augmented(floats(part), generator) for part in torch.split(pixels, _AT_ONCE)]
    return (torch.cat(parts) * 255).round().byte()


def fine_tune_combined(
    head: CombinedHead,
    extractors: tuple[Extractor, Extractor],
    cells: Cells,
    tune: Cells,
    weights: tuple[float, ...],
    conditions: Conditions,
    steps: Steps,
) -> None:
    """Second stage with extractors that learn on, in place; otherwise as `train_combined`."""
    device, arithmetic = conditions.arithmetic.device, conditions.arithmetic
    everything = whole_set(len(cells))

    def logits(pixels: Tensor) -> Tensor:
        one, other = (extractor.pooled(extractor.maps(pixels, arithmetic)) for extractor in extractors)
        found: Tensor = head(one, other)
        return found

    def epoch(number: int) -> Iterator[Batch]:
        for pixels, truths in batches(cells, everything, conditions.options, (conditions.seed, 2, number)):
            yield logits(pixels.to(device)), truths.to(device)

    def validation() -> Batch:
        parts = [logits(floats(part).to(device)) for part in torch.split(tune.pixels, _AT_ONCE)]
        return torch.cat(parts).cpu(), torch.from_numpy(tune.labels)

    trained = nn.ModuleList([head, *extractors])
    loss_weights = torch.tensor(weights, device=device)
    _train(trained, epoch, validation if len(tune) else None, loss_weights, conditions, steps)


def _train(
    trained: nn.Module,
    epoch: Callable[[int], Iterator[Batch]],
    validation: Callable[[], Batch] | None,
    weights: Tensor,
    conditions: Conditions,
    steps: Steps,
) -> None:
    """Section 2.5, in place: RMSprop, a plateau schedule on the validation loss, the best epoch's weights at the end.

    Without validation images the training loss is monitored instead.
    """
    options = conditions.options
    optimizer = torch.optim.RMSprop(trained.parameters(), options.learning_rate, alpha=DECAY, eps=EPSILON)
    plateau = Plateau(options.reduce_after, options.stop_after)
    best = copy.deepcopy(trained.state_dict())
    for number in range(options.epochs):
        if number and monotonic() > conditions.ends:
            break
        trained.train()
        losses = []
        for batch, (logits, truths) in enumerate(epoch(number)):
            conditions.progress.report(steps.first + number, steps.total, f"{steps.name}: epoch {number + 1}")
            loss = weighted_loss(logits, truths, weights)
            if not torch.isfinite(loss):
                raise TrainingDiverged(
                    f"{steps.name}, epoch {number + 1}, batch {batch + 1}: the loss is {float(loss)}; "
                    f"lower learning_rate ({options.learning_rate}), or use precision float32"
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append((float(loss.detach()), len(truths)))
        mean = float(np.average([one for one, _ in losses], weights=[count for _, count in losses]))
        figures = {"model": float(steps.first // options.epochs), "epoch": number + 1.0, "loss": mean}
        figures |= _validated(trained, validation)
        figures["learning_rate"] = float(optimizer.param_groups[0]["lr"])
        conditions.epochs.append(figures)
        conditions.progress.report(steps.first + number + 1, steps.total, f"{steps.name}: epoch {number + 1}", figures)
        verdict = plateau.told(figures.get("tune_loss", mean))
        if verdict == "better":
            best = copy.deepcopy(trained.state_dict())
        elif verdict == "cut":
            for group in optimizer.param_groups:
                group["lr"] *= CUT
        elif verdict == "stop":
            break
    trained.load_state_dict(best)
    trained.eval()


@torch.no_grad()
def _validated(trained: nn.Module, validation: Callable[[], Batch] | None) -> dict[str, float]:
    if validation is None:
        return {}
    trained.eval()
    logits, truths = validation()
    right = (logits.argmax(dim=1) == truths).float().mean()
    return {"tune_loss": float(F.cross_entropy(logits, truths)), "tune_accuracy": float(right)}


def _generator(seed: tuple[int, ...]) -> torch.Generator:
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1)
    return torch.Generator().manual_seed(int(state))
