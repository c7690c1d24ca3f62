"""Bytes of an image file -> uint8 (H, W, 3) RGB as Label Studio shows it; limits are checked before pixels are made."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from hemaloop.errors import ImageError
from hemaloop.plugin import Image

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF")
MIN_SIDE = 8
"""Pixels. Smaller pictures are placeholders: no blood cell fits into one."""
KEY_LENGTH = 32

# What Pillow's readers raise on damaged files, beside OSError; warnings where a process makes errors of them.
_DAMAGED: tuple[type[Exception], ...] = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, ArithmeticError, AttributeError),
    *(struct.error, zlib.error, RuntimeError, MemoryError, Warning),
)
_BOMB = (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning)
_BEGINNINGS = {
    "JPEG": (b"\xff\xd8",),
    "PNG": (b"\x89PNG",),
    "TIFF": (b"II*\0", b"MM\0*"),
    "GIF": (b"GIF8",),
    "BMP": (b"BM",),
    "WebP": (b"RIFF",),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is decoded at most: bytes of the file, pixels of the picture (width x height)."""

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000


@dataclass(frozen=True, slots=True, eq=False)
class LoadedImage:
    """pixels: uint8 (H, W, 3) RGB, orientation applied. key: hash of the encoded bytes. width, height: of `pixels`."""

    pixels: Image
    key: str
    width: int
    height: int


def image_key(data: bytes) -> str:
    """The name of an image's content: 32 hex characters of SHA-256 over the encoded file."""
    return hashlib.sha256(data).hexdigest()[:KEY_LENGTH]


def decode_image(data: bytes, limits: Limits | None = None, *, name: str = "image") -> LoadedImage:
    """Decode a JPEG, PNG, TIFF, BMP, WebP or GIF file (first frame) to RGB.

    16-bit grey is scaled by its full range (65535 -> 255, what a browser shows), CMYK and palettes are converted,
    transparency is laid over white, EXIF orientation is applied as Label Studio does. `name` is for messages.

    Raises `ImageError` that says what the bytes are instead, or which limit they exceed.
    """
    limits = limits or Limits()
    if not data:
        raise ImageError(f"{name}: the file is empty; upload it again")
    if len(data) > limits.max_bytes:
        raise ImageError(
            f"{name}: found {len(data):,} bytes, expected at most {limits.max_bytes:,} (HEMALOOP_IMAGE_MAX_BYTES)"
        )
    _check_webp(data, limits, name)
    try:
        with Pillow.open(io.BytesIO(data), formats=FORMATS) as opened:
            _check_size(opened.width, opened.height, limits, name)
            opened.load()
            pixels = _to_rgb(_upright(opened))
    except UnidentifiedImageError:
        expected = ", ".join(FORMATS)
        raise ImageError(f"{name}: found {_sniff(data)}, expected an image file ({expected})") from None
    except _BOMB as error:
        raise ImageError(f"{name}: too many pixels: {error}; scale the image down") from None
    except _DAMAGED as error:
        raise ImageError(f"{name}: the image file is damaged or cut off ({error}); upload it again") from None
    height, width = pixels.shape[:2]
    return LoadedImage(pixels, image_key(data), width, height)


def _check_size(width: int, height: int, limits: Limits, name: str) -> None:
    if width * height > limits.max_pixels:
        raise ImageError(
            f"{name}: found {width}x{height} px, expected at most {limits.max_pixels:,} pixels; scale the image down "
            "or raise HEMALOOP_IMAGE_MAX_PIXELS"
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{name}: found {width}x{height} px, expected at least {MIN_SIDE}x{MIN_SIDE}: a placeholder, not a smear"
        )


def _check_webp(data: bytes, limits: Limits, name: str) -> None:
    """Pillow allots a WebP's whole canvas when it opens the file, so its size is read from the header first."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    _check_size(width, height, limits, name)


def _upright(image: Pillow.Image) -> Pillow.Image:
    """The image as its EXIF orientation says; a damaged EXIF block says nothing, as in a browser."""
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGED:
        return image


def _to_rgb(image: Pillow.Image) -> Image:
    """Any mode -> uint8 (H, W, 3)."""
    if image.mode.startswith("I"):
        return _deep_grey(image)
    if image.mode == "F":
        raise ValueError("its pixels are fractions without a known range; save it with 8 or 16 bits a channel")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Pillow.alpha_composite(Pillow.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return np.array(image.convert("RGB"))


def _deep_grey(image: Pillow.Image) -> Image:
    """16-bit grey -> uint8 (H, W, 3): 65535 -> 255, rounded."""
    values: NDArray[np.int64] = np.asarray(image).astype(np.int64)  # (H, W)
    if values.size and (values.min() < 0 or values.max() > 0xFFFF):
        raise ValueError(
            f"grey values from {values.min()} to {values.max()}, expected 0 to 65535; save it with 16 bits"
        )
    grey = ((values + 128) // 257).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _sniff(data: bytes) -> str:
    """What bytes that are no image seem to be, for people."""
    for kind, beginnings in _BEGINNINGS.items():
        if data.startswith(beginnings):
            return f"the beginning of a {kind} file that is damaged or cut off"
    head = data[:512].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "a web page (HTML; perhaps a login page)"
    if head.startswith((b"<?xml", b"<svg")):
        return "XML or SVG"
    if head.startswith((b"{", b"[")):
        return "JSON"
    if head.startswith(b"%pdf"):
        return "a PDF"
    if head.startswith((b"pk\x03\x04", b"\x1f\x8b")):
        return "an archive"
    return f"{len(data):,} bytes that begin with {data[:8]!r}"
