"""From an image to the square that a network sees: section 2.2 of the paper.

grey → Otsu → erosion → convex hull → crop of the hull from the RGB image → padded to a square → resized. Cells that are
bright on black (C-NMC, segmented by its makers) and dark on bright (smears) are both found: the border tells which.
Where red cells surround the cell, a second Otsu threshold among what is dark parts the white cell from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from skimage.filters import threshold_otsu

from hemaloop.plugin import Image

Mask = NDArray[np.bool_]

SEGMENTED_AT = 192
"""px. Longer side at which the cell is looked for: finer detail only adds noise and time."""
EROSION = 1 / 96
"""Radius of the erosion, in longer sides."""
SMOOTH = 1 / 96
"""Standard deviation of the blur before thresholding, in longer sides: granules are not cells."""
FLAT = 4.0
"""Standard deviation of grey values, of 255, below which an image shows nothing."""
CROWDED = 0.08
"""Share of the border that is dark from which a dark cell has neighbours that are cut by the border."""
SMALLEST = 0.004
"""Area of a cell, of the image's, below which it is dirt."""
RIVAL = 0.5
"""Area of a second cell, of the first's, from which an image is said to hold two."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """Where the cell is. hull: its convex hull, float64 (V, 2), x and y in px of the image. notes: what is odd."""

    hull: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x1 y1 x2 y2 of the hull, px."""
        (x1, y1), (x2, y2) = self.hull.min(axis=0), self.hull.max(axis=0)
        return float(x1), float(y1), float(x2), float(y2)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What a network sees: pixels uint8 (S, S, 3), of the square `box` x1 y1 x2 y2 px of the image, which may reach
    outside it. reason: why the whole image was taken, empty where a cell was found. notes: what is odd about the cell.
    """

    pixels: Image
    box: tuple[float, float, float, float]
    reason: str = ""
    notes: tuple[str, ...] = ()


def grey_of(image: Image) -> NDArray[np.float32]:
    """(H, W) in [0, 255]: luminance (ITU-R 601), as a grey-scale conversion gives it."""
    return np.asarray(image @ np.array([0.299, 0.587, 0.114], np.float32), np.float32)


def is_bright(grey: NDArray[np.float32], threshold: float) -> bool:
    """Whether the cell is brighter than what surrounds it: the border is as dark as what is dark, or darker.

    A border full of red cells lies below Otsu's threshold too, but well above the mean of what does.
    """
    return bool(np.median(_border(grey)) <= grey[grey <= threshold].mean())


def _border(values: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def binarised(grey: NDArray[np.float32]) -> Mask:
    """Where a cell may be (section 2.2): Otsu's threshold, on the side that the border is not on."""
    threshold = float(threshold_otsu(grey))  # type: ignore[no-untyped-call]
    if is_bright(grey, threshold):
        return np.asarray(grey > threshold)
    mask = np.asarray(grey <= threshold)
    if _border(mask).mean() > CROWDED and len(np.unique(grey[mask])) > 1:
        mask &= grey <= float(threshold_otsu(grey[mask]))  # type: ignore[no-untyped-call]
    return np.asarray(ndimage.binary_fill_holes(mask))


