"""Laws of decoding: any picture becomes the RGB that people see; anything else is refused by name before it costs."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hemaloop.errors import ImageError
from hemaloop.images import Limits, decode_image, image_key


def file(image: Image.Image, kind: str = "PNG", **more: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)  # type: ignore[arg-type]
    return buffer.getvalue()


def png(width: int, height: int, rows: bytes = b"\0") -> bytes:
    """A PNG whose header says any size at all."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def webp(width: int, height: int) -> bytes:
    """An extended WebP header that announces a canvas."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + (10).to_bytes(4, "little") + bytes(4) + canvas
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def fault(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data, limits, name="smear 7")
    assert str(caught.value).startswith("smear 7: ")
    return str(caught.value)


SMEAR = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
FLAT = Image.new("RGB", (40, 30), (200, 10, 30))
MODES = {
    "JPEG": ("CMYK", "YCbCr", "L"),
    "PNG": ("P", "RGBA", "L", "LA", "1"),
    "TIFF": ("CMYK", "YCbCr", "P", "RGBA", "L", "LA", "1"),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_come_back_exactly(kind: str) -> None:
    image = decode_image(file(SMEAR, kind))
    np.testing.assert_array_equal(image.pixels, np.asarray(SMEAR))
    assert (image.width, image.height) == (40, 30)
    assert image.pixels.dtype == np.uint8
    assert image.pixels.flags.writeable
    assert image.pixels.flags.c_contiguous


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_come_back_nearly(kind: str) -> None:
    pixels = decode_image(file(FLAT, kind)).pixels
    assert np.abs(pixels.astype(int) - np.asarray(FLAT)).max() < 16


@pytest.mark.parametrize(
    ("kind", "mode"),
    [(kind, mode) for kind, modes in MODES.items() for mode in modes],
)
def test_every_mode_becomes_rgb(kind: str, mode: str) -> None:
    source = FLAT.convert(mode)
    data = file(source, kind)
    pixels = decode_image(data).pixels
    assert pixels.shape == (30, 40, 3)
    expected = np.asarray(source.convert("RGB")).astype(int)
    assert np.abs(pixels - expected).max() <= 8


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_by_its_full_range(kind: str) -> None:
    values = np.array([[0, 128, 129, 256, 257, 32896, 65406, 65535]] * 8, np.uint16)
    pixels = decode_image(file(Image.fromarray(values), kind)).pixels
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 1, 1, 128, 254, 255]
    assert (pixels == pixels[:, :, :1]).all()


def test_sixteen_bit_colour_keeps_its_high_byte() -> None:
    rows = b"".join(b"\0" + struct.pack(">HHH", 65535, 32768, 0) * 8 for _ in range(8))

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert decode_image(data).pixels[0, 0].tolist() == [255, 128, 0]


def test_transparency_is_laid_over_white() -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.putpixel((1, 0), (200, 10, 30, 255))
    image.putpixel((2, 0), (0, 0, 0, 128))
    pixels = decode_image(file(image)).pixels
    assert pixels[0, :3].tolist() == [[255, 255, 255], [200, 10, 30], [127, 127, 127]]


def test_a_transparent_colour_of_a_palette_is_laid_over_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 20, 30, 200, 10, 30])
    image.putpixel((0, 0), 0)
    pixels = decode_image(file(image, transparency=0)).pixels
    assert pixels[0, :2].tolist() == [[255, 255, 255], [200, 10, 30]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_exif_orientation_is_applied_once(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_image(file(FLAT, kind, exif=exif))
    assert (image.width, image.height) == ((30, 40) if orientation >= 5 else (40, 30))
    assert image.pixels.shape == (image.height, image.width, 3)


def test_orientation_six_turns_the_picture_clockwise() -> None:
    source = Image.new("RGB", (40, 30), "white")
    source.paste((0, 0, 0), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = decode_image(file(source, "PNG", exif=exif)).pixels
    assert pixels[0, -1].tolist() == [0, 0, 0]
    assert pixels[0, 0].tolist() == [255, 255, 255]


def test_of_moving_pictures_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("white", "black")]
    for kind in ("GIF", "TIFF", "WEBP"):
        pixels = decode_image(file(frames[0], kind, save_all=True, append_images=frames[1:])).pixels
        assert pixels.min() > 250, kind


def test_the_key_names_the_content() -> None:
    assert decode_image(file(SMEAR)).key == image_key(file(SMEAR))
    assert decode_image(file(FLAT)).key != image_key(file(SMEAR))
    assert len(image_key(b"")) == 32


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"  <html>", "a web page"),
        (b'{"detail": "no"}', "JSON"),
        (b"<?xml version='1.0'?><svg/>", "XML or SVG"),
        (b"%PDF-1.7", "a PDF"),
        (b"PK\x03\x04....", "an archive"),
        (b"hello", "5 bytes that begin with b'hello'"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n", "expected an image file (JPEG, PNG, TIFF, BMP"),
        (file(SMEAR, "JPEG")[:600], "damaged or cut off"),
        (file(SMEAR)[:900], "damaged or cut off"),
        (file(SMEAR, "TIFF")[:100], "damaged or cut off"),
        (file(SMEAR, "BMP")[:100], "damaged or cut off"),
        (file(SMEAR, "WEBP")[:100], "damaged or cut off"),
        (file(SMEAR, "GIF")[:100], "damaged or cut off"),
        (png(1, 1), "found 1x1 px, expected at least 8x8"),
        (file(Image.new("RGB", (1, 1))), "found 1x1 px"),
        (file(Image.new("RGB", (400, 3))), "found 400x3 px"),
        (file(Image.new("F", (20, 20)), "TIFF"), "fractions without a known range"),
        (file(Image.new("I", (20, 20), 70000), "TIFF"), "expected 0 to 65535"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_it_is(data: bytes, expected: str) -> None:
    assert expected in fault(data)


@pytest.mark.parametrize("data", [png(50_000, 50_000), webp(16_000, 16_000), png(9_000, 6_000)])
def test_a_huge_canvas_is_refused_before_memory_is_spent(data: bytes) -> None:
    tracemalloc.start()
    began = time.perf_counter()
    message = fault(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "pixels" in message
    assert time.perf_counter() - began < 5
    assert peak < 2**20


def test_the_limits_are_the_laboratorys_and_their_setting_is_named() -> None:
    limits = Limits(max_bytes=10_000, max_pixels=1199)
    assert "found 40x30 px, expected at most 1,199 pixels" in fault(file(FLAT), limits)
    assert "HEMALOOP_IMAGE_MAX_PIXELS" in fault(file(FLAT), limits)
    assert "HEMALOOP_IMAGE_MAX_BYTES" in fault(b"x" * 10_001, limits)
    assert decode_image(file(FLAT), Limits(10_000, 1200)).width == 40


WHOLE = {kind: file(SMEAR, kind) for kind in ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF")}


@given(st.sampled_from(sorted(WHOLE)), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8))
@settings(deadline=None, max_examples=150)
@pytest.mark.filterwarnings("ignore")  # Pillow warns of odd metadata, which is not a fault of the picture
def test_a_damaged_file_is_a_picture_or_an_image_error_and_nothing_else(
    kind: str, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(WHOLE[kind])
    for place, value in changes:
        data[place % len(data)] = value
    try:
        image = decode_image(bytes(data))
    except ImageError:
        return
    assert image.pixels.shape == (image.height, image.width, 3)
