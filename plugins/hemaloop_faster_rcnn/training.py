"""The training loop, and its usual lesson: pictures in, a network that has learned out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hemaloop.errors import TrainingDiverged
from hemaloop.plugin import Progress
from hemaloop_faster_rcnn.augment import Picture, compose, whole
from hemaloop_faster_rcnn.detector import train_mode
from hemaloop_faster_rcnn.recipe import MOMENTUM, Recipe, Strength
from hemaloop_faster_rcnn.truth import Smear

LOSSES = ("loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg")
"""Class of a proposal, its box, object or background of an anchor, its box: the four losses of Faster R-CNN."""

LAST_RATE = 0.01
"""What is left of the learning rate at the end."""

Batch = TypeVar("Batch")


class Lesson(Protocol[Batch]):
    """What is learned from, and what is wrong with what the network makes of it."""

    def batches(self, epoch: int, settled: bool) -> Iterator[Batch]:
        """What each step of an epoch looks at; settled: towards the end of a training."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses, whose sum is made smaller."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long a training is, in epochs and steps of the optimiser; seconds: time limit or None."""

    epochs: int
    steps_per_epoch: int
    seconds: float | None

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.epochs * self.steps_per_epoch


def schedule_of(recipe: Recipe, images: int, max_minutes: float | None) -> Schedule:
    """Whole epochs, as many as the recipe says or its least number of steps needs."""
    steps = math.ceil(images / recipe.batch_size)
    return Schedule(max(recipe.epochs, math.ceil(recipe.min_steps / steps)), steps, max_minutes and max_minutes * 60)


def learning_rate(recipe: Recipe, done: float) -> float:
    """Rate after a share `done`, in [0, 1]: a line up, then half a cosine down; constant where there is no warm-up."""
    if recipe.warm_up is None:
        return recipe.learning_rate
    if done < recipe.warm_up:
        return recipe.learning_rate * (0.04 + 0.96 * done / recipe.warm_up)
    falling = 0.5 * (1 + math.cos(math.pi * (done - recipe.warm_up) / (1 - recipe.warm_up)))
    return recipe.learning_rate * (LAST_RATE + (1 - LAST_RATE) * falling)


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Weights decay, biases and normalisation do not."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=MOMENTUM)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


class RunningAverage:
    """Exponential average of a network's weights, which finds more than any single step of them (Polyak 1992)."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards the network; early steps count more, because the first weights are noise."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)


def cells_by_class(smears: Sequence[Smear]) -> list[NDArray[np.int64]]:
    """Of each class that there is, where its cells are: int64 (N, 2), index of the smear and of the box."""
    owner = np.concatenate([np.full(len(smear.labels), index) for index, smear in enumerate(smears)])
    place = np.concatenate([np.arange(len(smear.labels)) for smear in smears])
    labels = np.concatenate([smear.labels for smear in smears])
    return [np.stack([owner[labels == label], place[labels == label]], axis=1) for label in np.unique(labels)]


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """The lesson of a whole network: pictures made of smears, the four losses of Faster R-CNN."""

    network: nn.Module
    smears: Sequence[Smear]
    recipe: Recipe
    device: torch.device
    seed: int

    def batches(self, epoch: int, settled: bool) -> Iterator[list[Picture]]:
        """The pictures of one epoch. Each depends on the seed, the epoch and its place alone."""
        recipe, smears = self.recipe, self.smears
        order = np.random.default_rng((self.seed, epoch)).permutation(len(smears))
        order = np.resize(order, max(len(order), recipe.batch_size))  # fewer smears than a batch: each several times
        strength = recipe.settling if settled else recipe.exploring
        cells = cells_by_class(smears) if recipe.balance else []

        def picture(place: int) -> Picture:
            rng = np.random.default_rng((self.seed, epoch, place, 1))
            index, cell = int(order[place]), None
            if recipe.balance and rng.random() < recipe.balance:
                index, cell = rng.choice(cells[int(rng.integers(len(cells)))]).tolist()
            return draw(smears, index, cell, recipe, strength, rng)

        def batch(first: int) -> list[Picture]:
            places = range(first, min(first + recipe.batch_size, len(order)))
            return [picture(place) for place in places]

        # One batch is made while the network learns from the one before it.
        with ThreadPoolExecutor(1, thread_name_prefix="pictures") as ahead:
            coming = ahead.submit(batch, 0)
            for first in range(recipe.batch_size, len(order), recipe.batch_size):
                ready, coming = coming, ahead.submit(batch, first)
                yield ready.result()
            yield coming.result()

    def losses(self, batch: list[Picture]) -> dict[str, Tensor]:
        """The four losses. Label 0 is the background, so ours begin at 1."""
        images = [picture.pixels.to(self.device) for picture in batch]
        targets = [
            {
                "boxes": picture.boxes.to(self.device),
                "labels": picture.labels.to(self.device) + 1,
                "ignore": picture.ignore.to(self.device),
            }
            for picture in batch
        ]
        losses: dict[str, Tensor] = self.network(images, targets)
        return {name: losses[name] for name in LOSSES}


