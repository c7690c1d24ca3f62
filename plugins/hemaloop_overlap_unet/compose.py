"""Training pictures put together from sources: artificial overlaps, rouleaux, white cells between them, real images.

Each picture depends on its generator alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hemaloop.plugin import UNKNOWN
from hemaloop_overlap_unet import artificial
from hemaloop_overlap_unet.sources import Cutout, Source

MARGIN = 0.06
"""Diameters round a cell that are taken along with it: its outline and halo."""

COVERED = 0.7
"""Share of a cell that others cover from which it cannot be told: real cells that meet lie further apart."""

SEEN = 25
"""Of a centre's heatmap, from which a white cell that lies there hides it."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """How often what is drawn. rouleaux, real: shares of the pictures. absorb: share in which light is absorbed twice.

    foreign: mean number of white cells and platelets a picture. uneven: share in which cells, and places in them,
    absorb more or less than they did. layers: chance of one more layer of cells.
    """

    rouleaux: float = 0.12
    real: float = 0.2
    absorb: float = 0.5
    foreign: float = 0.6
    uneven: float = 0.6
    layers: float = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture. pixels: uint8 (S, S, 3). classes: uint8 (S, S), 0, 1, 2 or `UNKNOWN`.

    centres: uint8 (S, S), heatmap of the cells, or `UNKNOWN`.
    """

    pixels: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    centres: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A square part of a source, float32 (S, S, 3), with its classes, free-standing cells, foreign cells and light.

    centres: heatmap of the free-standing cells, `UNKNOWN` on all others.
    """

    pixels: artificial.Picture
    classes: NDArray[np.uint8]
    cells: NDArray[np.bool_]
    centres: NDArray[np.uint8]
    foreign: NDArray[np.bool_]
    light: artificial.Picture


def window(source: Source, top: int, left: int, side: int) -> Window:
    """The part from (top, left) on; what lies beyond the source is mirrored and unknown."""
    height, width = source.pixels.shape[:2]
    rows, columns = np.arange(top, top + side), np.arange(left, left + side)
    grid = np.ix_(_mirrored(rows, height), _mirrored(columns, width))
    outside = ~(((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None])
    classes = source.classes[grid].copy()
    cells = source.cells[grid] & ~outside
    classes[outside] = UNKNOWN
    lamp = source.light()[grid].astype(np.float32)
    centres, foreign = source.centres[grid], source.foreign[grid]
    return Window(source.pixels[grid].astype(np.float32), classes, cells, centres, foreign, lamp)


def _mirrored(places: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    folded = np.abs(places) % (2 * length)
    return np.where(folded >= length, 2 * length - 1 - folded, folded)


def somewhere(source: Source, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top and left of a window; where the source is smaller, anywhere that shows most of it."""
    corners = []
    for length in source.pixels.shape[:2]:
        low, high = sorted((0, length - side))
        corners.append(int(rng.integers(low, high + 1)))
    return corners[0], corners[1]


def turned(part: Window, rng: np.random.Generator, as_it_was: bool = True) -> Window:
    """One of eight ways to lay a window down; of seven, where it may not lie as it was."""
    turns, mirror = divmod(int(rng.integers(0 if as_it_was else 1, 8)), 2)

    def lay(values: NDArray[np.generic]) -> NDArray[np.generic]:
        found = np.rot90(values, turns)
        return np.ascontiguousarray(found[:, ::-1] if mirror else found)

    every = (part.pixels, part.classes, part.cells, part.centres, part.foreign, part.light)
    return Window(*map(lay, every))  # type: ignore[arg-type]


def overlaid(
    below: Window, above: Window, diameter: float, absorb: float, rng: np.random.Generator
) -> tuple[artificial.Picture, NDArray[np.uint8]]:
    """The free-standing cells of `above` on `below`, relit by its lamp: picture and three-class mask (section 3.2).

    absorb: chance that light is absorbed twice, to a random degree, where the paper takes the darker pixel. Where a
    cell lies on a white cell or a platelet, either may hide the other: unknown.
    """
    near = ndimage.binary_dilation(above.cells, iterations=max(1, round(MARGIN * diameter)))
    relit = above.pixels / np.maximum(above.light, 1) * below.light
    relit = np.where(near[..., None], relit, np.maximum(below.pixels, below.light)).astype(np.float32)
    both = artificial.minimum_image(below.pixels, relit)
    if rng.random() < absorb:
        degree = np.float32(rng.random())
        twice = np.where(near[..., None], artificial.absorbed_twice(below.pixels, relit, below.light), below.pixels)
        both = degree * np.minimum(twice, both) + (1 - degree) * both
    over = artificial.overdrawn_image(below.pixels, relit, above.cells)
    picture = artificial.mixed(artificial.mixing_weight(rng), both, over)
    known = (below.classes != UNKNOWN) & ~(above.cells & below.foreign)
    classes = artificial.summed_masks(np.where(known, below.classes, 0).astype(np.uint8), above.cells)
    return picture, np.where(known, classes, UNKNOWN).astype(np.uint8)


