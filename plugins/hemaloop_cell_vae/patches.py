"""Patches as the encoder is shown them: square, of one size, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pictures
from torch import Tensor

from hemaloop.errors import DatasetError
from hemaloop.networks.pictures import checked_image
from hemaloop.plugin import Image, Progress

FLAT = 2.0
"""Grey values of deviation up to which a patch shows nothing."""


def square(image: Image, side: int) -> Image:
    """The patch as (side, side, 3): its shorter side filled up with its edge, then resized.

    The longer side is kept whole, so that no part of an elongated cell is lost and the cell stays in the middle.
    """
    height, width = image.shape[:2]
    if height != width:
        long = max(height, width)
        above, left = (long - height) // 2, (long - width) // 2
        image = np.pad(image, ((above, long - height - above), (left, long - width - left), (0, 0)), mode="edge")
    if image.shape[0] == side:
        return image
    resized = Pictures.fromarray(image).resize(
        (side, side), Pictures.Resampling.BOX if image.shape[0] >= 2 * side else Pictures.Resampling.BILINEAR
    )
    return np.asarray(resized)


def as_pixels(patch: Image) -> Tensor:
    """float32 (1, 3, S, S) in [0, 1]."""
    return torch.from_numpy(patch.copy()).permute(2, 0, 1)[None].float() / 255


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """Squares uint8 (N, 3, S, S) to learn a representation from, and what a person should know of them."""

    pixels: Tensor
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pixels)


def read_patches(images: Sequence[Image], side: int, most: int, seed: int, progress: Progress) -> Patches:
    """Index each image once, at most `most` of them, drawn by `seed`.

    Raises `DatasetError` where fewer than two images show anything, `ImageError` naming what is no image.
    """
    chosen: NDArray[np.int64] = np.arange(len(images))
    notes: list[str] = []
    if len(images) > most:
        chosen = np.sort(np.random.default_rng((seed, 7)).choice(len(images), most, replace=False))
        notes.append(f"{most} of {len(images)} images were drawn for the representation (option max_images)")
    found = np.empty((len(chosen), side, side, 3), np.uint8)
    small, flat, kept = 0, 0, 0
    for done, index in enumerate(chosen.tolist()):
        progress.report(done, len(chosen), "reading patches")
        image = checked_image(images[index], index)
        patch = square(image, side)
        if patch.std(axis=(0, 1)).max() < FLAT:
            flat += 1  # nothing to reconstruct
            continue
        small += max(image.shape[:2]) < side
        found[kept] = patch
        kept += 1
    if kept < 2:
        raise DatasetError(
            f"representation: found {len(chosen)} images, {flat} of them of one colour, expected two or more that show "
            "something; are they the right files?"
        )
    if flat:
        notes.append(f"{flat} image(s) of one colour were left out of the representation")
    if small:
        notes.append(f"{small} image(s) are smaller than image_size ({side} px) and were enlarged")
    return Patches(torch.from_numpy(found[:kept]).permute(0, 3, 1, 2), tuple(notes))
