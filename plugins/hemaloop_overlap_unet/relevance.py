"""How much an image is worth labelling: how unsure the model is about overlaps, for the cells that there are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hemaloop.plugin import Image, ReviewMark
from hemaloop_overlap_unet.cells import Cells
from hemaloop_overlap_unet.inference import Look
from hemaloop_overlap_unet.meaning import Meaning
from hemaloop_overlap_unet.options import OverlapUNetOptions

NEAR = 0.08
"""Probability of an overlap from which a pixel is near one."""
PLACE = 0.05
"""Wrong area, of a usual cell's disc, from which a place is worth a look."""
MOST_PLACES = 5
"""Places that are named."""

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Worth:
    """value >= 0. marks: classes to look at. parts: what the value is made of."""

    value: float
    marks: tuple[ReviewMark, ...] = ()
    parts: Mapping[str, float] = field(default_factory=dict)


def probably_wrong(plain: Values, mirrored: Values) -> Values:
    """(H, W): probability that the plain look's class is wrong, as the mean of both looks has it.

    plain, mirrored: (3, H, W). Grows where the looks disagree, and where both are unsure.
    """
    mean = (plain + mirrored) / 2
    chosen = plain.argmax(axis=0)
    return np.asarray(1 - np.take_along_axis(mean, chosen[None], axis=0)[0])


def near_overlaps(plain: Values, mirrored: Values) -> NDArray[np.bool_]:
    """(H, W): where either look thinks of an overlap."""
    return np.asarray(np.maximum(plain[2], mirrored[2]) >= NEAR)


def overlap_doubt(wrong: Values, near: NDArray[np.bool_], cells: int, area: float) -> float:
    """Expected wrong area near overlaps, of the area of the cells: in [0, 1] or little above.

    A field with twice as many cells of the same kind is worth the same: more cells, not more relevance. area: px of a
    usual cell.
    """
    return float(wrong[near].sum() / (max(cells, 1) * area)) if area > 0 else 0.0


def doubtful_places(wrong: Values, near: NDArray[np.bool_], area: float) -> list[tuple[float, int, int]]:
    """Wrong area to expect in usual cells, x and y of the middle in px, of each place near an overlap; worst first."""
    parts, count = ndimage.label(ndimage.binary_dilation(near, iterations=1))
    if not count or area <= 0:
        return []
    numbers = np.arange(1, count + 1)
    sums = ndimage.sum(np.where(near, wrong, 0), parts, numbers) / area
    places = ndimage.center_of_mass(parts > 0, parts, numbers)
    found = [(float(size), round(x), round(y)) for size, (y, x) in zip(sums, places, strict=True) if size >= PLACE]
    return sorted(found, reverse=True)


def relevance(
    plain: Values,
    mirrored: Values,
    look: Look,
    cells: Cells,
    meaning: Meaning,
    options: OverlapUNetOptions,
    image: Image,
) -> Worth:
    """Of an image at the network's magnification; plain, mirrored: probabilities (3, h, w) of both looks."""
    wrong, near = probably_wrong(plain, mirrored), near_overlaps(plain, mirrored)
    area = np.pi / 4 * (look.diameter * look.factor) ** 2
    value = overlap_doubt(wrong, near, len(cells), area)
    places = doubtful_places(wrong, near, area)
    parts = {"cells": float(len(cells)), "doubtful_places": float(len(places)), "per_cell": value}
    marks: tuple[ReviewMark, ...] = ()
    # a mark needs a region to hang on, and a map has one a class
    present = 2 if (cells.classes == 2).any() else 1
    if places and (cells.classes == present).any():
        named = ", ".join(f"({x / look.factor:.0f}, {y / look.factor:.0f})" for _, x, y in places[:MOST_PLACES])
        more = f" and {len(places) - MOST_PLACES} more" if len(places) > MOST_PLACES else ""
        index = (meaning.overlap if present == 2 else meaning.cell) - 1
        marks = (ReviewMark(index, f"doubtful overlap at x, y px: {named}{more}"),)
    return Worth(random_worth(image) if options.relevance == "random" else value, marks, parts)


def random_worth(image: Image) -> float:
    """Drawn from the content of the image, in [0, 1): a baseline."""
    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes() + str(image.shape).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def classical_worth(
    classes: NDArray[np.uint8], cells: Cells, meaning: Meaning, options: OverlapUNetOptions, image: Image
) -> Worth:
    """Without a network: clumps are where overlaps may hide, so their share of the stained area counts.

    A clump is an object of which the cells that it was split into are two or more.
    """
    parts, count = ndimage.label(classes > 0)
    pieces = np.zeros(count + 1, np.int64)
    for cell in cells.cells:
        rows, columns = np.nonzero(cell.mask)
        middle = len(rows) // 2
        pieces[parts[cell.top + rows[middle], cell.left + columns[middle]]] += 1
    clumped = int(((pieces >= 2)[parts] & (parts > 0)).sum())
    stained = int((classes > 0).sum())
    value = clumped / stained if stained else 0.0
    found = {"cells": float(len(cells)), "clumps": float((pieces[1:] >= 2).sum()), "per_cell": value}
    marks: tuple[ReviewMark, ...] = ()
    if found["clumps"]:
        marks = (ReviewMark(meaning.cell - 1, f"clumps without overlaps drawn yet: {found['clumps']:.0f}"),)
    return Worth(random_worth(image) if options.relevance == "random" else value, marks, found)
