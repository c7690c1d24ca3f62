"""A connected object parted into its cells: round their centres where these are known, else at overlaps and waists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from hemaloop.stain import Mask, candidate_cells
from hemaloop_overlap_unet.morphology import EIGHT, Classes
from hemaloop_overlap_unet.tidying import STACKED

SLIVER = 0.08
"""Area below which a part between overlaps is not a cell of its own."""
ROOM = 16
"""px round a part of a clump that are looked at with it."""
CLUMP = 1.3
"""Area from which a part may be several cells that touch."""

REACH = 0.75
"""Diameters from its centre that a cell reaches: what lies further belongs to cells whose centre is not known."""
REST = 0.5
"""Area from which such a rest is cells."""
SHARED = 0.15
"""Share of an overlap nearer to a cell's centre than to any other, from which the cell has part in it."""

Window = tuple[slice, slice]
Part = tuple[Window, Mask]
"""Some cell of a clump: rows and columns, and what it covers of them."""


def split(clump: Classes, diameter: float) -> list[Part]:
    """The cells of one connected object."""
    usual = np.pi / 4 * diameter**2
    whole = clump > 0
    everywhere = slice(0, clump.shape[0]), slice(0, clump.shape[1])
    if not (clump == 2).any() and whole.sum() < CLUMP * usual:
        return [(everywhere, whole)]
    single, shared = ndimage.label(clump == 1)[0], ndimage.label(clump == 2, EIGHT)[0]
    touching = _touching(single, shared)
    found: list[Part] = []
    areas = np.bincount(single.ravel())
    places, overlaps = ndimage.find_objects(single), ndimage.find_objects(shared)
    for number, place in enumerate(places, 1):
        joined = sorted(touching.get(number, ()))
        if areas[number] < SLIVER * usual and joined:
            continue
        near = _round([place, *(overlaps[one - 1] for one in joined)], clump.shape)
        own = single[near] == number
        mask = own | np.isin(shared[near], joined)
        found += [(near, piece) for piece in _at_waists(mask, own, shared[near], joined, diameter)]
    return found + _stacked(shared, overlaps, found, usual) if overlaps else found or [(everywhere, whole)]


def split_at_centres(clump: Classes, diameter: float, centres: NDArray[np.int64]) -> list[Part]:
    """The cells of one connected object, of which `centres` (N, 2), x and y in px on the clump, are known.

    A pixel belongs to the nearest centre on a way within the object; an overlap to each cell that has part in it, as
    far as the cell reaches. What lies beyond the reach of all centres is parted as without them.
    """
    if not len(centres):
        return split(clump, diameter)
    columns, rows = centres.T
    markers = np.zeros(clump.shape, np.int32)
    markers[rows, columns] = np.arange(1, len(centres) + 1)
    away = ndimage.distance_transform_edt(markers == 0)
    beyond, count = ndimage.label((clump > 0) & (away > REACH * diameter))
    large = np.bincount(beyond.ravel(), minlength=count + 1) >= REST * np.pi / 4 * diameter**2
    found: list[Part] = []
    for number, place in enumerate(ndimage.find_objects(beyond), 1):
        if large[number]:
            rest = np.where(beyond[place] == number, clump[place], 0).astype(np.uint8)
            found += [(within(place, inner), mask) for inner, mask in split(rest, diameter)]
    large[0] = False
    nearest = watershed(away, markers, mask=(clump > 0) & ~large[beyond])  # type: ignore[no-untyped-call]
    shared, count = ndimage.label(clump == 2, EIGHT)
    areas, overlaps = np.bincount(shared.ravel(), minlength=count + 1), ndimage.find_objects(shared)
    for number, place in enumerate(ndimage.find_objects(nearest), 1):
        if place is None:  # two centres on one pixel
            continue
        part = np.bincount(shared[place][nearest[place] == number], minlength=count + 1)
        joined = [one for one in np.flatnonzero(part) if one and part[one] >= SHARED * areas[one]]
        near = _round([place, *(overlaps[one - 1] for one in joined)], clump.shape)
        y, x = np.ogrid[near]
        reached = np.hypot(y - rows[number - 1], x - columns[number - 1]) <= REACH * diameter
        found.append((near, (nearest[near] == number) | (np.isin(shared[near], joined) & reached)))
    return found


def _round(places: Sequence[Window], shape: tuple[int, ...]) -> Window:
    """A window that holds all, with room; it begins at even px, so that waists are where they are without it."""
    rows, columns = (
        slice(
            max(0, min(place[axis].start for place in places) - ROOM) // 2 * 2,
            min(shape[axis], max(place[axis].stop for place in places) + ROOM),
        )
        for axis in (0, 1)
    )
    return rows, columns


def _touching(single: NDArray[np.int32], shared: NDArray[np.int32]) -> dict[int, set[int]]:
    """The overlaps that each part touches."""
    pairs = set()
    for axis in (0, 1):
        for first, second in ((single, shared), (shared, single)):
            a = np.take(first, range(first.shape[axis] - 1), axis)
            b = np.take(second, range(1, second.shape[axis]), axis)
            here = (a > 0) & (b > 0)
            ones, twos = (a, b) if first is single else (b, a)
            pairs |= set(zip(ones[here].tolist(), twos[here].tolist(), strict=True))
    found: dict[int, set[int]] = {}
    for one, overlap in pairs:
        found.setdefault(one, set()).add(overlap)
    return found


def _at_waists(mask: Mask, own: Mask, shared: NDArray[np.int32], joined: Sequence[int], diameter: float) -> list[Mask]:
    """A part with its overlaps, parted where cells only touch; each piece keeps whole the overlaps it has part in."""
    if mask.sum() < CLUMP * np.pi / 4 * diameter**2:
        return [mask]
    pieces = candidate_cells(np.pad(mask, 1), diameter)[1:-1, 1:-1]
    numbers = [n for n in range(1, pieces.max(initial=0) + 1) if (pieces == n).sum() >= SLIVER * diameter**2]
    if len(numbers) < 2:
        return [mask]
    found = []
    for number in numbers:
        piece = pieces == number
        if not (piece & own).any():  # an overlap alone: it belongs to its neighbours
            continue
        part = [o for o in joined if (piece & (shared == o)).any()]
        found.append(piece | np.isin(shared, part) if part else piece)
    return found or [mask]


def _stacked(shared: NDArray[np.int32], overlaps: Sequence[Window], found: Sequence[Part], usual: float) -> list[Part]:
    """Overlaps that lie within one cell, or within none: a cell that lies on another as a whole."""
    owners = np.zeros(len(overlaps) + 1, np.int64)
    for place, mask in found:
        owners[np.unique(shared[place][mask])] += 1
    areas = np.bincount(shared.ravel())
    more: list[Part] = []
    for number, place in enumerate(overlaps, 1):
        if areas[number] >= STACKED * usual:
            more += [(place, shared[place] == number)] * max(0, 2 - int(owners[number]))
    if not found and not more:
        more = [((slice(0, shared.shape[0]), slice(0, shared.shape[1])), shared > 0)]
    return more


def within(window: Window, place: Window) -> Window:
    """A window of a window, as one of the image."""
    rows, columns = (
        slice(outer.start + inner.start, outer.start + inner.stop) for outer, inner in zip(window, place, strict=True)
    )
    return rows, columns
