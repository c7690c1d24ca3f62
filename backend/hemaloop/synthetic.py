"""Rendered blood smears with exact truth, for demonstrations, the conformance kit and tests.

A smear is drawn as a microscope sees it: light of a background colour falls through absorbing bodies, and what
several bodies absorb adds up (Beer and Lambert), so overlapping cells darken one another. Colours are absorbances in
red, green and blue, measured on Giemsa-stained smears; below 0 where the camera's white balance lifts the blue of
a stain above that of the empty slide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree  # writes only: nothing foreign is parsed here

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter

from hemaloop.plugin import Detections, Image

LABELS = ("RBC", "WBC", "Platelets")
"""What the labels of a smear's detections index."""

_Field = NDArray[np.float32]
_HAEMOGLOBIN = np.array([0.11, 0.30, 0.24], np.float32)
_CHROMATIN = np.array([0.50, 0.72, -0.04], np.float32)
_CYTOPLASM = np.array([0.10, 0.20, -0.03], np.float32)
_BLUE_CYTOPLASM = np.array([0.26, 0.20, -0.02], np.float32)
_AZURE_GRANULE = np.array([0.10, 0.22, 0.00], np.float32)
_EOSIN_GRANULE = np.array([0.06, 0.46, 0.18], np.float32)
_PLATELET = np.array([0.38, 0.40, 0.05], np.float32)
_BACKGROUND = np.array([200.0, 200.0, 199.0], np.float32)
_USUAL_HEIGHT = 480.0
_RED_RADIUS = 47.0
"""px in a picture 480 px high: a red cell of 7.5 µm under the 100x lens of the CBC data."""
_WAVES = np.array([1.3, 1.0, 0.6, 0.4])
"""How strongly outlines wave twice to five times around; more of the latter gives corners."""
_LEAST_VISIBLE = 0.2
"""Share of a body that must lie in the picture; what is cut off further is not drawn at all."""


@dataclass(frozen=True, slots=True, eq=False)
class Smear:
    """A picture and its truth.

    image: uint8 (H, W, 3). detections: boxes of every body drawn, labels index `LABELS`.
    masks: uint8 (H, W) of the red cells alone: 0 background, 1 one cell, 2 two or more over one another.
    """

    image: Image
    detections: Detections
    masks: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Body:
    """A closed outline: centre and mean radius in px; `rho` is 0 at the centre, 1 on the outline, on rows x columns."""

    x: float
    y: float
    radius: float
    rows: slice
    columns: slice
    rho: _Field
    across: _Field
    down: _Field

    @property
    def inside(self) -> NDArray[np.bool_]:
        return self.rho <= 1.0

    def soft(self, width: float) -> _Field:
        """1 inside, 0 outside, falling over `width` px at the outline."""
        return np.clip(0.5 + (1.0 - self.rho) * self.radius / width, 0.0, 1.0).astype(np.float32)


class _Canvas:
    """Absorbance of a picture under construction: float32 (H, W, 3)."""

    def __init__(self, generator: np.random.Generator, width: int, height: int) -> None:
        self.random = generator
        self.width, self.height = width, height
        self.scale = min(height / _USUAL_HEIGHT, width / (_USUAL_HEIGHT * 4 / 3))
        self.absorbance = np.zeros((height, width, 3), np.float32)
        self.boxes: list[tuple[float, float, float, float]] = []
        self.labels: list[int] = []
        self.layers = np.zeros((height, width), np.uint8)

    def body(self, x: float, y: float, radius: float, squeeze: float, rough: float) -> _Body | None:
        """An ellipse with a wavy outline; None where too little of it lies in the picture."""
        reach = radius * 1.35 + 3
        rows = slice(max(0, int(y - reach)), min(self.height, int(y + reach) + 1))
        columns = slice(max(0, int(x - reach)), min(self.width, int(x + reach) + 1))
        turn = self.random.uniform(0, np.pi)
        waves = self.random.normal(0, rough, 4) * _WAVES, self.random.uniform(0, 2 * np.pi, 4)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        down, across = np.mgrid[rows, columns].astype(np.float32) + np.float32(0.5)
        across, down = (across - x) / radius, (down - y) / radius
        u = (across * np.cos(turn) + down * np.sin(turn)) / np.sqrt(squeeze)
        v = (down * np.cos(turn) - across * np.sin(turn)) * np.sqrt(squeeze)
        angle = np.arctan2(v, u)
        outline = 1.0 + sum(
            size * np.cos(order * angle + phase) for order, size, phase in zip((2, 3, 4, 5), *waves, strict=True)
        )
        rho = (np.hypot(u, v) / outline).astype(np.float32)
        body = _Body(x, y, radius, rows, columns, rho, across.astype(np.float32), down.astype(np.float32))
        return body if body.inside.sum() >= max(9.0, _LEAST_VISIBLE * np.pi * radius**2) else None

    def add(self, body: _Body, amount: _Field, colour: _Field) -> None:
        """Lay an absorbing layer over the picture: amount (h, w), colour (3,)."""
        self.absorbance[body.rows, body.columns] += amount[..., None] * colour

    def record(self, body: _Body, label: str) -> None:
        """Remember the exact box of what is visible of a body."""
        rows, columns = np.flatnonzero(body.inside.any(axis=1)), np.flatnonzero(body.inside.any(axis=0))
        top, left = body.rows.start, body.columns.start
        self.boxes.append((left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1))
        self.labels.append(LABELS.index(label))

    def grain(self, shape: tuple[int, ...], size: float) -> _Field:
        """Smooth noise with mean 0 and deviation 1; `size` px is the width of its spots."""
        noise = gaussian_filter(self.random.standard_normal(shape, np.float32), size)
        return np.asarray((noise - noise.mean()) / max(float(noise.std()), 1e-6), np.float32)


