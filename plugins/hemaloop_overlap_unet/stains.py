"""What a pixel absorbs, and which stain it was: red cells from white cells and platelets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from hemaloop.plugin import Image
from hemaloop.stain import Mask, light
from hemaloop_overlap_unet.morphology import disc, without_large_holes

FloatImage = NDArray[np.float32]

FLAT = 0.04
"""Absorbance (natural logarithm) below which nothing is stained: a field without cells."""
PURPLE = 1.35
"""Absorbed red over absorbed green from which a pixel is a nucleus, of that of red cells."""
NUCLEUS_LIGHT = 0.7
"""Absorbed red from which a purple pixel is a nucleus, of the green that a usual red cell absorbs."""
NUCLEUS_DARK = 3.2
"""Absorbed red from which any pixel is a nucleus, of what a usual red cell absorbs of it."""
NUCLEUS_LEAST = 1.1
"""The same, of the green that a usual red cell absorbs."""
NUCLEUS_AREA = 0.25
"""Area from which a nucleus is that of a white cell, of a usual cell's disc: smaller ones are platelets."""
GREY = 3.0
"""Mean difference of red and blue from green, below which a picture has no colour to tell white cells by."""
DARK_GREY = 2.2
"""Absorbance, of a usual cell's, from which a grey pixel is a nucleus."""
CYTOPLASM = 0.3
"""How far a white cell may reach beyond its nucleus, in diameters."""


def absorbance(image: Image, diameter: float) -> FloatImage:
    """(H, W, 3): natural logarithm of the light round a place over the light there, in red, green and blue."""
    channels = []
    for channel in range(3):
        values = image[..., channel].astype(np.float32)
        channels.append(np.log(light(values, diameter) / np.maximum(values, 1.0)))
    return np.stack(channels, axis=2).astype(np.float32)


def nuclei(absorbed: FloatImage, usual: float, has_colour: bool) -> Mask:
    """Pixels with nuclear stain: (H, W). absorbed: (H, W, 3). usual: green that a usual red cell absorbs.

    Haemoglobin lets red light pass, nuclear stain does not. How much passes differs between stains and cameras, so it
    is measured on what absorbs about as much green as a red cell.
    """
    red, green = absorbed[..., 0], absorbed[..., 1]
    if not has_colour:
        return np.asarray(green > DARK_GREY * usual)
    cells = (green > 0.7 * usual) & (green < 1.3 * usual)
    share = float(np.median(red[cells] / green[cells])) if cells.any() else 0.5
    purple = (red > PURPLE * share * green) & (red > NUCLEUS_LIGHT * usual)
    dark = red > max(NUCLEUS_DARK * share, NUCLEUS_LEAST) * usual  # three cells on one another are not as dark
    return np.asarray(purple | dark)


def told_apart(absorbed: FloatImage, coloured: bool) -> tuple[float, Mask]:
    """Green that a usual red cell absorbs, and the pixels with nuclear stain, which are left out of it."""
    green = absorbed[..., 1]
    usual = usual_absorbance(green)
    stain = nuclei(absorbed, usual, coloured)
    apart = green[~ndimage.binary_dilation(stain, iterations=3)]
    if stain.any() and np.count_nonzero(apart >= FLAT) > 100:
        usual = usual_absorbance(apart)
        stain = nuclei(absorbed, usual, coloured)
    return usual, stain


def has_colour(image: Image) -> bool:
    """Whether colours can tell white cells from red ones: not so on a grey picture."""
    channels: Any = image.astype(np.int16)
    return bool(np.abs(channels[..., (0, 2)] - channels[..., 1:2]).mean() >= GREY)


def usual_absorbance(green: FloatImage) -> float:
    """Median absorbance of what is clearly stained, nuclei aside."""
    most = 2.0 * float(np.median(green[green >= FLAT]))
    cut = float(threshold_otsu(green.clip(0, most)))  # type: ignore[no-untyped-call]
    return float(np.median(green[green > max(cut, FLAT)].clip(0, most)))


def white_cells(stain: Mask, objects: Mask, diameter: float) -> Mask:
    """What belongs to white cells and platelets: their nuclei and what lies within `CYTOPLASM` of a large one."""
    area = np.pi / 4 * diameter**2
    parts, count = ndimage.label(ndimage.binary_closing(stain, disc(0.1 * diameter)))
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    large = areas >= NUCLEUS_AREA * area
    large[0] = False
    nucleus = large[parts]
    if nucleus.any():
        nucleus = without_large_holes(nucleus, diameter)
        reach = ndimage.distance_transform_edt(~nucleus) <= CYTOPLASM * diameter
        nucleus = nucleus | (reach & objects)
    small = (areas > 0) & ~large & (areas >= 0.01 * area)
    small[0] = False
    return np.asarray(nucleus | ndimage.binary_dilation(small[parts], disc(0.1 * diameter)))
