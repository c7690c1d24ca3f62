"""Small pictures for the page: images with their regions drawn on them, made where models run, never in a request."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageOps

from hemaloop import brush
from hemaloop.labelconfig import Control
from hemaloop.plugin import Image

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#7F7F7F")
"""Okabe and Ito's colours, which stay apart for colour-blind readers; grey in the place of black, for dark pages."""
WIDTH, HEIGHT = 400, 300
"""Largest size of a thumbnail, px."""
CROP_MARGIN = 1.2
"""Surroundings of a doubted cell on each side, in sides of its box."""
_QUALITY = 82
_VEIL = 0.45


def colour_of(control: Control, label: str) -> str:
    """The colour of a label in its control; colours repeat after eight."""
    return PALETTE[control.labels.index(label) % len(PALETTE)] if label in control.labels else PALETTE[-1]


def of_regions(image: Image, result: Sequence[Mapping[str, Any]], controls: Sequence[Control]) -> bytes:
    """A JPEG of an image with its boxes and masks; choices have no place on it."""
    named = {control.name: control for control in controls}
    picture, scale = _small(_veiled(image, result, named))
    canvas = ImageDraw.Draw(picture)
    for region in result:
        control = named.get(str(region.get("from_name")))
        if control is not None and region.get("type") == "rectanglelabels":
            value = region["value"]
            corners = _corners(value, image.shape[1] * scale, image.shape[0] * scale)
            _frame(canvas, corners, colour_of(control, _label(value, "rectanglelabels")), 2)
    return _jpeg(picture)


def of_doubt(image: Image, box: Sequence[float] | None, colour: str) -> bytes:
    """A JPEG of the cell that a doubt is about, with its surroundings and its box; of the whole image without one."""
    if box is None:
        return _jpeg(_small(image)[0])
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (float(side) for side in box)
    side = max(x2 - x1, y2 - y1)
    around = CROP_MARGIN * side
    left, top = int(max(0, x1 - around)), int(max(0, y1 - around))
    right, bottom = int(min(width, np.ceil(x2 + around))), int(min(height, np.ceil(y2 + around)))
    picture, scale = _small(image[top : max(bottom, top + 1), left : max(right, left + 1)], grows=True)
    corners = ((x1 - left) * scale, (y1 - top) * scale, (x2 - left) * scale, (y2 - top) * scale)
    _frame(ImageDraw.Draw(picture), corners, colour, 3)
    return _jpeg(picture)


def of_pair(image: Image, made: Image) -> bytes:
    """A JPEG of an image and, on its right and as high, what was made of it."""
    high = WIDTH // 2
    pair = [Pillow.fromarray(one) for one in (image, made)]
    pair = [ImageOps.pad(one, (high, high), Pillow.Resampling.BICUBIC, color="#888888") for one in pair]
    both = Pillow.new("RGB", (WIDTH, high))
    for place, one in enumerate(pair):
        both.paste(one, (place * high, 0))
    return _jpeg(both)


def _small(image: Image, *, grows: bool = False) -> tuple[Pillow.Image, float]:
    """The picture inside the largest size, and its scale."""
    height, width = image.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height)
    scale = scale if grows else min(1.0, scale)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Pillow.fromarray(image).resize(size, Pillow.Resampling.LANCZOS), scale


def _veiled(image: Image, result: Sequence[Mapping[str, Any]], named: Mapping[str, Control]) -> Image:
    """The image under the colours of its masks."""
    height, width = image.shape[:2]
    shown = image
    for region in result:
        control = named.get(str(region.get("from_name")))
        if control is None or region.get("type") != "brushlabels":
            continue
        mask = brush.decode(region["value"]["rle"], width, height) > 0
        over = _rgb(colour_of(control, _label(region["value"], "brushlabels")))
        mixed = (_VEIL * over + (1 - _VEIL) * shown).round().clip(0, 255).astype(np.uint8)
        shown = np.where(mask[..., None], mixed, shown)
    return shown


def _label(value: Mapping[str, Any], kind: str) -> str:
    labels = value.get(kind) or [""]
    return str(labels[0])


def _corners(value: Mapping[str, Any], width: float, height: float) -> tuple[float, float, float, float]:
    """Per cent as Label Studio has them -> px of the thumbnail."""
    x, y = float(value["x"]) * width / 100, float(value["y"]) * height / 100
    return x, y, x + float(value["width"]) * width / 100, y + float(value["height"]) * height / 100


def _frame(canvas: ImageDraw.ImageDraw, corners: tuple[float, float, float, float], colour: str, width: int) -> None:
    """A coloured frame on a white one, which is seen on any ground."""
    x1, y1, x2, y2 = corners
    x2, y2 = max(x1 + 2, x2 - 1), max(y1 + 2, y2 - 1)
    canvas.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline="#FFFFFF", width=1)
    canvas.rectangle((x1, y1, x2, y2), outline=colour, width=width)


def _rgb(colour: str) -> NDArray[np.float32]:
    return np.array([int(colour[index : index + 2], 16) for index in (1, 3, 5)], np.float32)


def _jpeg(picture: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()
