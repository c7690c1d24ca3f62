"""Free-standing red cells without any label: section 3.1 of the paper, in numpy.

    image -> diameter of a cell -> absorbance -> Laplacian edges -> filled -> small objects removed -> opened
          -> white cells and platelets left out -> red cells

Every length is a part of the cell diameter, which is estimated from the image, so nothing here knows micrometres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import regionprops

from hemaloop.plugin import Image
from hemaloop.stain import Mask
from hemaloop_overlap_unet.morphology import disc, opened, remove_small, without_large_holes
from hemaloop_overlap_unet.stains import FLAT, FloatImage, absorbance, has_colour, told_apart, white_cells

WORKING_DIAMETER = 20.0
"""px of a cell where it is looked for: finer pixels cost time and give the same cells."""
FINE_DIAMETER = 40.0
"""px of a cell where its outline is to be exact: four times the time."""
GLANCE = 512
"""Longer side, px, of the picture on which the diameter is estimated."""
EDGE_WIDTH = 0.05
"""Standard deviation of the Gaussian under the Laplacian, in diameters."""
EDGE = 0.08
"""Least curvature of an edge, of that of a usual cell's rim (contrast over the Gaussian's variance)."""
FAINT = 0.3
"""Absorbance that an object must have on average, of a usual cell's: below it is a ghost or a shadow."""
SMALL = 0.2
"""Area up to which an object is a platelet or dirt, of a usual cell's disc."""
OPENING = 0.07
"""Radius of the opening, in diameters."""
SOLID = 0.9
"""Area over that of the convex hull, from which an object is one free-standing cell."""
PALE = 0.2
"""Absorbance from which something is stained, of a usual cell's."""
RIM = 0.06
"""Diameters beyond the outline of a cell that its own rim and halo may reach."""
ENOUGH = 3
"""Free-standing cells from which the diameter is taken from them."""


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
        diameters = np.append(diameters, _depths(without_large_holes(dark, 2 * guess), guess))
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


def segment(image: Image, working: float = WORKING_DIAMETER) -> Segmentation:
    """Red cells of an image uint8 (H, W, 3), at its own size.

    working: px of a cell where it is looked for, at most as many as it has. An image without cells gives empty masks.
    """
    height, width = image.shape[:2]
    nothing = Segmentation(np.zeros((height, width), bool), np.zeros((height, width), bool), 0.0)
    diameter = estimated_diameter(image)
    if diameter <= 0:
        return nothing
    factor = min(1.0, working / diameter)
    small = resized(upright(image), factor)
    if min(small.shape[:2]) < 8:
        return nothing
    red, foreign = _segment(small, diameter * factor)
    return Segmentation(grown(red, height, width), grown(foreign, height, width), diameter)


def overlooked(image: Image, found: Segmentation) -> Mask:
    """What is stained and none of the cells found, bool (H, W): pale or cut cells, fragments, dirt.

    Nothing where no red cell was found, beside which something could be pale.
    """
    height, width = image.shape[:2]
    if not found.red.any():
        return np.zeros((height, width), bool)
    factor = min(1.0, FINE_DIAMETER / found.diameter)
    small = resized(upright(image), factor)
    diameter = found.diameter * factor
    green = ndimage.gaussian_filter(absorbance(small, diameter)[..., 1], diameter / 40)
    red, foreign = (grown(mask, *small.shape[:2]) for mask in (found.red, found.foreign))
    usual = float(np.median(green[red]))
    rim = ndimage.binary_dilation(red | foreign, disc(RIM * diameter))
    return grown(opened((green > max(FLAT, PALE * usual)) & ~rim, RIM * diameter), height, width)


def _segment(image: Image, diameter: float) -> tuple[Mask, Mask]:
    colour = absorbance(image, diameter)
    green = ndimage.gaussian_filter(colour[..., 1], diameter / 40)
    dark = green[green >= FLAT]
    if len(dark) < 0.1 * diameter**2:
        return np.zeros(green.shape, bool), np.zeros(green.shape, bool)
    smooth = ndimage.gaussian_filter(colour, (diameter / 40, diameter / 40, 0))
    usual, stain = told_apart(smooth, has_colour(image))
    rims = laplacian_rims(green.clip(None, 2 * usual), diameter, usual) & (green > 0.2 * usual)
    filled = without_large_holes(rims | (green > 0.45 * usual), diameter)
    objects = opened(remove_small(filled, 0.05 * diameter**2), OPENING * diameter)
    foreign = white_cells(stain, objects, diameter)
    red = opened(objects & ~foreign, OPENING * diameter)
    red = remove_small(red, SMALL * np.pi / 4 * diameter**2)
    return _solid(red, green, usual), foreign & ~red


def _solid(mask: Mask, green: FloatImage, usual: float) -> Mask:
    """Objects that are about as dark as a red cell."""
    parts, count = ndimage.label(mask)
    if not count:
        return mask
    means = np.concatenate([[0.0], ndimage.mean(green, parts, np.arange(1, count + 1))])
    return np.asarray((means >= FAINT * usual)[parts] & mask)