def draw(
    smears: Sequence[Smear],
    index: int,
    cell: int | None,
    recipe: Recipe,
    strength: Strength,
    rng: np.random.Generator,
) -> Picture:
    """A picture of the smear `index`, placed on its box `cell` where that is not None."""
    if recipe.window is None:
        return whole(smears[index], recipe.image_size)
    others = lambda: smears[int(rng.integers(len(smears)))]  # noqa: E731 - a draw, not a function worth a name
    return compose(smears[index], others, recipe.image_size, recipe.window, strength, rng, cell)


def step(
    network: nn.Module, optimizer: torch.optim.Optimizer, losses: dict[str, Tensor], recipe: Recipe
) -> dict[str, float]:
    """One step of the optimiser along these losses, unless one is not finite; their values."""
    values = {name: float(loss.detach()) for name, loss in losses.items()}
    if not all(map(math.isfinite, values.values())):
        return values
    optimizer.zero_grad()
    torch.stack([loss.float() for loss in losses.values()]).sum().backward()  # type: ignore[no-untyped-call]
    if recipe.clip is not None:
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        torch.nn.utils.clip_grad_norm_(trained, recipe.clip)
    optimizer.step()
    return values


def check_finite(losses: dict[str, float], epoch: int, batch: int, rate: float) -> None:
    """Raise `TrainingDiverged` where a loss is not a finite number."""
    wrong = [f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value)]
    if wrong:
        raise TrainingDiverged(
            f"epoch {epoch}, batch {batch}: {', '.join(wrong)}, expected finite losses. Train again with a lower "
            f"learning_rate (now {rate:.2g}), or with precision float32"
        )


def train(
    network: nn.Module,
    lesson: Lesson[Batch],
    schedule: Schedule,
    recipe: Recipe,
    progress: Progress,
) -> tuple[dict[str, float], ...]:
    """Train `network` in place; losses, learning rate and seconds of each epoch.

    Raises `TrainingDiverged`, and `Cancelled` from `progress`.
    """
    optimizer = make_optimizer(network, recipe)
    average = RunningAverage(network, recipe.average) if recipe.average else None
    epochs: list[dict[str, float]] = []
    begun, done, steps = monotonic(), 0.0, 0
    for epoch in range(1, schedule.epochs + 1):
        train_mode(network)
        epoch_begun, sums, rate, count = monotonic(), dict[str, float](), 0.0, 0
        for count, batch in enumerate(lesson.batches(epoch, done >= 1 - recipe.settle), 1):
            rate = learning_rate(recipe, done)
            for group in optimizer.param_groups:
                group["lr"] = rate
            losses = step(network, optimizer, lesson.losses(batch), recipe)
            check_finite(losses, epoch, count, rate)
            if average:
                average.update(network)
            sums = {name: sums.get(name, 0.0) + value for name, value in losses.items()}
            steps += 1
            done = steps / schedule.steps
            if schedule.seconds is not None:
                done = max(done, (monotonic() - begun) / schedule.seconds)
            progress.report(min(done, 1.0), 1.0, f"epoch {epoch} of {schedule.epochs}")
            if done >= 1:
                break
        figures = {name: total / count for name, total in sums.items()}
        figures |= {"loss": sum(figures.values()), "learning_rate": rate, "seconds": monotonic() - epoch_begun}
        epochs.append(figures)
        progress.report(min(done, 1.0), 1.0, f"epoch {epoch} of {schedule.epochs} done", figures)
        if done >= 1:
            break
    if average:
        network.load_state_dict(average.state)
    return tuple(epochs)
