"""What an image looks like, as one vector: its colours and its cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hemaloop.plugin import Image
from hemaloop_overlap_unet.cells import Cells


def image_features(image: Image, cells: Cells) -> NDArray[np.float32]:
    """float32 (12,): mean and spread of colours on cells and beside them, and numbers about the cells.

    Each about as large as the others: colours in units of 64 grey levels, the rest as shares.
    """
    step = max(1, min(image.shape[:2]) // 256)
    pixels, classes = (
        image[::step, ::step].reshape(-1, 3).astype(np.float32) / 64,
        cells.classes[::step, ::step].ravel(),
    )
    beside, on = pixels[classes == 0], pixels[classes > 0]
    colours = [group.mean(axis=0) if len(group) else np.zeros(3, np.float32) for group in (beside, on)]
    spreads = on.std(axis=0) if len(on) else np.zeros(3, np.float32)
    shares = [float((classes > 0).mean()), cells.overlap_fraction, cells.distribution_width / 100]
    return np.asarray(np.concatenate([*colours, spreads, shares]), np.float32)