def covered(cells: NDArray[np.bool_], classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Those of the cells that lie under or on others with more than `COVERED` of their area, bool (H, W)."""
    parts, count = ndimage.label(cells)
    if not count:
        return cells
    shares = ndimage.mean(classes == artificial.OVERLAP, parts, np.arange(1, count + 1))
    return np.asarray(np.concatenate([[False], shares > COVERED])[parts])


def with_foreign(
    picture: artificial.Picture,
    classes: NDArray[np.uint8],
    centres: NDArray[np.uint8],
    lamp: artificial.Picture,
    piece: Cutout,
    rng: np.random.Generator,
) -> None:
    """Draw a white cell or a platelet over a picture, in place: background, and a centre that it hides is unknown."""
    side = len(classes)
    turns = int(rng.integers(4))
    passed, mask = np.rot90(piece.passed, turns), np.rot90(piece.mask, turns)
    height, width = mask.shape
    top, left = (int(rng.integers(-length // 2, side - length // 2)) for length in (height, width))
    rows = slice(max(0, top), min(side, top + height))
    columns = slice(max(0, left), min(side, left + width))
    inner = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.7)[inner][..., None]
    drawn = passed[inner] * lamp[rows, columns]
    picture[rows, columns] = soft * drawn + (1 - soft) * picture[rows, columns]
    classes[rows, columns][mask[inner]] = 0
    here = centres[rows, columns]
    here[mask[inner] & (here > SEEN)] = UNKNOWN
    here[mask[inner] & (here <= SEEN)] = 0


def compose(
    sources: Sequence[Source],
    pieces: Sequence[Cutout],
    real: Sequence[Source],
    mixture: Mixture,
    side: int,
    diameter: float,
    rng: np.random.Generator,
) -> Sample:
    """One picture of `side` px. sources: with free-standing cells. real: corrected images with overlaps."""
    if len(real) and (rng.random() < mixture.real or not len(sources)):
        source = real[int(rng.integers(len(real)))]
        part = turned(window(source, *somewhere(source, side, rng), side), rng)
        return _finished(part.pixels, part.classes, part.centres)
    source = sources[int(rng.integers(len(sources)))]
    corner = somewhere(source, side, rng)
    uneven = rng.random() < mixture.uneven
    below = _unequal(window(source, *corner, side), uneven, rng)
    picture, classes, lamp, layers = below.pixels, below.classes, below.light, [below]
    if rng.random() < mixture.rouleaux:
        down, right = artificial.rouleau_shift(rng, diameter)
        above = _unequal(window(source, corner[0] - down, corner[1] - right, side), uneven, rng)
        picture, classes = overlaid(below, above, diameter, mixture.absorb, rng)
        layers.append(above)
    else:
        for layer in range(2):
            if layer and rng.random() >= mixture.layers:
                break
            # cells of one slide look alike: half of the time the other picture is the same one elsewhere
            other = source if rng.random() < 0.5 else sources[int(rng.integers(len(sources)))]
            # a small image laid on itself as it was would be overlaps that nobody can see
            above = turned(window(other, *somewhere(other, side, rng), side), rng, as_it_was=other is not source)
            above = _unequal(above, uneven, rng)
            picture, classes = overlaid(
                replace(below, pixels=picture, classes=classes), above, diameter, mixture.absorb, rng
            )
            layers.append(above)
    if uneven:
        picture = artificial.patchy(picture, lamp, diameter, rng)
    hidden = np.any([covered(layer.cells, classes) for layer in layers], axis=0)
    picture, classes = picture.copy(), np.where(hidden, UNKNOWN, classes).astype(np.uint8)
    pasted = [np.where(layer.cells, layer.centres, 0).astype(np.uint8) for layer in layers[1:]]
    centres = np.asarray(np.maximum.reduce([below.centres, *pasted]))
    for _ in range(int(rng.poisson(mixture.foreign)) if len(pieces) else 0):
        with_foreign(picture, classes, centres, lamp, pieces[int(rng.integers(len(pieces)))], rng)
    return _finished(artificial.blurred(picture, artificial.blur_sigma(rng, diameter)), classes, centres)


def _unequal(part: Window, uneven: bool, rng: np.random.Generator) -> Window:
    return replace(part, pixels=artificial.unequal(part.pixels, part.light, part.cells, rng)) if uneven else part


def _finished(picture: artificial.Picture, classes: NDArray[np.uint8], centres: NDArray[np.uint8]) -> Sample:
    return Sample(picture.round().clip(0, 255).astype(np.uint8), classes, centres)
