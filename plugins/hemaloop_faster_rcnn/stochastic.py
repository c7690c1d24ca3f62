"""Stochastic passes: dropout stays on, and how much the answers differ says how sure the network is.

Dropout variational inference (Gal and Ghahramani 2016, arXiv 1506.02142), as section 2.2 of the paper on red-cell
subtypes uses it. Dropout sits in the box head alone, so backbone, proposals, pooling and the head's first layer are
those of the plain prediction, and only what follows is computed N times, for the detected cells, all at once. A cell is
followed through the passes by the proposal that it came from; no pass has an NMS of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from hemaloop_faster_rcnn.look import Look


@dataclass(frozen=True, slots=True, eq=False)
class Passes:
    """What N passes say of M cells.

    probabilities: float64 (N, M, classes), the background first. boxes: float32 (N, M, 4) px of the resized image, of
    each cell's most probable class; of the best cell class where that is the background, which has no box.
    """

    probabilities: NDArray[np.float64]
    boxes: NDArray[np.float32]

    @property
    def classes(self) -> NDArray[np.int64]:
        """Most probable class of each cell in each pass, (N, M); 0 is the background."""
        return np.asarray(self.probabilities.argmax(axis=2))


def content_seed(image: NDArray[np.uint8]) -> int:
    """A number in [0, 2^63) that depends on the pixels and the size of an image alone."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(image).data)
    return int.from_bytes(digest.digest(), "big") >> 1


def dropout_masks(passes: int, cells: int, units: int, rate: float, seed: int) -> tuple[Tensor, Tensor]:
    """Of the first and the second dropout, each (passes, cells, units): 0 with probability `rate`, else 1 / (1 - rate).

    Drawn on the processor by a generator of their own, so that they are the same on every device, and as numbers of 16
    bits, in a quarter of the time that torch takes: `rate` is kept to 1/65536.
    """
    drawn = np.random.default_rng(seed).integers(0, 1 << 16, (2, passes, cells, units), np.uint16)
    kept = torch.from_numpy((drawn >= round(rate * (1 << 16))).astype(np.float32)).div_(1 - rate)
    return kept[0], kept[1]


@torch.inference_mode()
def stochastic_passes(network: nn.Module, seen: Look, origins: Tensor, first: Tensor, second: Tensor) -> Passes:
    """The passes of the cells that came from the proposals `origins`, int64 (M,).

    first, second: masks of the two dropouts, (N, M, units).
    """
    parts: Any = network
    heads, device = parts.roi_heads, seen.lower.device
    passes, cells, width = first.shape
    units = heads.box_head.masked(seen.lower[origins], first.to(device), second.to(device))  # (N, M, units)
    logits, deltas = heads.box_predictor(units.reshape(passes * cells, width))
    probabilities = torch.softmax(logits, -1)  # (N M, classes)
    best = probabilities[:, 1:].argmax(dim=1) + 1
    # only the box that is looked at is decoded, not one of each class
    deltas = deltas.unflatten(1, (-1, 4))[torch.arange(passes * cells, device=device), best]
    proposals = seen.proposals[origins].repeat(passes, 1)  # (N M, 4)
    chosen = clip_boxes_to_image(heads.box_coder.decode(deltas, [proposals])[:, 0], seen.shape)
    return Passes(
        probabilities.view(passes, cells, probabilities.shape[1]).double().cpu().numpy(),
        chosen.view(passes, cells, 4).cpu().numpy(),
    )
