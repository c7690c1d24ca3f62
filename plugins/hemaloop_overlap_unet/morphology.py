"""Masks: holes filled, small parts removed, opened by a disc; classes at another size or place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

from hemaloop.stain import Mask

Classes = NDArray[np.uint8]

EIGHT = np.ones((3, 3), bool)
"""Pixels that touch at a corner hang together."""
HOLE = 0.45
"""Area up to which a hole is the pallor of a cell, of a usual cell's disc: a larger one is background among cells."""


def without_large_holes(mask: Mask, diameter: float) -> Mask:
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


def redrawn(classes: Classes, values: Classes, draw: Callable[[Pillow.Image, int], Pillow.Image]) -> Classes:
    """Classes (h, w) at another size or place, where each pixel is the class with the largest share of it.

    Outlines stay where they are to a part of a pixel, where picking the nearest pixel moves them by up to a half.
    values: those that may be there. draw: a picture of one class, 0 to 1, and its value, to the picture as it will be.
    """
    shares = [np.asarray(draw(Pillow.fromarray((classes == value).astype(np.float32)), int(value))) for value in values]
    return np.asarray(values[np.argmax(np.stack(shares), axis=0)])


def resized_classes(classes: Classes, height: int, width: int) -> Classes:
    """Classes (h, w) as (height, width)."""
    if classes.shape == (height, width):
        return classes
    how = Pillow.Resampling.BILINEAR
    return redrawn(classes, np.unique(classes), lambda share, _: share.resize((width, height), how))
