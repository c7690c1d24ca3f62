"""Individual cells from the three-class map: an overlap belongs to all cells that it joins.

map -> parts that one cell covers -> split at waists where cells only touch -> each with the overlaps it touches
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours, perimeter_crofton, regionprops

from hemaloop.plugin import FoundCell
from hemaloop.stain import Mask, middles
from hemaloop_overlap_unet.morphology import EIGHT, Classes
from hemaloop_overlap_unet.parting import Window, split_at_centres, within

CUT_OFF = 0.3
"""Area below which what the frame cuts off is not counted: on cbc/Training nearly nobody boxed such a rest."""
DISC = 1.15
"""Diameter of a cell in a clump, in discs that fit into it: on cbc/Training, against the sides of its boxes."""
MIDDLE = 0.1
"""How much shallower every way from one cell's middle to another's is at a place, of the deepest."""
GLANCE = 600
"""px of the longer side of a map from twice which on every second pixel, and so forth, will do."""
SHALLOW = 0.3
"""Depth from which a place may be a cell's middle, of the deepest."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One cell. top, left: px of its window in the image. mask, overlap: bool (h, w), all of it, and what others share.

    whole: whether it lies inside the image.
    """

    top: int
    left: int
    mask: Mask
    overlap: Mask
    whole: bool

    @property
    def area(self) -> int:
        """px, overlaps included."""
        return int(self.mask.sum())

    @property
    def window(self) -> Window:
        """Its rows and columns of the image."""
        return slice(self.top, self.top + self.mask.shape[0]), slice(self.left, self.left + self.mask.shape[1])

    @property
    def diameter(self) -> float:
        """px, of a disc of the same area."""
        return float(np.sqrt(self.area * 4 / np.pi))

    @property
    def roundness(self) -> float:
        """4 pi area over the square of the perimeter (Crofton's): 1 for a disc, less for anything else."""
        around = float(perimeter_crofton(np.pad(self.mask, 1), directions=4))  # type: ignore[no-untyped-call]
        return min(1.0, 4 * np.pi * self.area / around**2) if around > 0 else 0.0

    @property
    def overlap_fraction(self) -> float:
        """Share of its area that other cells cover too."""
        return float((self.mask & self.overlap).sum() / self.area)

    def outline(self) -> NDArray[np.float32]:
        """Closed polygon (P, 2), x and y in px of the image."""
        rings = find_contours(np.pad(self.mask, 1).astype(np.float32), 0.5)  # type: ignore[no-untyped-call]
        longest = max(rings, key=len)
        return np.asarray(longest[:, ::-1] + (self.left - 0.5, self.top - 0.5), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The cells of one map. classes: uint8 (H, W). diameter: of a usual cell, px; 0 without cells."""

    classes: Classes
    cells: tuple[Cell, ...]
    diameter: float

    def __len__(self) -> int:
        return len(self.cells)

    def at(self, row: int, column: int) -> Cell | None:
        """The cell at a px of the image, of several the one whose centre is nearest; None on the background.

        What is too small to be counted, at the frame, is all that hangs together there.
        """
        if not self.classes[row, column]:
            return None
        here = []
        for cell in self.cells:
            y, x = row - cell.top, column - cell.left
            if 0 <= y < cell.mask.shape[0] and 0 <= x < cell.mask.shape[1] and cell.mask[y, x]:
                centre = np.mean(np.nonzero(cell.mask), axis=1)
                here.append((float(np.hypot(*(centre - (y, x)))), cell))
        if here:
            return min(here, key=lambda one: one[0])[1]
        parts, _ = ndimage.label(self.classes > 0, EIGHT)
        window = ndimage.find_objects(parts)[parts[row, column] - 1]
        mask = (parts == parts[row, column])[window]
        return _placed(mask, (self.classes[window] == 2) & mask, window, self.classes.shape)

    @property
    def overlap_fraction(self) -> float:
        """Share of the stained area that more than one cell covers."""
        stained = int((self.classes > 0).sum())
        return float((self.classes == 2).sum() / stained) if stained else 0.0

    @property
    def distribution_width(self) -> float:
        """Per cent: standard deviation of the diameters of whole cells over their mean; 0 for fewer than two.

        A stand-in for anisocytosis, as the red-cell distribution width is for volumes.
        """
        diameters = np.array([cell.diameter for cell in self.cells if cell.whole])
        return float(100 * diameters.std() / diameters.mean()) if len(diameters) > 1 else 0.0

    def measurements(self) -> dict[str, float]:
        """What an annotator sees, by name with unit."""
        whole = [cell.diameter for cell in self.cells if cell.whole]
        found = {
            "cells": float(len(self)),
            "overlap fraction": self.overlap_fraction,
            "distribution width (%)": self.distribution_width,
        }
        return found | ({"median diameter (px)": float(np.median(whole))} if whole else {})

    def found(self) -> tuple[FoundCell, ...]:
        """Each cell with its outline and measures."""
        return tuple(
            FoundCell(
                cell.outline(),
                {
                    "area_px": float(cell.area),
                    "diameter_px": cell.diameter,
                    "roundness": cell.roundness,
                    "overlap_fraction": cell.overlap_fraction,
                    "whole": float(cell.whole),
                },
            )
            for cell in self.cells
        )


def usual_diameter(classes: Classes) -> float:
    """px: median of the whole objects without overlap or dents; where these are few, of the cells in clumps too."""
    parts, count = ndimage.label(classes > 0)
    if not count:
        return 0.0
    height, width = classes.shape
    joined = np.zeros(count + 1, bool)
    joined[np.unique(parts[classes == 2])] = True
    free = []
    for part in regionprops(parts):  # type: ignore[no-untyped-call]
        top, left, bottom, right = part.bbox
        whole = top > 0 and left > 0 and bottom < height and right < width
        if whole and not joined[part.label] and part.area >= 12 and part.area >= 0.9 * part.area_convex:
            free.append(part)
    singles = np.sqrt(np.array([part.area for part in free]) * 4 / np.pi)
    if len(free) >= 3 or len(free) == count:
        return float(np.median(singles))
    alone = np.zeros(count + 1, bool)
    alone[[part.label for part in free]] = True
    clumps = (classes > 0) & ~alone[parts]
    return float(np.median(np.concatenate([singles, DISC * _discs(clumps)])))


def _discs(mask: Mask) -> NDArray[np.float64]:
    """Diameters of the discs that fit at the middles of cells, in clumps too: places deeper than all round them."""
    coarse = max(1, max(mask.shape) // GLANCE)
    small = np.pad(mask[::coarse, ::coarse], 1)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(small).astype(np.float32)[1:-1, 1:-1], 1.0)
    places, count = ndimage.label(middles(depth, MIDDLE * depth.max()))
    deep = ndimage.maximum(depth, places, np.arange(1, count + 1))
    return np.asarray(2 * coarse * deep[deep >= SHALLOW * depth.max()], np.float64)


def find_cells(classes: Classes, centres: NDArray[np.float32] | None = None) -> Cells:
    """The individual cells of a map, from top to bottom. centres: (N, 2), x and y in px, where a network saw them."""
    diameter = usual_diameter(classes)
    if diameter <= 0:
        return Cells(classes, (), 0.0)
    parts, _ = ndimage.label(classes > 0, EIGHT)
    points = np.floor(np.zeros((0, 2)) if centres is None else centres).astype(np.int64)
    points = points[((points >= 0) & (points < parts.shape[::-1])).all(axis=1)]
    owners = parts[points[:, 1], points[:, 0]]
    cells: list[Cell] = []
    for number, window in enumerate(ndimage.find_objects(parts), 1):
        inside = parts[window] == number
        clump = np.where(inside, classes[window], 0).astype(np.uint8)
        own = points[owners == number] - (window[1].start, window[0].start)
        for place, mask in split_at_centres(clump, diameter, own):
            cell = _placed(mask, clump[place] == 2, within(window, place), classes.shape)
            if cell.whole or cell.area >= CUT_OFF * np.pi / 4 * diameter**2:
                cells.append(cell)
    return Cells(classes, tuple(cells), diameter)


def _placed(mask: Mask, overlap: Mask, window: Window, shape: tuple[int, ...]) -> Cell:
    """A cell of a window of the image, in a window of its own."""
    (rows,) = ndimage.find_objects(mask.astype(np.int32))[:1]
    top, left = window[0].start + rows[0].start, window[1].start + rows[1].start
    small = np.ascontiguousarray(mask[rows])
    bottom, right = top + small.shape[0], left + small.shape[1]
    whole = top > 0 and left > 0 and bottom < shape[0] and right < shape[1]
    return Cell(top, left, small, np.ascontiguousarray((overlap & mask)[rows]), whole)
