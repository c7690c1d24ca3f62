"""Probabilities of the classes and of centres on images of any size, one image at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import nn

from hemaloop.networks.arithmetic import Arithmetic
from hemaloop.plugin import Image
from hemaloop_overlap_unet.centres import peaks
from hemaloop_overlap_unet.classical import estimated_diameter, resized, upright
from hemaloop_overlap_unet.network import CLASSES, Architecture, network_in_use
from hemaloop_overlap_unet.tiles import Tiling, Values, blended
from hemaloop_overlap_unet.training import as_input

FACTORS = (0.1, 2.5)
"""Smallest and largest change of size: beyond it an image shows something else than cells."""
CLOSE = 0.06
"""Cells whose size differs from the network's by no more than this share are left as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """An image as the network sees it. pixels: uint8 (h, w, 3). diameter: of a cell, px of the image, 0 without cells.

    factor: px of `pixels` to a px of the image.
    """

    pixels: Image
    diameter: float
    factor: float


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a network sees in a look. classes: float32 (3, h, w), probabilities. centres: float32 (h, w), heatmap.

    None where it was not trained to see centres.
    """

    classes: Values
    centres: Values | None


class Finder:
    """A trained network ready for use. Nothing in it changes after construction, so threads may share it.

    diameter: of a cell as the network knows it, px.
    """

    def __init__(self, network: nn.Module, diameter: float, architecture: Architecture, arithmetic: Arithmetic) -> None:
        self._network = network_in_use(network, arithmetic)
        self._arithmetic = arithmetic
        self._tiling = Tiling(multiple=2**architecture.depth)
        self._channels = architecture.channels
        self.diameter = diameter

    def look(self, image: Image) -> Look:
        """The image at the magnification at which its cells have the usual size."""
        found = estimated_diameter(image)
        factor = float(np.clip(self.diameter / found, *FACTORS)) if found > 0 else 1.0
        factor = 1.0 if abs(factor - 1) <= CLOSE else factor
        return Look(resized(upright(image), factor), found, factor)

    def see(self, look: Look, mirrored: bool = False) -> Seen:
        """What the network sees. mirrored: as it sees the mirrored picture."""
        if look.diameter <= 0:
            found: Values = np.zeros((self._channels, *look.pixels.shape[:2]), np.float32)
            found[0] = 1.0
        else:
            pixels = np.ascontiguousarray(look.pixels[:, ::-1]) if mirrored else look.pixels
            found = blended(pixels, self._channels, self._ask, self._tiling)
            found = np.ascontiguousarray(found[:, :, ::-1]) if mirrored else found
        return Seen(found[:CLASSES], found[CLASSES] if self._channels > CLASSES else None)

    @torch.inference_mode()
    def _ask(self, tile: NDArray[np.uint8]) -> Values:
        logits = self._network(as_input(tile[None], self._arithmetic).to(self._arithmetic.dtype))[0].float()
        found = torch.cat([torch.softmax(logits[:CLASSES], dim=0), torch.sigmoid(logits[CLASSES:])])
        return np.asarray(found.cpu().numpy())


def at_size(probabilities: Values, height: int, width: int) -> Sequence[Values]:
    """Each class's probabilities (h, w) as (height, width), by interpolation."""
    if probabilities.shape[1:] == (height, width):
        return list(probabilities)
    how = Pillow.Resampling.BILINEAR
    return [np.asarray(Pillow.fromarray(each).resize((width, height), how)) for each in probabilities]


def most_likely(probabilities: Values, height: int, width: int) -> NDArray[np.uint8]:
    """The class of each pixel at the image's own size, uint8 (height, width)."""
    background, one, two = at_size(probabilities, height, width)
    classes = (one > background).astype(np.uint8)
    classes[two > np.maximum(background, one)] = 2
    return classes


def centres_of(seen: Seen, look: Look, height: int, width: int) -> NDArray[np.float32] | None:
    """Centres of the cells (N, 2), x and y in px of the image of height and width; None where it sees none."""
    if seen.centres is None:
        return None
    found = peaks(seen.centres, look.diameter * look.factor) + np.float32(0.5)
    h, w = seen.centres.shape
    return np.asarray(found * (width / w, height / h), np.float32)
