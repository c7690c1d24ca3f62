"""Label Studio's run-length code of brush masks: bool (H, W) <-> list of byte values.

The coded picture is RGBA with four equal channels, row by row, values 0 and 255.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import AnnotationError

Mask = NDArray[np.bool_]

THRESHOLD = 128
"""Strokes drawn by people have soft edges: a pixel belongs to the mask from half opacity on."""


def encode(mask: Mask) -> list[int]:
    """bool (H, W) -> byte values."""
    from label_studio_sdk.converter.brush import mask2rle

    # A bool mask makes the SDK fail and 0/1 gives an opacity of 1/255, hence 0/255.
    rle: list[int] = mask2rle(mask.astype(np.uint8) * 255)  # type: ignore[no-untyped-call]
    return rle


def decode(rle: Any, width: int, height: int) -> Mask:
    """Byte values -> bool (height, width). Raises `AnnotationError` for a code that is damaged or of another size."""
    from label_studio_sdk.converter.brush import decode_rle

    try:
        code = bytes(rle)
    except (TypeError, ValueError):
        raise AnnotationError("its mask is not a list of byte values (0 to 255)") from None
    announced = int.from_bytes(code[:4], "big")
    expected = width * height * 4
    # The announced size is checked before memory is allotted for it.
    if len(code) < 8 or announced != expected:
        raise AnnotationError(
            f"its mask holds {announced // 4} pixels, expected {width}x{height} = {expected // 4}: "
            "it was drawn on another image"
        )
    try:
        values = decode_rle(code)
    except (ValueError, IndexError):
        raise AnnotationError("its mask is cut off or damaged") from None
    mask: Mask = values.reshape(height, width, 4)[:, :, 3] >= THRESHOLD
    return mask
