"""What the paper left on of fastai's `aug_transforms`, with its two changes: rotation up to 5 degrees, flips both ways.

Zoom up to 1.1 and perspective warp up to 0.2 with probability 0.75 each, brightness and contrast with probability 0.75
(fastai, `vision.augment`). Beyond the paper: magnification and stain vary, because laboratories do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from hemaloop.plugin import UNKNOWN
from hemaloop_overlap_unet.compose import Sample
from hemaloop_overlap_unet.morphology import redrawn

ROTATION = 5.0
"""Degrees, either way (section 3.4)."""
ZOOM = 1.1
WARP = 0.2
LIGHTING = 0.2
AFFINE_CHANCE = LIGHTING_CHANCE = 0.75
MAGNIFICATION = (0.8, 1.25)
"""Range over which cells differ from the usual size, log-uniform."""
STAIN = 0.25
"""Standard deviation of the logarithm of how much a channel absorbs."""
LAMP = 0.05
"""Standard deviation of the logarithm of each channel's light."""
NOISE = 3.0
"""Largest standard deviation of pixel noise, grey levels."""

Matrix = NDArray[np.float64]


def placement(side: int, wide: int, rng: np.random.Generator) -> Matrix:
    """(3, 3): from px of a picture of `side` to px of one of `wide`; keeps the middle in the middle."""
    zoom = float(np.exp(rng.uniform(*np.log(MAGNIFICATION))))
    angle, warp = 0.0, [0.0, 0.0]
    if rng.random() < AFFINE_CHANCE:
        angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION))
        zoom *= float(rng.uniform(1.0, ZOOM))
    if rng.random() < AFFINE_CHANCE:
        warp = rng.uniform(-WARP / 2, WARP / 2, 2).tolist()
    flips = np.where(rng.random(2) < 0.5, -1.0, 1.0)
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    half = side / 2
    to_middle = np.array([[1 / half, 0, -1], [0, 1 / half, -1], [0, 0, 1]])
    back = np.array([[half, 0, wide / 2], [0, half, wide / 2], [0, 0, 1]])
    inner = np.array([[cos * flips[0], -sin * flips[1], 0], [sin * flips[0], cos * flips[1], 0], [*warp, 1]])
    return np.asarray(back @ inner @ to_middle)


def moved(sample: Sample, side: int, matrix: Matrix) -> Sample:
    """A sample seen through a perspective, `side` px; what lies beyond it is unknown."""
    coefficients = (matrix / matrix[2, 2]).ravel()[:8].tolist()
    size, how, smooth = (side, side), Pillow.Transform.PERSPECTIVE, Pillow.Resampling.BILINEAR
    pixels = Pillow.fromarray(sample.pixels).transform(size, how, coefficients, smooth)

    def draw(share: Pillow.Image, value: int) -> Pillow.Image:
        return share.transform(size, how, coefficients, smooth, fillcolor=float(value == UNKNOWN))

    values = np.union1d(sample.classes, [UNKNOWN]).astype(np.uint8)
    centres = Pillow.fromarray(sample.centres).transform(size, how, coefficients, fillcolor=UNKNOWN)
    return Sample(np.asarray(pixels), redrawn(sample.classes, values, draw), np.asarray(centres))


def relit(pixels: NDArray[np.uint8], rng: np.random.Generator, strength: float = 1.0) -> NDArray[np.uint8]:
    """Brightness and contrast in logits as fastai does; stain and lamp in optical density; a little noise."""
    values = (pixels.astype(np.float32) + 1) / 257
    values = values ** np.exp(rng.normal(0, STAIN * strength, 3)).astype(np.float32)
    values *= np.exp(rng.normal(0, LAMP * strength, 3)).astype(np.float32)
    values = values.clip(1e-3, 1 - 1e-3)
    if rng.random() < LIGHTING_CHANCE:
        logits = np.log(values / (1 - values))
        change = 0.5 + rng.uniform(-1, 1) * LIGHTING / 2 * strength
        logits = logits * np.exp(rng.uniform(-1, 1) * LIGHTING * strength) + np.log(change / (1 - change))
        values = 1 / (1 + np.exp(-logits))
    values = values * 255 + rng.normal(0, 1, values.shape).astype(np.float32) * rng.uniform(0, NOISE) * strength
    return values.round().clip(0, 255).astype(np.uint8)


def augmented(sample: Sample, side: int, rng: np.random.Generator) -> Sample:
    """The middle of a sample, `side` px, as another smear might have shown it."""
    seen = moved(sample, side, placement(side, len(sample.classes), rng))
    return replace(seen, pixels=relit(seen.pixels, rng))