def render_smear(
    seed: int, width: int = 640, height: int = 480, cells: int | None = None, overlap: float = 0.4
) -> Smear:
    """One field of view. The same arguments give the same picture.

    width, height: px, at least 32; bodies scale with them. cells: red cells to draw at most (as many as fit), drawn
    at random if None. overlap: share of the red cells that are laid onto another one, in [0, 1].
    Raises `ValueError` for a picture too small or an overlap out of range.
    """
    if min(width, height) < 32 or not 0.0 <= overlap <= 1.0:
        raise ValueError(f"smear of {width}x{height} px, overlap {overlap}: expected 32 px or more, overlap in [0, 1]")
    generator = np.random.default_rng([seed, width, height])
    canvas = _Canvas(generator, width, height)
    white: list[_Body] = []
    for _ in range(generator.choice(3, p=[0.08, 0.84, 0.08])):
        _white_cell(canvas, white)
    count = int(generator.integers(13, 27)) if cells is None else cells
    _red_cells(canvas, count, overlap, white)
    for _ in range(generator.poisson(1.1)):
        _platelet(canvas)
    order = np.argsort(canvas.labels, kind="stable")
    boxes = np.array(canvas.boxes, np.float32).reshape(-1, 4)[order]
    truth = Detections.truth(boxes, np.array(canvas.labels, np.int64)[order])
    return Smear(_expose(canvas), truth, np.minimum(canvas.layers, 2).astype(np.uint8))


def _red_cells(canvas: _Canvas, count: int, overlap: float, white: Sequence[_Body]) -> None:
    random = canvas.random
    smear_size = random.normal(1.0, 0.06)
    pallor, tint = random.uniform(0.3, 0.8), _HAEMOGLOBIN * random.normal(1.0, 0.09, 3).astype(np.float32)
    stain = random.uniform(0.8, 1.15)
    placed: list[_Body] = []
    for _ in range(count):
        radius = _RED_RADIUS * canvas.scale * smear_size * float(np.clip(random.normal(1.0, 0.09), 0.7, 1.3))
        wants_overlap = bool(placed) and random.random() < overlap
        for _ in range(40):
            x, y = _place(canvas, placed, radius, wants_overlap)
            if _allowed(x, y, radius, placed, white, wants_overlap):
                body = canvas.body(x, y, radius, float(np.clip(random.normal(0.9, 0.09), 0.62, 1.0)), 0.018)
                if body is not None:
                    _red_cell(canvas, body, tint * np.float32(stain * random.normal(1.0, 0.12)), pallor)
                    placed.append(body)
                break


def _place(canvas: _Canvas, placed: Sequence[_Body], radius: float, wants_overlap: bool) -> tuple[float, float]:
    if not wants_overlap:
        return canvas.random.uniform(0, canvas.width), canvas.random.uniform(0, canvas.height)
    # onto the rim of another one, as cells lie in the thicker part of a smear
    onto = placed[int(canvas.random.integers(len(placed)))]
    angle, apart = canvas.random.uniform(0, 2 * np.pi), canvas.random.uniform(0.62, 0.92) * (radius + onto.radius)
    return onto.x + apart * np.cos(angle), onto.y + apart * np.sin(angle)


