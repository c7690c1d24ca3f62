"""What one smear could have looked like: another microscope, stain, camera and field of view.

Every picture of a training epoch is a window of fixed size, cut from one smear or put together from four (a mosaic),
at a random magnification, mirrored and turned by quarter turns, then stained anew.

The stain is varied where it is physical: light that passes dyes is attenuated exponentially (Beer-Lambert), so in
optical density ``D = -ln(I)`` a stronger stain multiplies, another dye mixture is a matrix and another lamp adds. One
matrix product per picture so stands for hue, saturation, gamma, brightness and white balance together.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor
from torch.nn import functional as F

from hemaloop_faster_rcnn.recipe import Strength
from hemaloop_faster_rcnn.resampling import fitted_size, resize
from hemaloop_faster_rcnn.truth import Smear

MIN_VISIBLE = 0.35
"""A cell of which less than this share of its box is inside the window is no longer a cell to find."""

MIN_SIDE = 3.0
"""Boxes with a shorter side, in px of the window, are dropped."""


INDENT = 0.15
"""Share of a window's side that lies between its edge and the centre of a cell that it was placed on, at least."""

MOSAIC_ZOOM = (0.35, 0.9)
"""Magnification of the four parts of a mosaic: small cells come from here."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What the network is shown: pixels float32 (3, S, S) in [0, 1], boxes float32 (N, 4) px, labels int64 (N,).

    ignore: float32 (K, 4) px, neither cell nor background.
    """

    pixels: Tensor
    boxes: Tensor
    labels: Tensor
    ignore: Tensor


@dataclass(frozen=True, slots=True)
class Window:
    """A `Picture` before it is stained: pixels uint8 (3, h, w), the rest as numpy has it."""

    pixels: Tensor
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignore: NDArray[np.float32]


def background(pixels: Tensor) -> Tensor:
    """Colour of the empty field, (3, 1, 1): smears are transmitted light, so it is among the brightest pixels."""
    sample = pixels[:, ::8, ::8].reshape(3, -1).float()
    return sample.quantile(0.9, dim=1).to(pixels.dtype)[:, None, None]


def _window(
    smear: Smear, scale: tuple[float, float], size: tuple[int, int], rng: np.random.Generator, cell: int | None = None
) -> Window:
    """A window of `size` (h, w) at a random place of `smear` magnified by `scale` (y, x), and the boxes inside.

    cell: index of a box whose centre shall lie inside, off the window's edge where the picture allows it.
    """
    height, width = smear.pixels.shape[:2]
    tall, wide = max(1, round(height * scale[0])), max(1, round(width * scale[1]))
    pixels = resize(torch.from_numpy(smear.pixels).permute(2, 0, 1), tall, wide)
    # A window larger than the picture keeps it whole at a random place; a smaller one cuts a random part.
    scaled = np.array([wide / width, tall / height])
    x, y = (None, None) if cell is None else (smear.boxes[cell].reshape(2, 2).mean(axis=0) * scaled).tolist()
    top, left = _offset(tall, size[0], rng, y), _offset(wide, size[1], rng, x)
    canvas = background(pixels).expand(3, *size).clone()
    rows = slice(max(0, -top), min(size[0], tall - top))
    columns = slice(max(0, -left), min(size[1], wide - left))
    canvas[:, rows, columns] = pixels[:, rows.start + top : rows.stop + top, columns.start + left : columns.stop + left]
    factor = np.array([wide / width, tall / height] * 2, np.float32)
    corner = np.array([left, top, left, top], np.float32)
    boxes, kept = clip_boxes(smear.boxes * factor - corner, *size)
    return Window(canvas, boxes[kept], smear.labels[kept], clip_regions(smear.ignore * factor - corner, *size))


def _offset(length: int, window: int, rng: np.random.Generator, inside: float | None = None) -> int:
    low, high = sorted((0, length - window))
    if inside is not None and length > window:
        near = (inside - (1 - INDENT) * window, inside - INDENT * window)
        low, high = (int(place) for place in np.clip(near, low, high).round())
    return int(rng.integers(low, high + 1))


