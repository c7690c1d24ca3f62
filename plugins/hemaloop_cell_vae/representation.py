"""The auto-encoder learns from images alone: two views, suppress, encode, draw, decode, compare."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hemaloop.errors import TrainingDiverged
from hemaloop.networks.arithmetic import Arithmetic
from hemaloop.networks.artifact import round_weights
from hemaloop.plugin import Progress
from hemaloop_cell_vae import losses, suppression, views
from hemaloop_cell_vae.network import Architecture, AutoEncoder, placed, sampled
from hemaloop_cell_vae.options import CellVAEOptions

ACTIVE = 0.01
"""Variance of a latent dimension's mean over images from which it says something (Burda et al. 2016, section 5.2)."""
STEPS = 12
"""Least number of an epoch, down to batches of `LEAST`."""
LEAST = 32
WARM_UP = 0.1
"""Share of the steps in which the learning rate rises; it then falls along a cosine."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step sees. shown: to the encoder; wanted: of the decoder; weights: of pixels, (S, S), None for all 1."""

    shown: Tensor
    wanted: Tensor
    weights: Tensor | None


def architecture_of(options: CellVAEOptions) -> Architecture:
    """What the options ask for."""
    return Architecture(
        seen=options.seen_side,
        latent=options.latent,
        variational=options.representation == "vae",
        learns_radius=options.suppression == "learned",
    )


def suppressed(images: Tensor, options: CellVAEOptions, generator: torch.Generator) -> Batch:
    """A batch of patches float32 (N, 3, S, S) in [0, 1] as the chosen method of sections 3.1 to 3.3 makes it."""
    side = images.shape[-1]
    if options.suppression == "noise":
        deviation = suppression.noise_deviation(suppression.distance(side), options.noise / 255, side / 2)
        noisy = suppression.with_noise(images, deviation, generator)
        return Batch(noisy, noisy if options.noise_target == "noisy" else images, None)
    if options.suppression == "crop":
        offsets = suppression.crop_offset(len(images), options.scaled(options.crop_offset), generator)
        found = suppression.cropped(images, options.scaled(options.crop), options.seen_side, offsets)
        return Batch(found, found, None)
    if options.suppression in ("fixed", "sampled"):
        radius = options.scaled(options.radius)
        if options.suppression == "sampled":  # once a batch (section 6)
            radius = suppression.drawn_radius(radius, options.scaled(options.radius_deviation), generator)
        return Batch(images, images, weights_of(suppression.distance(side), radius, options))
    return Batch(images, images, None)


def weights_of(distances: Tensor, radius: Tensor | float, options: CellVAEOptions) -> Tensor:
    """The loss mask that the options ask for."""
    return (suppression.mask if options.mask == "sqrt" else suppression.linear_mask)(distances, radius)


def as_encoded(images: Tensor, options: CellVAEOptions) -> Tensor:
    """What the encoder is shown of patches once it has learned: no noise, and a smaller patch from the middle."""
    if options.suppression != "crop":
        return images
    return suppression.cropped(images, options.scaled(options.crop), options.seen_side)


