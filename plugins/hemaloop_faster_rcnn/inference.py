"""Boxes of images, one image at a time, so that none depends on what else was asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hemaloop.errors import ImageError
from hemaloop.plugin import Detections
from hemaloop_faster_rcnn.arithmetic import Arithmetic, network_in_use
from hemaloop_faster_rcnn.magnification import better_magnification
from hemaloop_faster_rcnn.resampling import to_network


def checked_image(image: Any, index: int) -> NDArray[np.uint8]:
    """A writable contiguous array for torch. Raises `ImageError` where it is not uint8 (H, W, 3)."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f"image {index} of the batch: found {found}, expected uint8 (H, W, 3)")
    if not image.size:
        raise ImageError(
            f"image {index} of the batch: found {image.shape[0]} x {image.shape[1]} px, expected at least 1 x 1"
        )
    return image if image.flags.c_contiguous and image.flags.writeable else np.array(image, order="C")


class Finder:
    """A trained network ready for use. Nothing in it changes after construction, so threads may share it.

    image_size: shorter side of what the network sees, px. usual_side: of the cells there, px; 0 for one look only.
    """

    def __init__(self, network: nn.Module, image_size: int, usual_side: float, arithmetic: Arithmetic) -> None:
        self._network = network_in_use(network, arithmetic)
        self._image_size = image_size
        self._usual_side = usual_side
        self._device = arithmetic.device

    def find(self, image: NDArray[np.uint8]) -> Detections:
        """Every box of one uint8 (H, W, 3) image after NMS, by falling score, px of the image."""
        found, back = self._look(image, self._image_size)
        factor = better_magnification(found, self._usual_side)
        if factor != 1.0:
            found, back = self._look(image, round(self._image_size * factor))
        height, width = image.shape[:2]
        corners = np.array([width, height, width, height], np.float32)
        boxes = (found.boxes * back).clip(0, corners).astype(np.float32)
        solid = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)
        order = np.flatnonzero(solid)[np.argsort(-found.scores[solid], kind="stable")]
        return Detections(boxes[order], found.labels[order], found.scores[order])

    def _look(self, image: NDArray[np.uint8], shorter_side: int) -> tuple[Detections, NDArray[np.float32]]:
        """Boxes in px of the resized image, and the factors that bring them back."""
        pixels, back = to_network(image, shorter_side)
        with torch.inference_mode():
            found = self._network([pixels.to(self._device)])[0]
        boxes, labels, scores = (found[name].cpu().numpy() for name in ("boxes", "labels", "scores"))
        return Detections(boxes.astype(np.float32), labels.astype(np.int64) - 1, scores.astype(np.float32)), back
