"""Every image and box of a source checked: what can be used becomes an item, what is wrong a fault."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hemaloop.errors import DatasetError, ImageError
from hemaloop.formats.items import Corners, Dataset, Fault, Item, Raw, Source, load_picture
from hemaloop.images import LoadedImage
from hemaloop.plugin import UNKNOWN, Progress, Silent

_THREADS = 8
"""Images looked at together: decoding and segmenting leave Python's lock alone for most of the time."""


def collect(path: Path, name: str, source: Source, progress: Progress | None = None) -> Dataset:
    """Check every image and box of a source, several at a time; what is wrong becomes a fault."""
    progress = progress or Silent()
    faults = list(source.faults)
    items = []
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        try:
            labels = tuple(source.labels)
            for done, (item, found) in enumerate(pool.map(lambda raw: _item(raw, labels), source.raws), 1):
                faults += found
                items += [] if item is None else [item]
                progress.report(done, len(source.raws), "images")
        except BaseException:
            pool.shutdown(cancel_futures=True)  # nobody waits for the images that are left
            raise
    extra = sorted({name for item in items for name in item.names} - set(source.labels))
    return Dataset(path, name, (*source.labels, *extra), tuple(items), tuple(faults))


def _item(raw: Raw, labels: tuple[str, ...]) -> tuple[Item | None, list[Fault]]:
    path = raw.image
    if path is None:
        return None, [Fault(raw.annotation, f"its image {raw.wanted!r} is not there; image left out")]
    try:
        picture = load_picture(path)
    except ImageError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return None, [Fault(path, f"{reason}; image left out")]
    scale, fault = _scale(raw, picture.width, picture.height)
    if scale is None:
        return None, [Fault(raw.annotation, f"{fault}; image left out")]
    faults = [Fault(raw.annotation, fault)] if fault else []
    guessed = 0
    if raw.trace is not None:
        traced = raw.trace(picture)
        faults += [Fault(raw.annotation, message) for message in traced.faults]
        guessed = traced.guessed
        raw = replace(raw, boxes=traced.boxes, ignore=traced.ignore)
    if raw.mask is not None:
        try:
            raw = _with_regions(raw, raw.mask(picture.height, picture.width), labels)
        except DatasetError as error:
            return None, [*faults, Fault(raw.annotation, f"{error}; image left out")]
        scale = 1.0, 1.0
    places = [(f"box {position} ({name})", corners) for position, (name, corners) in enumerate(raw.boxes)]
    regions = [(f"ignore region {position}", corners) for position, corners in enumerate(raw.ignore)]
    boxes = _checked(raw, places, scale, picture, faults)
    return Item(
        path=path,
        boxes=_array(boxes),
        names=tuple(name for (name, _), box in zip(raw.boxes, boxes, strict=True) if box is not None),
        key=picture.key,
        width=picture.width,
        height=picture.height,
        ignore=_array(_checked(raw, regions, scale, picture, faults)),
        guessed=guessed,
        mask=raw.mask,
        mask_labels=labels if raw.mask is not None else (),
    ), faults


def _with_regions(raw: Raw, mask: NDArray[np.uint8], labels: tuple[str, ...]) -> Raw:
    """Boxes round the connected regions of each class, and ignore regions round those that are unknown."""
    most = int(mask[mask != UNKNOWN].max(initial=0))
    if most > len(labels):
        raise DatasetError(
            f"its mask holds the value {most}, expected 0 to {len(labels)} ({', '.join(labels)}), or {UNKNOWN} where "
            "nobody looked"
        )
    boxes = [(label, corners) for value, label in enumerate(labels, 1) for corners in _regions(mask == value)]
    return replace(raw, boxes=boxes, ignore=_regions(mask == UNKNOWN), unit="px")


def _regions(mask: NDArray[np.bool_]) -> list[Corners]:
    """The box round each connected region."""
    windows = ndimage.find_objects(ndimage.label(mask)[0])
    return [(float(x.start), float(y.start), float(x.stop), float(y.stop)) for y, x in windows]


def _checked(
    raw: Raw,
    places: Iterable[tuple[str, Corners]],
    scale: tuple[float, float],
    picture: LoadedImage,
    faults: list[Fault],
) -> list[Corners | None]:
    """Boxes in px inside the image, by what they are called in a fault; None for one of which nothing is left."""
    checked = []
    for called, corners in places:
        box, complaint = check_box(_scaled(corners, scale), picture.width, picture.height)
        if complaint:
            faults.append(Fault(raw.annotation, f"{called} {complaint}"))
        checked.append(box)
    return checked


def _array(boxes: Iterable[Corners | None]) -> NDArray[np.float32]:
    return np.array([box for box in boxes if box is not None], np.float32).reshape(-1, 4)


def _scaled(corners: Corners, scale: tuple[float, float]) -> Corners:
    across, down = scale
    return corners[0] * across, corners[1] * down, corners[2] * across, corners[3] * down


def _scale(raw: Raw, width: int, height: int) -> tuple[tuple[float, float] | None, str]:
    """From the annotation's unit to px of the image, and what is to be said about it; None where they do not fit."""
    if raw.unit == "fraction":
        return (float(width), float(height)), ""
    # Tools that could not open the image write 0x0: that claims nothing.
    if raw.size is None or min(raw.size) <= 0 or raw.size == (width, height):
        return (1.0, 1.0), ""
    claimed = f"is for {raw.size[0]}x{raw.size[1]} px, the image {width}x{height}"
    across, down = width / raw.size[0], height / raw.size[1]
    if abs(across / down - 1) > 0.02:
        return None, f"{claimed}, another shape (rotated or cropped?)"
    return (across, down), f"{claimed}; its boxes were scaled"


def check_box(corners: Corners, width: int, height: int) -> tuple[Corners | None, str]:
    """A box of the contract from what a file holds, and what was wrong with it; None where nothing is left of it."""
    if not all(math.isfinite(value) for value in corners):
        return None, "has a coordinate that is not a number; left out"
    x1, y1, x2, y2 = corners
    complaint = ""
    if x1 > x2 or y1 > y2:
        x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
        complaint = "was inverted; its corners were swapped"
    if x1 == x2 or y1 == y2:
        return None, f"has no area ({x1:g} {y1:g} {x2:g} {y2:g}); left out"
    left, right = (min(max(x, 0.0), float(width)) for x in (x1, x2))
    top, bottom = (min(max(y, 0.0), float(height)) for y in (y1, y2))
    inside = left, top, right, bottom
    # float32 is what the contract holds: a sliver may vanish in it
    if not (np.float32(inside[0]) < np.float32(inside[2]) and np.float32(inside[1]) < np.float32(inside[3])):
        return None, f"lies outside the image ({x1:g} {y1:g} {x2:g} {y2:g} in {width}x{height}); left out"
    # Half a pixel is rounding of the tool that wrote it, not a fault
    if max(abs(was - now) for was, now in zip((x1, y1, x2, y2), inside, strict=True)) > 0.5:
        complaint = f"reaches outside the image ({x1:g} {y1:g} {x2:g} {y2:g} in {width}x{height}); cut at its edge"
    return inside, complaint
