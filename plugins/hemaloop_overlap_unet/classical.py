"""Free-standing red cells without any label: section 3.1 of the paper, in numpy.

    image -> diameter of a cell -> absorbance -> Laplacian edges -> filled -> small objects removed -> opened
          -> white cells and platelets left out -> red cells

Every length is a part of the cell diameter, which is estimated from the image, so nothing here knows micrometres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import regionprops

from hemaloop.plugin import Image
from hemaloop.stain import Mask, light

FloatImage = NDArray[np.float32]

WORKING_DIAMETER = 20.0
"""px of a cell where it is looked for: finer pixels cost time and give the same cells."""
GLANCE = 512
"""Longer side, px, of the picture on which the diameter is estimated."""
FLAT = 0.04
"""Absorbance (natural logarithm) below which nothing is stained: a field without cells."""
EDGE_WIDTH = 0.05
"""Standard deviation of the Gaussian under the Laplacian, in diameters."""
EDGE = 0.08
"""Least curvature of an edge, of that of a usual cell's rim (contrast over the Gaussian's variance)."""
FAINT = 0.3
"""Absorbance that an object must have on average, of a usual cell's: below it is a ghost or a shadow."""
SMALL = 0.2
"""Area up to which an object is a platelet or dirt, of a usual cell's disc."""
HOLE = 0.45
"""Area up to which a hole is the pallor of a cell, of a usual cell's disc: a larger one is background among cells."""
OPENING = 0.07
"""Radius of the opening, in diameters."""
PURPLE = 1.35
"""Absorbed red over absorbed green from which a pixel is a nucleus, of that of red cells."""
NUCLEUS_LIGHT = 0.7
"""Absorbed red from which a purple pixel is a nucleus, of the green that a usual red cell absorbs."""
NUCLEUS_DARK = 3.2
"""Absorbed red from which any pixel is a nucleus, of what a usual red cell absorbs of it."""
NUCLEUS_LEAST = 1.1
"""The same, of the green that a usual red cell absorbs."""
SOLID = 0.9
"""Area over that of the convex hull, from which an object is one free-standing cell."""
ENOUGH = 3
"""Free-standing cells from which the diameter is taken from them."""
NUCLEUS_AREA = 0.25
"""Area from which a nucleus is that of a white cell, of a usual cell's disc: smaller ones are platelets."""
GREY = 3.0
"""Mean difference of red and blue from green, below which a picture has no colour to tell white cells by."""
DARK_GREY = 2.2
"""Absorbance, of a usual cell's, from which a grey pixel is a nucleus."""
CYTOPLASM = 0.3
"""How far a white cell may reach beyond its nucleus, in diameters."""


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Red cells of one image. red: bool (H, W). foreign: white cells and platelets, bool (H, W).

    diameter: of a usual red cell, px of the image; 0 where there is no cell.
    """

    red: Mask
    foreign: Mask
    diameter: float


def resized(image: Image, factor: float) -> Image:
    """The image `factor` times as large, by mean of areas where it becomes smaller."""
    height, width = image.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if size == (width, height):
        return image
    how = Pillow.Resampling.BOX if factor < 1 else Pillow.Resampling.BICUBIC
    return np.asarray(Pillow.fromarray(image).resize(size, how, reducing_gap=2.0 if factor < 0.5 else None))


def grown(mask: Mask, height: int, width: int) -> Mask:
    """A mask (h, w) as one of height x width px, its edges smoothed by interpolation."""
    if mask.shape == (height, width):
        return mask
    grey = Pillow.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Pillow.Resampling.BILINEAR)
    return np.asarray(grey) >= 128


def is_inverted(image: Image) -> bool:
    """Whether cells are brighter than the background, as in a negative or in dark field.

    The background is the side of Otsu's threshold that is smoother and reaches further along the picture's frame.
    """
    image = resized(image, min(1.0, GLANCE / 2 / max(image.shape[:2])))
    grey = ndimage.gaussian_filter(image.mean(axis=2, dtype=np.float32), 1.0)
    if min(grey.shape) < 3 or float(np.ptp(grey)) < 8:
        return False
    level = grey - ndimage.uniform_filter(grey, min(grey.shape) // 2)  # light may fall off to a side
    bright = level > threshold_otsu(level)  # type: ignore[no-untyped-call]
    rough = ndimage.gaussian_gradient_magnitude(grey, 1.5)
    inner_bright, inner_dark = (
        ndimage.binary_erosion(bright, iterations=2),
        ndimage.binary_erosion(~bright, iterations=2),
    )
    if not inner_bright.any() or not inner_dark.any():
        return False
    frame = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    smoother = float(np.median(rough[inner_dark])) < 0.7 * float(np.median(rough[inner_bright]))
    return bool(smoother and frame.mean() < 0.5)


def upright(image: Image) -> Image:
    """The image with cells darker than the background."""
    return 255 - image if is_inverted(image) else image


def absorbance(image: Image, diameter: float) -> FloatImage:
    """(H, W, 3): natural logarithm of the light round a place over the light there, in red, green and blue."""
    channels = []
    for channel in range(3):
        values = image[..., channel].astype(np.float32)
        channels.append(np.log(light(values, diameter) / np.maximum(values, 1.0)))
    return np.stack(channels, axis=2).astype(np.float32)


def estimated_diameter(image: Image) -> float:
    """Diameter of a usual red cell, px; 0 where nothing is stained.

    That of the free-standing objects, each counted by its area. Where there are few, twice the depth of what is
    stained at its deepest places: in a clump too, the largest disc that fits is about a cell.
    """
    factor = min(1.0, GLANCE / max(image.shape[:2]))
    small = resized(upright(image), factor)
    if min(small.shape[:2]) < 8:
        return 0.0
    guess = max(small.shape[:2]) / 10
    colour = ndimage.gaussian_filter(absorbance(small, guess), (guess / 50, guess / 50, 0))
    if colour[..., 1].max() < FLAT:
        return 0.0
    usual, stain = told_apart(colour, has_colour(small))
    white = ndimage.binary_dilation(remove_small(stain, (guess / 3) ** 2), disc(guess / 4))
    white |= ndimage.binary_dilation(stain, disc(guess / 20))
    dark = (colour[..., 1] > max(FLAT, 0.45 * usual)) & ~white
    diameters = _free_standing_diameters(dark)
    if len(diameters) < ENOUGH:
        diameters = np.append(diameters, _depths(_without_large_holes(dark, 2 * guess), guess))
    return _weighted_median(diameters, diameters**1.5) / factor


def _free_standing_diameters(dark: Mask) -> NDArray[np.float64]:
    """Of a disc with the area of each whole object without dents."""
    parts, _ = ndimage.label(ndimage.binary_fill_holes(dark))
    height, width = dark.shape
    found = []
    for part in regionprops(parts):  # type: ignore[no-untyped-call]
        top, left, bottom, right = part.bbox
        whole = top > 0 and left > 0 and bottom < height and right < width
        if whole and part.area >= 40 and part.area >= SOLID * part.area_convex:
            found.append(float(part.equivalent_diameter_area))
    return np.array(found)


def _depths(mask: Mask, guess: float) -> NDArray[np.float64]:
    """Diameters of the largest discs that fit into a mask, one a place."""
    depth = ndimage.distance_transform_edt(mask)
    smooth = ndimage.gaussian_filter(depth, 1.0)
    wide = 2 * max(1, round(guess / 6)) + 1
    peaks = (smooth == ndimage.maximum_filter(smooth, wide)) & (depth >= 3.0)
    return np.asarray(2 * depth[peaks], np.float64)


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """0 where there is no value."""
    if not len(values):
        return 0.0
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(share, share[-1] / 2)])


def laplacian_rims(absorbed: FloatImage, diameter: float, contrast: float) -> Mask:
    """Inner side of every edge: where the Laplacian of the smoothed absorbance is well below zero.

    It changes its sign on the outline itself, whatever the contrast, so rims end where cells end.
    """
    width = max(0.7, EDGE_WIDTH * diameter)
    curvature = -ndimage.gaussian_laplace(absorbed, width)
    return np.asarray(curvature > EDGE * contrast / width**2)


def _without_large_holes(mask: Mask, diameter: float) -> Mask:
    """Holes filled up to the size of a pallor; pixel-sized ones always."""
    holes, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    small = np.bincount(holes.ravel(), minlength=count + 1) <= max(4.0, HOLE * np.pi / 4 * diameter**2)
    small[0] = False
    return np.asarray(mask | small[holes])


def disc(radius: float) -> Mask:
    """A disc of a radius in px, at least a cross of 3 x 3."""
    reach = max(1, int(radius))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(np.hypot(rows, columns) <= max(1.0, radius))


def remove_small(mask: Mask, area: float) -> Mask:
    """Connected parts of less than `area` px left out."""
    parts, count = ndimage.label(mask)
    keep = np.bincount(parts.ravel(), minlength=count + 1) >= area
    keep[0] = False
    return np.asarray(keep[parts])


def opened(mask: Mask, radius: float) -> Mask:
    """Binary opening by a disc; objects at the frame keep their straight side."""
    reach = max(1, int(radius))
    padded = np.pad(mask, reach, mode="edge")
    return np.asarray(ndimage.binary_opening(padded, disc(radius))[reach:-reach, reach:-reach])


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


def white_cells(stain: Mask, objects: Mask, diameter: float) -> Mask:
    """What belongs to white cells and platelets: their nuclei and what lies within `CYTOPLASM` of a large one."""
    area = np.pi / 4 * diameter**2
    parts, count = ndimage.label(ndimage.binary_closing(stain, disc(0.1 * diameter)))
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    large = areas >= NUCLEUS_AREA * area
    large[0] = False
    nucleus = large[parts]
    if nucleus.any():
        nucleus = _without_large_holes(nucleus, diameter)
        reach = ndimage.distance_transform_edt(~nucleus) <= CYTOPLASM * diameter
        nucleus = nucleus | (reach & objects)
    small = (areas > 0) & ~large & (areas >= 0.01 * area)
    small[0] = False
    return np.asarray(nucleus | ndimage.binary_dilation(small[parts], disc(0.1 * diameter)))


def segment(image: Image, diameter: float | None = None) -> Segmentation:
    """Red cells of an image uint8 (H, W, 3), at its own size.

    diameter: of a usual cell, px; estimated if None. An image without cells gives empty masks.
    """
    height, width = image.shape[:2]
    nothing = Segmentation(np.zeros((height, width), bool), np.zeros((height, width), bool), 0.0)
    diameter = estimated_diameter(image) if diameter is None else diameter
    if diameter <= 0:
        return nothing
    factor = min(1.0, WORKING_DIAMETER / diameter)
    small = resized(upright(image), factor)
    if min(small.shape[:2]) < 8:
        return nothing
    red, foreign = _segment(small, diameter * factor)
    return Segmentation(grown(red, height, width), grown(foreign, height, width), diameter)


def _segment(image: Image, diameter: float) -> tuple[Mask, Mask]:
    colour = absorbance(image, diameter)
    green = ndimage.gaussian_filter(colour[..., 1], diameter / 40)
    dark = green[green >= FLAT]
    if len(dark) < 0.1 * diameter**2:
        return np.zeros(green.shape, bool), np.zeros(green.shape, bool)
    smooth = ndimage.gaussian_filter(colour, (diameter / 40, diameter / 40, 0))
    usual, stain = told_apart(smooth, has_colour(image))
    rims = laplacian_rims(green.clip(None, 2 * usual), diameter, usual) & (green > 0.2 * usual)
    filled = _without_large_holes(rims | (green > 0.45 * usual), diameter)
    objects = opened(remove_small(filled, 0.05 * diameter**2), OPENING * diameter)
    foreign = white_cells(stain, objects, diameter)
    red = opened(objects & ~foreign, OPENING * diameter)
    red = remove_small(red, SMALL * np.pi / 4 * diameter**2)
    return _solid(red, green, usual), foreign & ~red


def usual_absorbance(green: FloatImage) -> float:
    """Median absorbance of what is clearly stained, nuclei aside."""
    most = 2.0 * float(np.median(green[green >= FLAT]))
    cut = float(threshold_otsu(green.clip(0, most)))  # type: ignore[no-untyped-call]
    return float(np.median(green[green > max(cut, FLAT)].clip(0, most)))


def _solid(mask: Mask, green: FloatImage, usual: float) -> Mask:
    """Objects that are about as dark as a red cell."""
    parts, count = ndimage.label(mask)
    if not count:
        return mask
    means = np.concatenate([[0.0], ndimage.mean(green, parts, np.arange(1, count + 1))])
    return np.asarray((means >= FAINT * usual)[parts] & mask)