def learn(
    pixels: Tensor, options: CellVAEOptions, arithmetic: Arithmetic, seed: int, progress: Progress
) -> tuple[AutoEncoder, tuple[Mapping[str, float], ...]]:
    """A new auto-encoder of uint8 (N, 3, S, S), in use, its weights rounded; and the losses of each epoch.

    Raises `TrainingDiverged` for a loss that is not finite, `Cancelled`.
    """
    # first weights draw from torch's global generator: it is put back as it was
    with torch.random.fork_rng(devices=[arithmetic.device] if arithmetic.device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = placed(AutoEncoder(architecture_of(options)), arithmetic)
        projection = views.projection(options.latent).to(arithmetic.device) if options.agreement else None
    generator = torch.Generator().manual_seed(seed)
    batch = min(options.batch_size, max(LEAST, len(pixels) // STEPS))
    steps = options.epochs * math.ceil(len(pixels) / batch)
    learned = [*network.parameters(), *(projection.parameters() if projection else ())]
    optimizer = torch.optim.Adam(learned, options.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    ends = monotonic() + options.max_minutes * 60 if options.max_minutes else math.inf
    told: list[Mapping[str, float]] = []
    network.train()
    for epoch in range(options.epochs):
        if epoch and monotonic() > ends:
            break
        parts: list[dict[str, float]] = []
        for number, images in enumerate(_batches(pixels, batch, generator)):
            progress.report(epoch, options.epochs, f"representation: epoch {epoch + 1}, batch {number + 1}")
            loss, said = _loss(network, projection, images, options, arithmetic, generator)
            if not torch.isfinite(loss):
                raise TrainingDiverged(
                    f"representation, epoch {epoch + 1}, batch {number + 1}: the loss is {float(loss)}; lower "
                    f"learning_rate ({options.learning_rate}), or use precision float32"
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            parts.append(said)
        figures = {"epoch": epoch + 1.0, **{name: float(np.mean([one[name] for one in parts])) for name in parts[0]}}
        told.append(figures)
        progress.report(epoch + 1, options.epochs, f"representation: epoch {epoch + 1}", figures)
    network = network.cpu().eval()
    round_weights(network)
    return network, tuple(told)


def _rate(step: int, steps: int) -> float:
    """Of the highest learning rate: a warm-up, then a cosine."""
    warm = max(1, round(WARM_UP * steps))
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _batches(pixels: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """float32 in [0, 1], of equal size to within one: batch normalisation has no use for a batch of one."""
    order = torch.randperm(len(pixels), generator=generator)
    for part in torch.tensor_split(order, math.ceil(len(order) / size)):
        yield pixels[part].float() / 255


def _loss(
    network: AutoEncoder,
    projection: nn.Module | None,
    images: Tensor,
    options: CellVAEOptions,
    arithmetic: Arithmetic,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, float]]:
    """The L1 between reconstruction and image, and the other terms; each by name too."""
    if projection is not None:
        reach = options.scaled(options.exchange_radius)
        images = torch.cat([views.another(images, reach, options.exchange, generator) for _ in range(2)])
    else:
        images = views.turned(images, generator)
    batch = suppressed(images, options, generator)
    device = arithmetic.device
    mean, log_variance = network.encode(batch.shown.to(device), arithmetic)
    z = sampled(mean.cpu(), None if log_variance is None else log_variance.cpu(), generator).to(device)
    pixel = losses.pixel_l1(network.decode(z, arithmetic), batch.wanted.to(device))
    weights = None if batch.weights is None else batch.weights.to(device)
    said: dict[str, float] = {}
    penalty = torch.zeros((), device=device)
    if network.radius is not None:
        centre, deviation = network.radius(z)
        radius = suppression.learned_radius(centre.cpu(), deviation.cpu(), generator).to(device)
        side = pixel.shape[-1]
        weights = weights_of(suppression.distance(side).to(device), radius[:, None, None], options)
        penalty = options.radius_penalty * suppression.radius_penalty(radius, side / 2)
        said |= {"radius": float(radius.detach().mean()), "radius_penalty": float(penalty.detach())}
    l1 = losses.reconstruction(pixel, weights, options.mask_mean)
    loss = l1 + penalty
    if log_variance is not None:
        kl = losses.divergence(mean, log_variance, options.kl_reduction)
        loss = loss + options.kl_weight * kl
        said["divergence"] = float(kl.detach())
    if projection is not None:
        first, second = projection(mean).chunk(2)
        contrast = views.contrast(first, second, options.temperature)
        loss = loss + options.agreement * contrast
        said["contrast"] = float(contrast.detach())
    return loss, {"loss": float(loss.detach()), "l1": float(l1.detach()), **said}


def active_dimensions(latents: NDArray[np.float32]) -> int:
    """Dimensions that differ between images, of means (N, D): a latent that has collapsed has none."""
    return int((latents.var(axis=0) > ACTIVE).sum())


def collapse_note(latents: NDArray[np.float32]) -> tuple[str, ...]:
    """What a person is told where most of the latent space says nothing, an empty tuple where it does."""
    active, dimensions = active_dimensions(latents), latents.shape[1]
    if active >= max(2, dimensions // 32):
        return ()
    return (
        f"latent collapse: only {active} of {dimensions} dimensions differ between images, so that cells cannot be "
        "told apart by them; lower kl_weight, or train for more epochs",
    )
