"""Masks on a picture, for people: a prediction with its errors in another colour, and outlines of cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from hemaloop.drawing import colour_of
from hemaloop.plugin import UNKNOWN, ClassMap, FoundCell, Image

VEIL = 0.45
"""How strongly a mask covers the picture."""
WRONG = "#0000FF"
"""Blue, as in the overlap paper's Figure 5: no mask has it, nor has a smear."""
_NOBODY_LOOKED = "#808080"
_MASKS = ("#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#F0E442")
"""Red for the first class and green for the second, as in the paper, in shades that colour-blind readers tell apart."""


def _rgb(colour: str) -> NDArray[np.float32]:
    return np.array([int(colour[index : index + 2], 16) for index in (1, 3, 5)], np.float32)


def mask_colour(position: int) -> str:
    """Of the class at a position."""
    return _MASKS[position % len(_MASKS)]


def veiled(image: Image, found: ClassMap, wrong: NDArray[np.bool_] | None = None) -> Image:
    """A picture under the colours of a map's classes, grey where nobody looked.

    wrong: pixels (H, W) in the colour of errors.
    """
    colours = np.stack([np.zeros(3, np.float32), *(_rgb(mask_colour(index)) for index in range(255))])
    colours[UNKNOWN] = _rgb(_NOBODY_LOOKED)
    over = colours[found.labels]
    shown = found.labels > 0
    if wrong is not None:
        over[wrong] = _rgb(WRONG)
        shown = shown | wrong
    mixed = np.where(shown[..., None], VEIL * over + (1 - VEIL) * image, image)
    return mixed.round().clip(0, 255).astype(np.uint8)


def draw_map_errors(image: Image, truth: ClassMap, found: ClassMap, labels: Sequence[str]) -> Pillow.Image:
    """Picture, picture under the truth, and picture under the prediction with its errors in blue, side by side.

    Errors are only where the truth says something.
    """
    wrong = (truth.labels != found.labels) & (truth.labels != UNKNOWN)
    parts = [image, veiled(image, truth), veiled(image, found, wrong)]
    sheet = Pillow.fromarray(np.concatenate(parts, axis=1))
    entries = [(label, mask_colour(index)) for index, label in enumerate(labels)]
    if (truth.labels == UNKNOWN).any():
        entries.append(("unknown", _NOBODY_LOOKED))
    return _with_entries(sheet, [*entries, ("wrong", WRONG)])


def draw_cells(image: Image, cells: Sequence[FoundCell], found: ClassMap, text: str) -> Pillow.Image:
    """A picture with the outline of each cell, overlaps veiled, and a line of text below it."""
    labels = np.where(found.labels == found.labels.max(initial=0), found.labels, 0) if (found.labels > 1).any() else 0
    picture = Pillow.fromarray(veiled(image, ClassMap(np.broadcast_to(labels, found.labels.shape).astype(np.uint8))))
    canvas = ImageDraw.Draw(picture)
    unit = max(1, round(min(image.shape[:2]) / 480))
    for index, cell in enumerate(cells):
        points = [(float(x), float(y)) for x, y in cell.outline]
        if len(points) > 1:
            canvas.line([*points, points[0]], fill=colour_of(index % 3), width=unit)
    return _with_entries(picture, [(text, "#FFFFFF")])


def _with_entries(picture: Pillow.Image, entries: Sequence[tuple[str, str]]) -> Pillow.Image:
    """A picture with coloured entries on white below it."""
    font = ImageFont.load_default(size=max(11, round(min(picture.size) / 40)))
    line = int(font.getbbox("Ag")[3]) + 8
    sheet = Pillow.new("RGB", (picture.width, picture.height + line), "#FFFFFF")
    sheet.paste(picture)
    canvas = ImageDraw.Draw(sheet)
    x = 8
    for text, colour in entries:
        if colour != "#FFFFFF":
            canvas.rectangle((x, picture.height + 4, x + line - 10, picture.height + line - 5), fill=colour)
            x += line
        canvas.text((x, picture.height + 2), text, fill="#000000", font=font)
        x += int(font.getlength(text)) + 18
    return sheet
