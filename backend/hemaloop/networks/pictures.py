"""Images as a family is given them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hemaloop.errors import ImageError
from hemaloop.plugin import Image


def checked_images(images: Sequence[Any]) -> list[Image]:
    """Every image, once all are known to be images. Raises `ImageError` naming the one that is not."""
    return [checked_image(image, index) for index, image in enumerate(images)]


def checked_image(image: Any, index: int) -> Image:
    """A writable contiguous array, as torch wants it; the image itself where it is one.

    Raises `ImageError` where it is not uint8 (H, W, 3) with a pixel or more. index: of the batch, for the message.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f"image {index} of the batch: found {found}, expected uint8 (H, W, 3)")
    if not image.size:
        raise ImageError(
            f"image {index} of the batch: found {image.shape[0]} x {image.shape[1]} px, expected at least 1 x 1"
        )
    return image if image.flags.c_contiguous and image.flags.writeable else np.array(image, order="C")
