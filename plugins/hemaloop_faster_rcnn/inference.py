"""Boxes of images, one image at a time, so that none depends on what else was asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hemaloop.networks.arithmetic import Arithmetic
from hemaloop.plugin import Detections
from hemaloop_faster_rcnn.arithmetic import network_in_use
from hemaloop_faster_rcnn.look import Look, look
from hemaloop_faster_rcnn.magnification import better_magnification
from hemaloop_faster_rcnn.resampling import to_network
from hemaloop_faster_rcnn.stochastic import Passes, dropout_masks, stochastic_passes


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Every box of one image after NMS, by falling score, px of the image, and the look that they come from.

    origins: int64 (D,), the proposal of `seen` that each box came from.
    """

    detections: Detections
    origins: Tensor
    seen: Look


class Finder:
    """A trained network ready for use. Nothing in it changes after construction, so threads may share it.

    image_size: shorter side of what the network sees, px. usual_side: of the cells there, px; 0 for one look only.
    """

    def __init__(self, network: nn.Module, image_size: int, usual_side: float, arithmetic: Arithmetic) -> None:
        self._network = network_in_use(network, arithmetic)
        self._image_size = image_size
        self._usual_side = usual_side
        self._device = arithmetic.device

    def find(self, image: NDArray[np.uint8]) -> Found:
        """Everything on one uint8 (H, W, 3) image. Of two looks at other magnifications, the second is what counts."""
        seen, detections, back = self._look(image, self._image_size)
        factor = better_magnification(detections, self._usual_side)
        if factor != 1.0:
            seen, detections, back = self._look(image, round(self._image_size * factor))
        height, width = image.shape[:2]
        corners = np.array([width, height, width, height], np.float32)
        boxes = (detections.boxes * back).clip(0, corners).astype(np.float32)
        solid = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)
        order = np.flatnonzero(solid)[np.argsort(-detections.scores[solid], kind="stable")]
        kept = Detections(boxes[order], detections.labels[order], detections.scores[order])
        return Found(kept, seen.origins[torch.from_numpy(order)], seen)

    def _look(self, image: NDArray[np.uint8], shorter_side: int) -> tuple[Look, Detections, NDArray[np.float32]]:
        """A look, its boxes in px of the resized image, and the factors that bring them back."""
        pixels, back = to_network(image, shorter_side)
        seen = look(self._network, pixels.to(self._device))
        boxes, labels, scores = (each.cpu().numpy() for each in (seen.boxes, seen.labels, seen.scores))
        return seen, Detections(boxes.astype(np.float32), labels.astype(np.int64), scores.astype(np.float32)), back

    def passes(self, found: Found, cells: NDArray[np.int64], count: int, dropout: float, seed: int) -> Passes:
        """Stochastic passes of those detections of `found`, at the magnification that they were found at.

        cells: int64 (M,), indices of detections. Two that came from one proposal are dropped alike.
        """
        origins, own = torch.unique(found.origins[torch.from_numpy(cells)], return_inverse=True)
        first, second = dropout_masks(count, len(origins), found.seen.lower.shape[1], dropout, seed)
        distinct = stochastic_passes(self._network, found.seen, origins, first, second)
        rows = own.cpu().numpy()
        return Passes(distinct.probabilities[:, rows], distinct.boxes[:, rows])
