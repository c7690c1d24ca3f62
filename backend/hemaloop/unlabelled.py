"""Images that look unlabelled: full of cells, yet with hardly a box of a class that nearly every other image has.

Left in a training set they teach cells as background. The rule knows no file names: a class that is on at least
80 % of the images, with five boxes or more on a usual one, is suspicious where an image has less than 30 % of the
usual number. A picture can then be asked whether its stained area lies outside every box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from skimage.filters import threshold_otsu

from hemaloop.plugin import Detections, Image

NEARLY_EVERY = 0.8
"""Share of images with the class, below which its absence says nothing."""
USUAL_AT_LEAST = 5.0
"""Median number of boxes, below which few of them say nothing: smears without a white cell are common."""
FEW = 0.3
"""Share of the median, below which an image is suspicious. 0.5 would flag every thinly spread smear too."""
_THUMBNAIL = 160
_FLAT = 12.0


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Image `index` has `found` boxes of a class where the median image has `usual`."""

    index: int
    label: str
    found: int
    usual: float

    def __str__(self) -> str:
        found = "no" if self.found == 0 else f"only {self.found}"
        return f"{found} {self.label} box{'' if self.found == 1 else 'es'} where {self.usual:g} are usual"


def unlabelled_looking(truths: Sequence[Detections], labels: Sequence[str]) -> list[Suspicion]:
    """The images, in order, that have suspiciously few boxes of a class; `labels` names the truths' classes."""
    suspicions = []
    for position, label in enumerate(labels):
        counts = np.array([int((truth.labels == position).sum()) for truth in truths])
        if not len(counts) or (counts > 0).mean() < NEARLY_EVERY:
            continue
        usual = float(np.median(counts))
        if usual >= USUAL_AT_LEAST:
            few = np.flatnonzero(counts < FEW * usual)
            suspicions += [Suspicion(int(index), label, int(counts[index]), usual) for index in few]
    return sorted(suspicions, key=lambda suspicion: suspicion.index)


def uncovered_share(image: Image, truth: Detections, ignore: NDArray[np.float32] | None = None) -> float:
    """Which part of the stained area of a picture lies outside every box: 0 where nothing is stained, 1 at most.

    ignore: regions (K, 4) px that cover like boxes: nobody is taught that they are background.

    Stained is what Otsu's threshold separates as the darker part of the green channel, which haemoglobin and Giemsa
    stain both absorb.
    """
    height, width = image.shape[:2]
    scale = min(1.0, _THUMBNAIL / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    green = np.asarray(Pillow.fromarray(image).resize(size, Pillow.Resampling.BOX))[..., 1].astype(np.float32)
    if green.max() - green.min() < _FLAT:
        return 0.0
    stained = green < threshold_otsu(green)  # type: ignore[no-untyped-call]
    covered = np.zeros_like(stained)
    boxes = truth.boxes if ignore is None else np.concatenate([truth.boxes, ignore])
    for x1, y1, x2, y2 in boxes * scale:
        covered[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
    return float((stained & ~covered).sum() / max(int(stained.sum()), 1))
