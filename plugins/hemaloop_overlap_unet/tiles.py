"""Images of any size by overlapping tiles whose seams are blended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tiling:
    """side: of a tile, px, at most. overlap: px that neighbours share. multiple: of which a network needs sides."""

    side: int = 576
    overlap: int = 64
    multiple: int = 16


def starts(length: int, side: int, overlap: int) -> list[int]:
    """First px of each tile along a side: evenly spread, so that they cover it and share `overlap` px or more."""
    if length <= side:
        return [0]
    count = int(np.ceil((length - overlap) / (side - overlap)))
    return [round(step * (length - side) / (count - 1)) for step in range(count)]


def fitted_side(length: int, tiling: Tiling) -> int:
    """The smallest side with which as many tiles as are needed cover a length, px: more would be looked at twice."""
    if length <= tiling.side:
        return length
    count = int(np.ceil((length - tiling.overlap) / (tiling.side - tiling.overlap)))
    least = int(np.ceil((length + (count - 1) * tiling.overlap) / count))
    return min(tiling.side, least + -least % tiling.multiple)


def ramp(side: int, overlap: int, first: bool, last: bool) -> Values:
    """Weight of each px of a tile, (side,): rises over the overlap, except at the image's own edges."""
    weights = np.ones(side, np.float32)
    slope = (np.arange(overlap, dtype=np.float32) + 1) / (overlap + 1)
    if not first:
        weights[:overlap] = slope
    if not last:
        weights[side - overlap :] = np.minimum(weights[side - overlap :], slope[::-1])
    return weights


def padded(image: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    """The image continued at its right and lower edge to sides that are multiples, by mirroring as far as it goes."""
    height, width = image.shape[:2]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return image
    mirrored = height > below and width > right
    mode: Any = "symmetric" if mirrored else "edge"
    return np.pad(image, ((0, below), (0, right), (0, 0)), mode=mode)


def blended(
    image: NDArray[np.uint8], channels: int, ask: Callable[[NDArray[np.uint8]], Values], tiling: Tiling
) -> Values:
    """(channels, H, W) of an image uint8 (H, W, 3). ask: a tile (h, w, 3) -> (channels, h, w).

    A tile's own edge counts nothing, because a network sees less beyond it. Where the image is smaller than a tile, it
    is one tile, padded to the sides that the network needs.
    """
    height, width = image.shape[:2]
    whole = padded(image, tiling.multiple)
    sums = np.zeros((channels, *whole.shape[:2]), np.float32)
    weights = np.zeros(whole.shape[:2], np.float32)
    for rows, columns, weight in _places(whole.shape[0], whole.shape[1], tiling):
        sums[:, rows, columns] += ask(whole[rows, columns].copy()) * weight
        weights[rows, columns] += weight
    sums /= weights
    return sums[:, :height, :width]


def _places(height: int, width: int, tiling: Tiling) -> Iterator[tuple[slice, slice, Values]]:
    tall, wide = fitted_side(height, tiling), fitted_side(width, tiling)
    down, right = starts(height, tall, tiling.overlap), starts(width, wide, tiling.overlap)
    for i, top in enumerate(down):
        across = ramp(tall, min(tiling.overlap, tall), i == 0, i == len(down) - 1)
        for j, left in enumerate(right):
            along = ramp(wide, min(tiling.overlap, wide), j == 0, j == len(right) - 1)
            yield slice(top, top + tall), slice(left, left + wide), across[:, None] * along[None]