def find_cell(image: Image) -> Cell | str:
    """The cell of an image, or in words why none is to be seen."""
    height, width = image.shape[:2]
    scale = min(1.0, SEGMENTED_AT / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = image if scale == 1 else np.asarray(Pillow.fromarray(image).resize(size, Pillow.Resampling.BOX))
    grey = np.asarray(ndimage.gaussian_filter(grey_of(small), SMOOTH * max(size)), np.float32)
    if grey.std() < FLAT:
        return "it is of one colour throughout"
    chosen = _one_cell(binarised(grey), max(1, round(EROSION * max(grey.shape))))
    if isinstance(chosen, str):
        return chosen
    mask, notes = chosen
    hull = convex_hull(mask)
    if hull is None:
        return "what stands out in it is a line"
    if _border(mask).any():
        notes = (*notes, "the border cuts the cell")
    return Cell(hull * (width / grey.shape[1], height / grey.shape[0]), notes)


def _one_cell(mask: Mask, radius: int) -> tuple[Mask, tuple[str, ...]] | str:
    """The eroded mask's largest part, the farther from the middle the less it counts, grown back to its size."""
    disk = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius
    parts, count = ndimage.label(ndimage.binary_erosion(mask, disk, border_value=1))
    if not count:
        return "nothing stands out in it"
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:].astype(np.float64)
    centres = np.array(ndimage.center_of_mass(parts > 0, parts, np.arange(1, count + 1)))
    middle = (np.array(mask.shape) - 1) / 2
    off = np.linalg.norm((centres - middle) / np.maximum(middle, 1), axis=1)  # 0 in the middle, 1 at an edge's
    weighed = areas / (1 + off) ** 2
    best = int(weighed.argmax())
    if areas[best] < SMALLEST * mask.size:
        return "nothing in it is as large as a cell"
    rivals = int((areas >= RIVAL * areas[best]).sum()) - 1
    grown = ndimage.binary_dilation(parts == best + 1, disk) & mask
    return np.asarray(grown), (f"{rivals + 1} cells are in it; the largest near the middle counts",) if rivals else ()


def convex_hull(mask: Mask) -> NDArray[np.float64] | None:
    """Corners x, y of the hull round the pixels of a mask (their outer edges), None for less than an area."""
    rows, columns = np.nonzero(mask & ~ndimage.binary_erosion(mask))
    if len(rows) < 3:
        return None
    corners = np.stack([columns, rows], axis=1)[:, None] + np.array([[0, 0], [1, 0], [0, 1], [1, 1]])  # (N, 4, 2)
    points = corners.reshape(-1, 2).astype(np.float64)
    try:
        return np.asarray(points[ConvexHull(points).vertices])
    except QhullError:
        return None


def square_round(box: tuple[float, float, float, float], margin: float) -> tuple[float, float, float, float]:
    """The square with the middle of a box and its longer side, and `margin` such sides more on each side."""
    x1, y1, x2, y2 = box
    half = max(x2 - x1, y2 - y1, 1.0) * (0.5 + margin)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - half, y - half, x + half, y + half


def prepare(image: Image, size: int, *, margin: float = 0.2, inside_only: bool = False) -> Prepared:
    """What the network sees of an image: size x size px round its cell; the whole image, padded, where none is found.

    inside_only: what lies outside the hull is black. Padding repeats the image's own border colour.
    """
    height, width = image.shape[:2]
    cell = find_cell(image)
    if isinstance(cell, str):
        box = square_round((0.0, 0.0, float(width), float(height)), 0.0)
        return Prepared(cut(image, box, size), box, cell)
    seen = blackened(image, cell.hull) if inside_only else image
    box = square_round(cell.box, margin)
    return Prepared(cut(seen, box, size), box, "", cell.notes)


def blackened(image: Image, hull: NDArray[np.float64]) -> Image:
    """A copy of an image with everything outside a hull black, as C-NMC's images are."""
    inside = Pillow.new("1", (image.shape[1], image.shape[0]))
    ImageDraw.Draw(inside).polygon([(float(x), float(y)) for x, y in hull], fill=1)
    return np.where(np.asarray(inside)[..., None], image, np.uint8(0))


def cut(image: Image, box: tuple[float, float, float, float], size: int) -> Image:
    """The square `box` of an image, size x size px; outside the image, the median colour of its border."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (round(value) for value in box)
    side = max(1, x2 - x1, y2 - y1)
    square = np.empty((side, side, 3), np.uint8)
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x1 + side, width), min(y1 + side, height)
    if right - left < side or bottom - top < side:
        square[:] = np.median(_border(image), axis=0)
    square[top - y1 : bottom - y1, left - x1 : right - x1] = image[top:bottom, left:right]
    return np.asarray(Pillow.fromarray(square).resize((size, size), Pillow.Resampling.BILINEAR))