def clip_boxes(boxes: NDArray[np.float32], height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Boxes cut to the window, and which of them still show enough of their cell."""
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    clipped = boxes.clip(0, np.array([width, height, width, height], np.float32)).astype(np.float32)
    sides = clipped[:, 2:] - clipped[:, :2]
    kept = (sides.min(axis=1, initial=np.inf) >= MIN_SIDE) & (np.prod(sides, axis=1) >= MIN_VISIBLE * area)
    return clipped, kept


def clip_regions(regions: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Regions cut to the window, without those outside."""
    clipped = regions.clip(0, np.array([width, height, width, height], np.float32)).astype(np.float32)
    return clipped[(clipped[:, 2:] > clipped[:, :2]).all(axis=1)]


def _scale(base: float, zoom: tuple[float, float], rng: np.random.Generator) -> tuple[float, float]:
    """Log-uniform magnification with up to 10 % of anisotropy."""
    scale = base * float(np.exp(rng.uniform(*np.log(zoom))))
    stretch = float(np.exp(rng.uniform(-0.05, 0.05)))
    return scale * stretch, scale / stretch


def whole(smear: Smear, network_side: int) -> Picture:
    """The smear as it is, at the size that the network uses."""
    height, width = smear.pixels.shape[:2]
    tall, wide = fitted_size(height, width, network_side)
    pixels = resize(torch.from_numpy(smear.pixels).permute(2, 0, 1), tall, wide).float() / 255
    factor = np.array([wide / width, tall / height] * 2, np.float32)
    boxes, kept = clip_boxes(smear.boxes * factor, tall, wide)
    return _picture(pixels, boxes[kept], smear.labels[kept], clip_regions(smear.ignore * factor, tall, wide))


def _picture(
    pixels: Tensor, boxes: NDArray[np.float32], labels: NDArray[np.int64], ignore: NDArray[np.float32]
) -> Picture:
    return Picture(pixels, torch.from_numpy(boxes), torch.from_numpy(labels), torch.from_numpy(ignore))


def compose(
    smear: Smear,
    other: Callable[[], Smear],
    network_side: int,
    side: int,
    strength: Strength,
    rng: np.random.Generator,
    cell: int | None = None,
) -> Picture:
    """One picture of `side` px.

    other: draws another smear for a mosaic. network_side: what the shorter side of a smear is resized to in use, px.
    cell: index of a box of `smear` that a picture which is no mosaic is placed on.
    """
    if rng.random() < strength.mosaic:
        window = _mosaic(smear, other, network_side, side, rng)
    else:
        base = network_side / min(smear.pixels.shape[:2])
        window = _window(smear, _scale(base, strength.zoom, rng), (side, side), rng, cell)
    turn = _Turn(*(bool(rng.random() < 0.5) for _ in range(3)))
    stained = restain(turn.pixels(window.pixels).float() / 255, strength.stain, rng)
    shown = blemish(stained, strength.blemish, rng)
    return _picture(shown, turn.boxes(window.boxes, side), window.labels, turn.boxes(window.ignore, side))


def _mosaic(smear: Smear, other: Callable[[], Smear], network_side: int, side: int, rng: np.random.Generator) -> Window:
    """Four smears around a random centre, at low magnification: many small cells for one picture's work."""
    centre_y, centre_x = (int(side * share) for share in rng.uniform(0.4, 0.6, 2))
    canvas = torch.empty(3, side, side, dtype=torch.uint8)
    boxes, labels, ignore = [], [], []
    for index, (rows, columns) in enumerate(
        (a, b) for a in ((0, centre_y), (centre_y, side)) for b in ((0, centre_x), (centre_x, side))
    ):
        source = smear if index == 0 else other()
        base = network_side / min(source.pixels.shape[:2])
        size = (rows[1] - rows[0], columns[1] - columns[0])
        part = _window(source, _scale(base, MOSAIC_ZOOM, rng), size, rng)
        canvas[:, rows[0] : rows[1], columns[0] : columns[1]] = part.pixels
        corner = np.array([columns[0], rows[0]] * 2, np.float32)
        boxes.append(part.boxes + corner)
        labels.append(part.labels)
        ignore.append(part.ignore + corner)
    return Window(canvas, np.concatenate(boxes), np.concatenate(labels), np.concatenate(ignore))


@dataclass(frozen=True, slots=True)
class _Turn:
    """One of the eight symmetries of the square, because a smear has no up: mirrored twice, then transposed."""

    across: bool
    down: bool
    transposed: bool

    def pixels(self, pixels: Tensor) -> Tensor:
        """(3, S, S), turned."""
        pixels = pixels.flip(2) if self.across else pixels
        pixels = pixels.flip(1) if self.down else pixels
        return (pixels.transpose(1, 2) if self.transposed else pixels).contiguous()

    def boxes(self, boxes: NDArray[np.float32], side: int) -> NDArray[np.float32]:
        """(N, 4) px of a square of `side` px, turned."""
        if self.across:
            boxes = np.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], 1)
        if self.down:
            boxes = np.stack([boxes[:, 0], side - boxes[:, 3], boxes[:, 2], side - boxes[:, 1]], 1)
        return np.ascontiguousarray(boxes[:, [1, 0, 3, 2]] if self.transposed else boxes, np.float32)


