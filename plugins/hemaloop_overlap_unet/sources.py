"""What pictures are composed of: corrected images at one magnification, and the free-standing cells on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage
from skimage.measure import regionprops

from hemaloop.plugin import UNKNOWN, Image
from hemaloop.stain import light
from hemaloop_overlap_unet.centres import heatmap
from hemaloop_overlap_unet.classical import ENOUGH, FINE_DIAMETER, Segmentation, grown, overlooked, resized, segment
from hemaloop_overlap_unet.morphology import disc, remove_small, resized_classes, without_large_holes
from hemaloop_overlap_unet.stains import NUCLEUS_AREA

_LIGHT_STEP = 8
"""px of the image to a px of the kept light, which is smooth."""
_FREE = (0.3, 2.0)
"""Areas of a free-standing cell, of the median of its image."""
_SOLID = 0.88
"""Area over that of the convex hull, below which an object is not one cell but several that touch."""
_APART = 0.05
"""Diameters that lie between a cell that stands free and what else there is."""
_MARGIN = 0.15
"""Diameters round what is not sure to be one cell in which its outline may lie."""
_STOPS_RED = 0.79
"""Share of red light above which a thing is no white cell by its median pixel, but red cells under a scale bar."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One image at the working magnification.

    pixels: uint8 (H, W, 3). classes: uint8 (H, W), 0, 1, 2 or `UNKNOWN`. cells: bool (H, W), the free-standing cells
    that do not touch the frame. centres: uint8 (H, W), their heatmap, `UNKNOWN` on all other cells. foreign: bool (H,
    W), white cells and platelets. lamp: uint8 (h, w, 3), light beside the cells, smaller.
    """

    pixels: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    cells: NDArray[np.bool_]
    centres: NDArray[np.uint8]
    foreign: NDArray[np.bool_]
    lamp: NDArray[np.uint8]

    @property
    def has_overlaps(self) -> bool:
        """Whether somebody marked a real overlap on it."""
        return bool((self.classes == 2).any())

    def light(self) -> NDArray[np.uint8]:
        """(H, W, 3): what the image would be without anything on it."""
        height, width = self.pixels.shape[:2]
        return np.asarray(Pillow.fromarray(self.lamp).resize((width, height), Pillow.Resampling.BILINEAR))


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """A white cell or a platelet. passed: float32 (h, w, 3), share of the light that passes. mask: bool (h, w)."""

    passed: NDArray[np.float32]
    mask: NDArray[np.bool_]


def free_standing(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Cells that touch no other, no overlap, nothing unknown and not the frame: bool (H, W)."""
    parts, count = ndimage.label(classes > 0)
    alone = np.ones(count + 1, bool)
    alone[np.unique(parts[classes > 1])] = False
    frame = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    alone[np.unique(frame)] = False
    alone[0] = False
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    if alone.any():
        usual = float(np.median(areas[alone]))
        alone &= (areas >= _FREE[0] * usual) & (areas <= _FREE[1] * usual)
    return np.asarray(alone[parts])


def truth_diameter(classes: NDArray[np.uint8], least: int = ENOUGH) -> float:
    """Median diameter of the free-standing cells, px, of discs of their area; 0 where there are fewer than `least`."""
    parts, count = ndimage.label(free_standing(classes))
    if count < least:
        return 0.0
    return float(np.median(np.sqrt(np.bincount(parts.ravel())[1:] * 4 / np.pi)))


