"""A choice about each region: which regions it is for, and the part of the picture that is learned and asked about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hemaloop.plugin import Detections, Image

if TYPE_CHECKING:
    from hemaloop.labelconfig import Control

MARGIN = 0.15
"""Free space kept round a box on each side, in sides of the box: a box is seldom drawn to the pixel."""


def cut(image: Image, box: Sequence[float], margin: float = MARGIN) -> Image:
    """A copy of the part of a picture inside a box x1 y1 x2 y2 px and round it, as far as the picture goes."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (float(side) for side in box)
    across, down = margin * (x2 - x1), margin * (y2 - y1)
    left, top = max(0, int(np.floor(x1 - across))), max(0, int(np.floor(y1 - down)))
    right, bottom = min(width, int(np.ceil(x2 + across))), min(height, int(np.ceil(y2 + down)))
    left, top = min(left, width - 1), min(top, height - 1)
    return image[top : max(bottom, top + 1), left : max(right, left + 1)].copy()


def key_of(picture: str, box: Sequence[float]) -> str:
    """The key of the part of a picture, itself given by its key, inside a box x1 y1 x2 y2 px."""
    place = " ".join(f"{float(side):.2f}" for side in box)
    return hashlib.sha256(f"{picture} {place}".encode()).hexdigest()[:32]


def asked_about(found: Detections, labels: Sequence[str], source: Control, control: Control) -> list[int]:
    """Which detections `control` says something about: those that `source` shows, with the labels it is meant for.

    labels: what the detections' label indices mean.
    """
    shown = [source.shown_label(label) for label in labels]
    chosen = [name is not None and (not control.about or name in control.about) for name in shown]
    return [index for index, label in enumerate(found.labels.tolist()) if chosen[label]]


def regions_faults(control: Control, controls: Sequence[Control]) -> Iterator[str]:
    """What is wrong with the regions that a bound control says something about, in words for people."""
    if control.regions is None:
        return
    if control.kind != "choices" or not control.per_region:
        yield 'has model_regions: expected <Choices perRegion="true">, a choice about each region'
    sources = {one.name: one for one in controls if one.binding is not None and one.kind == "rectanglelabels"}
    source = sources.get(control.regions)
    if source is None:
        known = ", ".join(map(repr, sources)) or "none"
        yield f"has model_regions={control.regions!r}: expected a bound <RectangleLabels>; there are: {known}"
        return
    if source.to_name != control.to_name:
        yield f"is about the regions of {source.name!r}: expected its toName={source.to_name!r}"
    unknown = [label for label in control.about if label not in source.labels]
    if unknown:
        yield f"has whenLabelValue={','.join(unknown)!r}: {source.name!r} has the labels {', '.join(source.labels)}"