def restain(pixels: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Another stain and lamp on float (3, H, W) in [0, 1]; nothing at strength 0."""
    if strength == 0:
        return pixels
    density = -torch.log(pixels.clamp(min=1 / 255))  # (3, H, W)
    white = density.flatten(1)[:, ::64].quantile(0.1, dim=1)  # the lamp's colour, (3,)
    # never without colour: it tells a platelet from a grain of dust
    mixture = np.eye(3) + rng.normal(0, 0.06 * strength, (3, 3))
    mixture *= np.exp(rng.normal(0, 0.25 * strength))
    lamp = rng.normal(0, 0.1 * strength, 3) + rng.uniform(-0.15, 0.35) * strength + rng.uniform(0, 1) * white.numpy()
    mixed = torch.from_numpy(mixture.astype(np.float32)) @ (density - white[:, None, None]).flatten(1)
    shifted = mixed + torch.from_numpy(lamp.astype(np.float32))[:, None]
    return torch.exp(-shifted).clamp(0, 1).view_as(pixels)


def blemish(pixels: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Uneven light, lost focus, sensor noise and JPEG blocks, each on some of the pictures; (3, H, W) in [0, 1]."""
    if rng.random() < 0.25 * strength:
        pixels = _uneven_light(pixels, rng)
    if rng.random() < 0.25 * strength:
        pixels = _defocus(pixels, float(rng.uniform(0.4, 1.6)))
    if rng.random() < 0.3 * strength:
        noise = rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(0.005, 0.04))
        pixels = (pixels + torch.from_numpy(noise)).clamp(0, 1)
    if rng.random() < 0.2 * strength:
        pixels = _jpeg(pixels, int(rng.integers(30, 90)))
    return pixels


def _uneven_light(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    height, width = pixels.shape[1:]
    slope_y, slope_x = rng.uniform(-0.2, 0.2, 2)
    ramp = torch.linspace(-1, 1, height)[:, None] * slope_y + torch.linspace(-1, 1, width)[None] * slope_x
    lit: Tensor = (pixels * (1 + ramp)).clamp(0, 1)
    return lit


def _defocus(pixels: Tensor, sigma: float) -> Tensor:
    radius = max(1, round(2.5 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    padded = F.pad(pixels[None], (radius,) * 4, mode="replicate")
    across = F.conv2d(padded, kernel[:, :, None, :], groups=3)
    return F.conv2d(across, kernel[:, :, :, None], groups=3)[0]


def _jpeg(pixels: Tensor, quality: int) -> Tensor:
    array = (pixels.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    encoded = io.BytesIO()
    PILImage.fromarray(array).save(encoded, "JPEG", quality=quality)
    with PILImage.open(encoded) as decoded:
        blocks: Tensor = torch.from_numpy(np.array(decoded)).permute(2, 0, 1).float() / 255
    return blocks
