"""Artificial overlaps of red cells: section 3.2 of the paper, one small pure function a step.

Pictures are float32 (H, W, 3) in [0, 255], masks bool (H, W), class maps uint8 (H, W) with 0 background, 1 one cell,
2 overlap. Lengths are given for the paper's cells and scale with the cell diameter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]
Classes = NDArray[np.uint8]

PAPER_DIAMETER = 40.0
"""px of a red cell on the paper's pictures: 7.5 micrometres at its 20-fold magnification, read off its Figure 4."""
ALPHA = BETA = 0.7
"""Of the bathtub-shaped Beta distribution of the mixing weight (section 3.2, step 1)."""
BLURRED = 0.5
"""Share of the pictures that are blurred (step 2)."""
SIGMAS = (1.0, 2.0)
"""px, range of the standard deviation of the blur, at the paper's cell size (step 2)."""
SHIFTS = (20.0, 30.0)
"""px, range of the shift that makes rouleaux, at the paper's cell size."""
OVERLAP = 2
"""Value of pixels that two or more cells cover."""
THICKNESS = 0.3
"""Standard deviation of the logarithm of how much more or less a cell absorbs than it did."""
PATCHES = (0.08, 0.3)
"""Diameters, range of the standard deviation of the Gaussian that makes patches of uneven stain."""
PATCHY = 0.5
"""Largest standard deviation of the logarithm of how much a place absorbs, within a picture."""


def minimum_image(below: Picture, above: Picture) -> Picture:
    """i_min: of each pixel and channel the darker one, so that both outlines show (Figure 3 c)."""
    return np.asarray(np.minimum(below, above))


def overdrawn_image(below: Picture, above: Picture, cells: Mask) -> Picture:
    """i_over: the cells of one picture drawn over the other, so that they hide what lies below (Figure 3 d)."""
    return np.where(cells[..., None], above, below)


def absorbed_twice(below: Picture, above: Picture, light: Picture) -> Picture:
    """Light that passes both cells: below x above / light (Beer-Lambert). Not in the paper.

    Where real cells lie on one another the overlap is often darker than either, which no mixture of `minimum_image` and
    `overdrawn_image` is. light: what passes beside the cells.
    """
    return np.asarray(below * above / np.maximum(light, 1.0), np.float32)


def unequal(picture: Picture, light: Picture, cells: Mask, rng: np.random.Generator) -> Picture:
    """Each connected cell absorbs more or less light than it did. Not in the paper.

    Single cells become as dark as an overlap, and overlaps as pale as a single cell, as on thick and thin smears, so
    that darkness alone says little. light: what passes beside the cells.
    """
    parts, count = ndimage.label(cells)
    change = np.concatenate([[1.0], np.exp(rng.normal(0, THICKNESS, count))]).astype(np.float32)
    return _passing(picture, light, ndimage.gaussian_filter(change[parts], 1.0))


def patchy(picture: Picture, light: Picture, diameter: float, rng: np.random.Generator) -> Picture:
    """Patches without an outline absorb more or less, as centres of target cells do. Not in the paper."""
    noise = rng.standard_normal(picture.shape[:2], np.float32)
    field = ndimage.gaussian_filter(noise, diameter * float(rng.uniform(*PATCHES)))
    strength = float(rng.uniform(0, PATCHY)) / max(float(field.std()), 1e-6)
    return _passing(picture, light, np.exp(np.float32(strength) * field))


def _passing(picture: Picture, light: Picture, power: NDArray[np.float32]) -> Picture:
    """Light that passes `power` (H, W) times as much stain (Beer-Lambert)."""
    share = np.maximum(picture, 1.0) / np.maximum(light, 1.0)
    return np.asarray(light * share ** power[..., None], np.float32)


def mixing_weight(rng: np.random.Generator) -> float:
    """a ~ Beta(0.7, 0.7): most often nearly 0 or nearly 1 (step 1)."""
    return float(rng.beta(ALPHA, BETA))


def mixed(a: float, minimum: Picture, overdrawn: Picture) -> Picture:
    """i = a i_min + (1 - a) i_over (step 1)."""
    return np.float32(a) * minimum + np.float32(1 - a) * overdrawn


def blur_sigma(rng: np.random.Generator, diameter: float) -> float:
    """Standard deviation of the blur in px, 0 for half of the pictures (step 2). diameter: px of a cell."""
    sharp = rng.random() >= BLURRED
    sigma = float(rng.uniform(*SIGMAS)) * diameter / PAPER_DIAMETER
    return 0.0 if sharp else sigma


def blurred(picture: Picture, sigma: float) -> Picture:
    """Gaussian blur, the same in every channel; sigma 0 changes nothing (step 2)."""
    return ndimage.gaussian_filter(picture, (sigma, sigma, 0)) if sigma > 0 else picture


def rouleau_shift(rng: np.random.Generator, diameter: float) -> tuple[int, int]:
    """Rows and columns by which a picture moves over itself: 20 to 30 px, any direction, at the paper's cell size."""
    length = float(rng.uniform(*SHIFTS)) * diameter / PAPER_DIAMETER
    angle = float(rng.uniform(0, 2 * np.pi))
    return round(length * np.sin(angle)), round(length * np.cos(angle))


def summed_masks(below: Classes, above: Mask) -> Classes:
    """The three-class mask: the sum of both, clipped at 2 (Figure 1)."""
    return np.minimum(below + above.astype(np.uint8), OVERLAP).astype(np.uint8)