def _allowed(
    x: float, y: float, radius: float, placed: Sequence[_Body], white: Sequence[_Body], wants_overlap: bool
) -> bool:
    """Whether a red cell may lie there: beside white cells, and clear of red ones or at most half over them."""
    least = 0.58 if wants_overlap else 1.08
    beside = all(np.hypot(x - body.x, y - body.y) > 0.97 * (radius + body.radius) for body in white)
    return beside and all(np.hypot(x - body.x, y - body.y) > least * (radius + body.radius) for body in placed)


def _red_cell(canvas: _Canvas, body: _Body, colour: _Field, pallor: float) -> None:
    random = canvas.random
    depth = float(np.clip(random.normal(pallor, 0.16), 0.0, 0.92))
    wide, off = random.uniform(0.34, 0.6), random.normal(0, 0.06, 2)
    centre = np.hypot(body.across - off[0], body.down - off[1]) / wide
    pale = depth * np.exp(-(centre**4))  # a plateau with a soft edge, as the dimple of the disc has
    rim = 0.25 * np.exp(-(((body.rho - 0.9) / 0.07) ** 2))
    dome = 0.85 + 0.15 * np.clip(1.0 - body.rho**6, 0.0, 1.0)
    thickness = body.soft(3.0) * (dome * (1.0 - pale) + rim)
    # a cell that lies on another one is spread thinner there
    thickness *= np.where(canvas.layers[body.rows, body.columns] > 0, 0.55, 1.0)
    canvas.add(body, thickness.astype(np.float32), colour)
    if random.random() < 0.12:
        _refractile_spot(canvas, body)
    canvas.layers[body.rows, body.columns] += body.inside.astype(np.uint8)
    canvas.record(body, "RBC")


def _refractile_spot(canvas: _Canvas, body: _Body) -> None:
    """Water left under the cover glass: a bright spot with a dark edge."""
    at, size = canvas.random.normal(0, 0.25, 2), canvas.random.uniform(0.05, 0.1)
    distance = np.hypot(body.across - at[0], body.down - at[1]) / size
    bright = -0.35 * np.exp(-(distance**2)) + 0.4 * np.exp(-(((distance - 1.5) / 0.4) ** 2))
    canvas.add(body, (bright * body.inside).astype(np.float32), np.array([0.8, 0.7, 0.6], np.float32))


_KINDS = ("neutrophil", "eosinophil", "lymphocyte", "monocyte")


def _white_cell(canvas: _Canvas, white: list[_Body]) -> None:
    random = canvas.random
    kind = str(random.choice(_KINDS, p=[0.55, 0.12, 0.22, 0.11]))
    size = {"lymphocyte": 1.15, "monocyte": 1.95}.get(kind, 1.75) * random.normal(1.0, 0.1)
    radius = _RED_RADIUS * canvas.scale * size
    x, y = random.uniform(0.08, 0.92) * canvas.width, random.uniform(0.08, 0.92) * canvas.height
    body = canvas.body(x, y, radius, random.uniform(0.85, 1.0), 0.025)
    if body is None or any(np.hypot(x - other.x, y - other.y) < radius + other.radius for other in white):
        return
    white.append(body)
    soft = body.soft(4.0)
    speckle = canvas.grain(body.rho.shape, 1.3 * canvas.scale)
    cytoplasm = _BLUE_CYTOPLASM if kind in ("lymphocyte", "monocyte") else _CYTOPLASM
    canvas.add(body, soft * (1.0 + 0.12 * speckle), cytoplasm * np.float32(random.normal(1.0, 0.12)))
    if kind in ("neutrophil", "eosinophil"):
        granule = _EOSIN_GRANULE if kind == "eosinophil" else 0.5 * _AZURE_GRANULE
        canvas.add(body, soft * np.clip(speckle - 0.1, 0.0, 1.2), granule)
    nucleus = _nucleus(random, body, kind) * soft
    chromatin = 1.0 + 0.16 * canvas.grain(body.rho.shape, 3.0 * canvas.scale)
    canvas.add(body, nucleus * chromatin, _CHROMATIN * np.float32(random.normal(1.0, 0.1)))
    canvas.record(body, "WBC")


