"""Masks: images/ and masks/*.png of the same names and sizes, one value a pixel.

0 is background, 1 the first class, 2 the second; 255 marks what nobody looked at, which is neither learned nor counted.
The classes are the lines of classes.txt, RBC and Overlap where there is none.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from hemaloop.errors import DatasetError
from hemaloop.formats.items import IMAGE_SUFFIXES, Fault, Raw, Source

DEFAULT_LABELS = ("RBC", "Overlap")
_MODES = frozenset({"L", "P", "1"})


def recognises(path: Path) -> bool:
    """Whether it is a folder with masks/*.png."""
    return path.is_dir() and any((path / "masks").glob("*.png"))


def read(path: Path, images: Path | None) -> Source:
    """Every image with its mask; an image without one has not been labelled and is left out."""
    names = path / "classes.txt"
    labels = tuple(filter(None, map(str.strip, names.read_text("utf-8").splitlines()))) if names.is_file() else ()
    folder = images or path / "images"
    pictures = {
        found.stem: found
        for found in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if found.suffix.lower() in IMAGE_SUFFIXES
    }
    raws = [
        Raw(mask, pictures.get(mask.stem), (), wanted=f"{mask.stem}.jpg", mask=partial(read_mask, mask))
        for mask in sorted((path / "masks").glob("*.png"))
    ]
    masked = {raw.annotation.stem for raw in raws}
    faults = [
        Fault(picture, "has no mask in masks/; image left out (an empty mask says “no cell”)")
        for stem, picture in pictures.items()
        if stem not in masked
    ]
    return Source(labels or DEFAULT_LABELS, raws, faults)


def read_mask(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """Values uint8 (height, width). Raises `DatasetError` where it is unreadable, coloured or of another size."""
    try:
        with Pillow.open(path, formats=("PNG",)) as picture:
            if picture.size != (width, height):
                raise DatasetError(
                    f"its mask is {picture.width}x{picture.height} px, its image {width}x{height}: expected one size"
                )
            if picture.mode not in _MODES:
                raise DatasetError(
                    f"its mask has mode {picture.mode}, expected one value a pixel (8-bit grey or palette)"
                )
            return np.array(picture, np.uint8)
    except (OSError, UnidentifiedImageError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise DatasetError(f"its mask cannot be read ({error})") from error
