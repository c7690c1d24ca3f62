"""Stain normalisation (section 2.1 of the paper, which leaves the method to its references): Reinhard et al. 2001."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.color import lab2rgb, rgb2lab

from hemaloop.plugin import Image

LEAST_SPREAD = 1.0
"""Of a channel of Lab, below which its spread is taken for this: one flat colour is not stretched into noise."""
BLACK = 8
"""Grey value up to which a pixel is the black around a segmented cell, not stain."""


@dataclass(frozen=True, slots=True)
class Look:
    """Mean and spread (standard deviation) of L, a and b over the stained pixels."""

    mean: tuple[float, float, float]
    spread: tuple[float, float, float]


def look_of(image: Image) -> Look | None:
    """How a patch is stained; None where all of it is black."""
    stained = image.max(axis=2) > BLACK
    if not stained.any():
        return None
    lab = rgb2lab(image)[stained]
    mean, spread = lab.mean(axis=0), np.maximum(lab.std(axis=0), LEAST_SPREAD)
    return Look(_three(mean), _three(spread))


def usual_look(images: Iterable[Image]) -> Look | None:
    """Median look of many patches, None without any that is stained."""
    looks = [look for look in map(look_of, images) if look is not None]
    if not looks:
        return None
    mean = np.median([look.mean for look in looks], axis=0)
    return Look(_three(mean), _three(np.median([look.spread for look in looks], axis=0)))


def normalised(image: Image, target: Look) -> Image:
    """A patch with the mean and spread of `target` in each channel of Lab; what is black stays black."""
    own = look_of(image)
    if own is None:
        return image
    stained = image.max(axis=2) > BLACK
    moved = (rgb2lab(image[stained]) - own.mean) / own.spread * target.spread + target.mean  # (N, 3)
    light = moved[:, 0].clip(0, 100)
    # no yellow is yellower than without any Z (CIE 1976: b* = 200 (f(Y) - f(Z)))
    lab = np.stack([light, moved[:, 1].clip(-127, 127), moved[:, 2].clip(-127, 200 * light / 116)], axis=1)
    found = image.copy()
    found[stained] = np.rint(lab2rgb(lab).clip(0, 1) * 255).astype(np.uint8)
    return found


def _three(values: NDArray[np.floating]) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
