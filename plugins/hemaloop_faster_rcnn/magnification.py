"""Smears of another magnification: cells of an unusual size are looked at again at the usual one.

A network knows cells of about the size it learned from. The first look tells how large they are on this image; where
that is far off, a second look at another magnification finds more of them. It costs time only where it is needed.
"""

from __future__ import annotations

import numpy as np

from hemaloop.plugin import Detections

SURE = 0.3
"""Score of the boxes that tell the size."""
ENOUGH = 8
"""Boxes below which a median says little."""
USUAL = (0.6, 1.35)
"""Magnifications that are not worth a second look, because the network was trained on cells of that size too."""
FURTHEST = (0.5, 1.75)
"""Smallest and largest magnification of a second look: beyond it blurs, and costs with its square."""


def better_magnification(found: Detections, usual_side: float) -> float:
    """Factor by which the image should be larger; 1 where the first look was good enough.

    found: boxes of the first look, px of the image as the network saw it. usual_side: median square root of the area of
    the boxes that the network learned from, in the same px; 0 where it is not known.
    """
    boxes = found.boxes[found.scores >= SURE]
    if usual_side <= 0 or len(boxes) < ENOUGH:
        return 1.0
    factor = usual_side / float(np.median(np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))))
    return 1.0 if USUAL[0] <= factor <= USUAL[1] else float(np.clip(factor, *FURTHEST))