def _nucleus(random: np.random.Generator, body: _Body, kind: str) -> _Field:
    """1 inside the nucleus: lobes on an arc and the bridges between them, a kidney, or one large disc."""
    if kind == "lymphocyte":
        lobes = [(random.normal(0, 0.04), random.normal(0, 0.04), random.uniform(0.76, 0.86))]
    else:
        number = {"neutrophil": int(random.integers(2, 6)), "eosinophil": 2}.get(kind, 7)
        span = {"neutrophil": 1.25 * number, "eosinophil": 2.6}.get(kind, 2.6)
        ring = {"neutrophil": 0.46, "eosinophil": 0.45}.get(kind, 0.36)
        start, wide = random.uniform(0, 2 * np.pi), {"neutrophil": 0.34, "eosinophil": 0.42}.get(kind, 0.4)
        angles = start + np.linspace(0, min(span, 5.2), number) + random.normal(0, 0.1, number)
        out = ring * random.normal(1.0, 0.1, number)
        lobes = [
            (far * np.cos(angle), far * np.sin(angle), wide * random.uniform(0.85, 1.15))
            for far, angle in zip(out, angles, strict=True)
        ]
    # blobs whose fields add up melt into bridges where they come near one another
    field = sum(np.exp(-((np.hypot(body.across - x, body.down - y) / size) ** 4) * 0.69) for x, y, size in lobes)
    return np.asarray(np.clip(0.5 + (field - 0.42) * 5.0, 0.0, 1.0), np.float32)


def _platelet(canvas: _Canvas) -> None:
    random = canvas.random
    radius = _RED_RADIUS * canvas.scale * random.uniform(0.32, 0.54)
    x, y = random.uniform(0.03, 0.97) * canvas.width, random.uniform(0.03, 0.97) * canvas.height
    body = canvas.body(x, y, radius, random.uniform(0.7, 1.0), 0.05)
    # on top of a red cell it would be a parasite to anybody who looks; inside a white one it is invisible
    if body is None or float(canvas.absorbance[body.rows, body.columns, 1][body.inside].mean()) > 0.12:
        return
    granular = 0.85 + 0.35 * np.clip(canvas.grain(body.rho.shape, 1.8 * canvas.scale), -1.5, 1.5)
    dense = 0.55 + 0.45 * np.exp(-((body.rho / 0.7) ** 2))
    amount = body.soft(max(4.0 * canvas.scale, 1.5)) * dense * granular
    canvas.add(body, amount.astype(np.float32), _PLATELET * np.float32(random.normal(1.0, 0.15)))
    canvas.record(body, "Platelets")


def _expose(canvas: _Canvas) -> Image:
    """Light, lens and camera: uneven illumination, absorption, defocus, noise."""
    random, height, width = canvas.random, canvas.height, canvas.width
    down, across = np.mgrid[-1 : 1 : complex(height), -1 : 1 : complex(width)].astype(np.float32)
    slope = random.normal(0, 0.035, 2)
    light = 1.0 + slope[0] * across + slope[1] * down - random.uniform(0.0, 0.07) * (across**2 + down**2)
    colour = _BACKGROUND * random.normal(1.0, 0.025) * random.normal(1.0, 0.018, 3)
    dirt = 0.005 * canvas.grain((height, width), 14 * canvas.scale)
    lit = light[..., None] * colour * np.exp(-canvas.absorbance - dirt[..., None])
    blur = random.uniform(0.7, 1.5) * max(canvas.scale, 0.4)
    lit = gaussian_filter(lit.astype(np.float32), (blur, blur, 0))
    noise = random.standard_normal((height, width, 3), np.float32) * np.float32(random.uniform(1.0, 2.5))
    return np.asarray(np.clip(np.rint(lit + noise), 0, 255), np.uint8)


def write_voc(folder: Path, n: int, seed: int = 0, width: int = 640, height: int = 480) -> Path:
    """Write `n` smears as a Pascal VOC folder (Images/*.jpg, Annotations/*.xml); the same seed writes the same."""
    for name in ("Images", "Annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(n):
        smear = render_smear(seed * 100_003 + index, width, height)
        name = f"smear_{seed:02d}_{index:04d}"
        Pillow.fromarray(smear.image).save(folder / "Images" / f"{name}.jpg", quality=92)
        _voc(smear, f"{name}.jpg").write(folder / "Annotations" / f"{name}.xml", encoding="utf-8")
    return folder


def _voc(smear: Smear, filename: str) -> ElementTree.ElementTree[ElementTree.Element]:
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = filename
    size = ElementTree.SubElement(root, "size")
    for name, value in zip(("height", "width", "depth"), smear.image.shape, strict=True):
        ElementTree.SubElement(size, name).text = str(value)
    for box, label in zip(smear.detections.boxes, smear.detections.labels, strict=True):
        found = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(found, "name").text = LABELS[label]
        corners = ElementTree.SubElement(found, "bndbox")
        for name, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            ElementTree.SubElement(corners, name).text = f"{value:g}"
    ElementTree.indent(root)
    return ElementTree.ElementTree(root)