def make_source(image: Image, classes: NDArray[np.uint8], found: Segmentation, diameter: float) -> Source:
    """An image and its truth at the magnification at which a cell measures `diameter` px.

    found: the image segmented. The size of its cells is taken from the truth, or from there where few stand free.
    """
    own = truth_diameter(classes) or found.diameter or truth_diameter(classes, 1) or diameter
    factor = diameter / own
    pixels = resized(image, factor)
    height, width = pixels.shape[:2]
    small = resized_classes(classes, height, width)
    size = max(1, width // _LIGHT_STEP), max(1, height // _LIGHT_STEP)
    lamp = np.stack([light(pixels[..., channel].astype(np.float32), diameter) for channel in range(3)], axis=2)
    coarse = np.asarray(Pillow.fromarray(lamp.clip(0, 255).astype(np.uint8)).resize(size, Pillow.Resampling.BOX))
    foreign = grown(found.foreign, height, width)
    cells = free_standing(small)
    centres = np.where((small > 0) & ~cells, UNKNOWN, heatmap(cells, diameter)).astype(np.uint8)
    return Source(np.ascontiguousarray(pixels), small.copy(), cells, centres, foreign, coarse)


def trusted_classes(image: Image) -> NDArray[np.uint8]:
    """Truth made without a person: free-standing cells of the classical segmentation, all other objects unknown.

    What is not sure to be one cell (clumps, dents, unusual sizes, what touches a white cell or is too pale), with the
    holes in it and a margin, is `UNKNOWN`, uint8 (H, W); white cells and platelets are background.
    """
    found = segment(image, FINE_DIAMETER)
    parts, count = ndimage.label(found.red)
    classes = np.where(found.red | overlooked(image, found), UNKNOWN, 0).astype(np.uint8)
    if not count:
        return classes
    height, width = classes.shape
    regions = regionprops(parts)  # type: ignore[no-untyped-call]
    areas = np.array([region.area for region in regions], float)
    solid = np.array([region.area >= _SOLID * region.area_convex for region in regions])
    usual = np.pi / 4 * found.diameter**2
    one = solid & (areas >= _FREE[0] * usual) & (areas <= 1.45 * usual)
    one[np.setdiff1d(parts[ndimage.binary_dilation(found.foreign, disc(_APART * found.diameter))], [0]) - 1] = False
    for region, free in zip(regions, one, strict=True):
        top, left, bottom, right = region.bbox
        cut = top == 0 or left == 0 or bottom == height or right == width
        if free and not cut:
            classes[parts == region.label] = 1
    unsure = classes == UNKNOWN
    if unsure.any():
        unsure = ndimage.distance_transform_edt(~unsure) <= _MARGIN * found.diameter
    sure = found.foreign | ndimage.binary_dilation(classes == 1, disc(_APART * found.diameter))
    classes[without_large_holes(unsure, found.diameter) & (classes == 0) & ~sure] = UNKNOWN
    return classes


def cutouts(image: Image, found: Segmentation, diameter: float) -> list[Cutout]:
    """White cells and platelets of an image, at the magnification at which a red cell measures `diameter` px.

    found: the image segmented.
    """
    if found.diameter <= 0:
        return []
    factor = diameter / found.diameter
    pixels = resized(image, factor).astype(np.float32)
    height, width = pixels.shape[:2]
    foreign, red = grown(found.foreign, height, width), grown(found.red, height, width)
    foreign = remove_small(foreign, 0.02 * diameter**2)
    lamp = np.stack([light(pixels[..., channel], diameter) for channel in range(3)], axis=2)
    passed = (pixels / np.maximum(lamp, 1)).clip(0, 1.1)
    parts, _ = ndimage.label(foreign)
    pieces = []
    for number, window in enumerate(ndimage.find_objects(parts), 1):
        top, left = window[0].start, window[1].start
        if top == 0 or left == 0 or window[0].stop == height or window[1].stop == width:
            continue
        mask = ndimage.binary_opening(parts[window] == number, disc(0.06 * diameter))
        area = mask.sum() / (np.pi / 4 * diameter**2)
        # a small piece at the rim of a red cell is more often its shadow than a platelet
        around = slice(max(0, top - 2), window[0].stop + 2), slice(max(0, left - 2), window[1].stop + 2)
        white = area > 0.6 and float(np.median(passed[window][mask][:, 0])) < _STOPS_RED
        if (0.03 < area < NUCLEUS_AREA and not red[around].any()) or white:
            pieces.append(Cutout(passed[window].astype(np.float32), np.asarray(mask)))
    return pieces


def usable(sources: Sequence[Source]) -> list[Source]:
    """Those with a free-standing cell."""
    return [source for source in sources if source.cells.any()]
