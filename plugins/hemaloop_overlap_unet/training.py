"""The training loop: composed pictures in, a network that has learned out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic

import numpy as np
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hemaloop.errors import TrainingDiverged
from hemaloop.networks.arithmetic import Arithmetic
from hemaloop.plugin import UNKNOWN, Progress
from hemaloop_overlap_unet.centres import FULL
from hemaloop_overlap_unet.compose import Sample
from hemaloop_overlap_unet.network import CLASSES

WARM_UP = 0.08
"""Share of the training in which the learning rate rises (one cycle, as fastai's default)."""
LAST_RATE = 0.01
"""What is left of the learning rate at the end."""
WEIGHT_DECAY = 0.01
CLIP = 5.0
"""Largest norm of a gradient."""
AVERAGE = 0.99
"""Decay a step of the running average of the weights that becomes the model."""
EPOCHS = 20
"""Parts into which a training is reported."""


@dataclass(frozen=True, slots=True)
class Course:
    """How long a training is and what it lowers. seconds: time limit or None. dice: weight of `dice_loss`."""

    pictures: int
    batch_size: int
    learning_rate: float
    seconds: float | None
    dice: float = 0.0

    @property
    def steps(self) -> int:
        """Of the optimiser."""
        return max(1, math.ceil(self.pictures / self.batch_size))


def learning_rate(largest: float, done: float) -> float:
    """Rate after a share `done`, in [0, 1], of the training: a line up, then half a cosine down."""
    if done < WARM_UP:
        return largest * (0.04 + 0.96 * done / WARM_UP)
    falling = 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))
    return largest * (LAST_RATE + (1 - LAST_RATE) * falling)


def as_input(pixels: NDArray[np.uint8], arithmetic: Arithmetic) -> Tensor:
    """uint8 (N, H, W, 3) -> (N, 3, H, W) about in [-2, 2], channels last."""
    values = torch.from_numpy(pixels).to(arithmetic.device).permute(0, 3, 1, 2)
    return ((values.float() - 128) / 64).contiguous(memory_format=torch.channels_last)


def batches(compose: Callable[[int], Sample], batch_size: int, steps: int) -> Iterator[tuple[NDArray[np.uint8], ...]]:
    """Pixels (N, S, S, 3), classes and centres (N, S, S). Each picture depends on its number alone."""

    def batch(step: int) -> tuple[NDArray[np.uint8], ...]:
        samples = [compose(step * batch_size + place) for place in range(batch_size)]
        return tuple(np.stack([getattr(one, name) for one in samples]) for name in ("pixels", "classes", "centres"))

    with ThreadPoolExecutor(1, thread_name_prefix="pictures") as ahead:
        coming = ahead.submit(batch, 0)
        for step in range(1, steps + 1):
            ready = coming
            if step < steps:
                coming = ahead.submit(batch, step)
            yield ready.result()


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean over the known pixels (section 3.4). logits: (N, 3, H, W), classes: (N, H, W) with `UNKNOWN`."""
    known = (classes != UNKNOWN).sum().clamp(min=1)
    return F.cross_entropy(logits.float(), classes.long(), ignore_index=UNKNOWN, reduction="sum") / known


_DICE = smp.losses.DiceLoss(smp.losses.MULTICLASS_MODE, ignore_index=UNKNOWN)


def dice_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """1 - Dice coefficient over the batch's known pixels, mean over the classes. Shapes as in `cross_entropy`.

    Overlaps are few pixels: cross-entropy alone leaves the doubtful ones to the cell round them.
    """
    loss: Tensor = _DICE(logits.float(), classes.long())
    return loss


def centre_loss(logits: Tensor, centres: Tensor) -> Tensor:
    """Binary cross-entropy with the heatmap, mean over what is known. logits: (N, H, W), centres: uint8 (N, H, W)."""
    known = centres != UNKNOWN
    losses = F.binary_cross_entropy_with_logits(logits.float(), centres.float() / FULL, reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


class RunningAverage:
    """Exponential average of a network's weights (Polyak 1992)."""

    def __init__(self, network: nn.Module) -> None:
        self.steps = 0
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards the network; early steps count more, because the first weights are noise."""
        self.steps += 1
        decay = min(AVERAGE, (1 + self.steps) / (10 + self.steps))
        for name, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)


def train(
    network: nn.Module, compose: Callable[[int], Sample], course: Course, arithmetic: Arithmetic, progress: Progress
) -> tuple[dict[str, float], ...]:
    """Train `network` in place; loss, learning rate and seconds of each part of the training.

    Raises `TrainingDiverged`, and `Cancelled` from `progress`.
    """
    network.train().to(arithmetic.device).to(memory_format=torch.channels_last)
    decaying = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=course.learning_rate)
    average = RunningAverage(network)
    begun = part_begun = monotonic()
    epochs: list[dict[str, float]] = []
    losses: list[float] = []
    done = 0.0
    for step, (pixels, classes, centres) in enumerate(batches(compose, course.batch_size, course.steps), 1):
        rate = learning_rate(course.learning_rate, done)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(
            arithmetic.device.type, arithmetic.dtype, enabled=arithmetic.dtype == torch.bfloat16, cache_enabled=False
        ):
            logits = network(as_input(pixels, arithmetic))
        truth, heat = (torch.from_numpy(values).to(arithmetic.device) for values in (classes, centres))
        logits, peaks = logits[:, :CLASSES], logits[:, CLASSES]
        loss = cross_entropy(logits, truth) + centre_loss(peaks, torch.where(truth == UNKNOWN, UNKNOWN, heat))
        if course.dice > 0:
            loss = loss + course.dice * dice_loss(logits, truth)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise TrainingDiverged(
                f"step {step}: the loss is {losses[-1]}, expected a finite number. Train again with a lower "
                f"learning_rate (now {rate:.2g}), or with precision float32"
            )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        average.update(network)
        done = step / course.steps
        if course.seconds is not None:
            done = max(done, (monotonic() - begun) / course.seconds)
        progress.report(min(done, 1.0), 1.0, f"step {step} of {course.steps}")
        if done >= min(1.0, (len(epochs) + 1) / EPOCHS):
            figures = {"loss": float(np.mean(losses)), "learning_rate": rate, "seconds": monotonic() - part_begun}
            epochs.append(figures)
            progress.report(min(done, 1.0), 1.0, f"part {len(epochs)} of {EPOCHS} done", figures)
            losses, part_begun = [], monotonic()
        if done >= 1:
            break
    network.load_state_dict(average.state)
    network.eval()
    return tuple(epochs)
