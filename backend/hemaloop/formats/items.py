"""What every format is read into: items with checked boxes, faults, and lazily decoded examples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import ImageError
from hemaloop.images import LoadedImage, decode_image
from hemaloop.plugin import Detections, Example, Image

Corners = tuple[float, float, float, float]
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with one file; `message` says what was found and what was done about it."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{self.path.name}: {self.message}"


@dataclass(frozen=True, slots=True)
class Raw:
    """One image as its annotation file has it, unchecked.

    boxes: name and x1 y1 x2 y2, in px or as fractions of width and height. size: width and height that the
    annotation claims, None where it claims nothing. image: None where no file was found.
    """

    annotation: Path
    image: Path | None
    boxes: Sequence[tuple[str, Corners]]
    unit: Literal["px", "fraction"] = "px"
    size: tuple[int, int] | None = None
    wanted: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """What a format found: class names in their order, images, and faults of files that could not be read at all."""

    labels: Sequence[str]
    raws: Sequence[Raw]
    faults: Sequence[Fault]


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One usable image and its truth: boxes float32 (N, 4) px inside the image, one name a box.

    key: hash of the file's bytes; width, height: px with EXIF orientation applied.
    """

    path: Path
    boxes: NDArray[np.float32]
    names: tuple[str, ...]
    key: str
    width: int
    height: int

    def image(self) -> Image:
        """Its pixels. Raises `ImageError` where the file is gone or changed for the worse."""
        return load_picture(self.path).pixels

    def truth(self, labels: Sequence[str]) -> Detections:
        """Its boxes of these classes, in their order; boxes of other classes are left out."""
        index = {label: position for position, label in enumerate(labels)}
        keep = [position for position, name in enumerate(self.names) if name in index]
        return Detections.truth(self.boxes[keep], [index[self.names[position]] for position in keep])


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A data set as far as it can be used. labels: its classes in its own order, used or not."""

    path: Path
    format: str
    labels: tuple[str, ...]
    items: tuple[Item, ...]
    faults: tuple[Fault, ...]

    def __len__(self) -> int:
        return len(self.items)

    def truths(self, labels: Sequence[str]) -> list[Detections]:
        """The truth of every item, without decoding an image."""
        return [item.truth(labels) for item in self.items]

    def counts(self) -> Counter[str]:
        """Boxes of each class; 0 for a class without one."""
        found = Counter(name for item in self.items for name in item.names)
        return Counter({label: found[label] for label in self.labels})

    def duplicates(self) -> list[tuple[Path, ...]]:
        """Groups of files with the very same content."""
        groups: dict[str, list[Path]] = {}
        for item in self.items:
            groups.setdefault(item.key, []).append(item.path)
        return [tuple(paths) for paths in groups.values() if len(paths) > 1]


class Examples(Sequence[Example]):
    """Items as examples of some classes; an image is decoded each time it is indexed, and not kept."""

    def __init__(self, items: Sequence[Item], labels: Sequence[str]) -> None:
        self.items = tuple(items)
        self.labels = tuple(labels)

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Examples: ...
    def __getitem__(self, index: int | slice) -> Example | Examples:
        if isinstance(index, slice):
            return Examples(self.items[index], self.labels)
        item = self.items[index]
        return Example(item.image(), item.truth(self.labels), item.key)

    def truths(self) -> list[Detections]:
        """The truth of every example, without decoding an image."""
        return [item.truth(self.labels) for item in self.items]


def examples(dataset: Dataset, labels: Sequence[str]) -> Examples:
    """A data set as examples of these classes, in this order; boxes of other classes are left out."""
    return Examples(dataset.items, labels)


def load_picture(path: Path) -> LoadedImage:
    """Read and decode a file. Raises `ImageError` naming it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return decode_image(data, name=str(path))


def collect(path: Path, name: str, source: Source) -> Dataset:
    """Check every image and box of a source; what is wrong becomes a fault."""
    faults = list(source.faults)
    items = []
    for raw in source.raws:
        item, found = _item(raw)
        faults += found
        if item is not None:
            items.append(item)
    extra = sorted({name for item in items for name in item.names} - set(source.labels))
    return Dataset(path, name, (*source.labels, *extra), tuple(items), tuple(faults))


def _item(raw: Raw) -> tuple[Item | None, list[Fault]]:
    if raw.image is None:
        return None, [Fault(raw.annotation, f"its image {raw.wanted!r} is not there; image left out")]
    try:
        picture = load_picture(raw.image)
    except ImageError as error:
        reason = str(error).removeprefix(f"{raw.image}: ")
        return None, [Fault(raw.image, f"{reason}; image left out")]
    scale, fault = _scale(raw, picture.width, picture.height)
    if scale is None:
        return None, [Fault(raw.annotation, f"{fault}; image left out")]
    faults = [Fault(raw.annotation, fault)] if fault else []
    boxes: list[Corners] = []
    names: list[str] = []
    for position, (name, corners) in enumerate(raw.boxes):
        box, complaint = check_box(_scaled(corners, scale), picture.width, picture.height)
        if complaint:
            faults.append(Fault(raw.annotation, f"box {position} ({name}) {complaint}"))
        if box is not None:
            boxes.append(box)
            names.append(name)
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Item(raw.image, array, tuple(names), picture.key, picture.width, picture.height), faults


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
    inside = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    # float32 is what the contract holds: a sliver may vanish in it
    if not (np.float32(inside[0]) < np.float32(inside[2]) and np.float32(inside[1]) < np.float32(inside[3])):
        return None, f"lies outside the image ({x1:g} {y1:g} {x2:g} {y2:g} in {width}x{height}); left out"
    # Half a pixel is rounding of the tool that wrote it, not a fault
    if max(abs(was - now) for was, now in zip((x1, y1, x2, y2), inside, strict=True)) > 0.5:
        complaint = f"reaches outside the image ({x1:g} {y1:g} {x2:g} {y2:g} in {width}x{height}); cut at its edge"
    return inside, complaint


def pictures_in(folder: Path) -> Iterator[Path]:
    """Image files directly in a folder, by name."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
                yield path


def index_by_name(folders: Iterable[Path], *, deep: bool = False) -> dict[str, Path]:
    """File name to path of the images in some folders; the first folder wins. deep: sub-folders too."""
    found: dict[str, Path] = {}
    for folder in folders:
        candidates = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES) if deep else None
        for path in candidates if candidates is not None else pictures_in(folder):
            found.setdefault(path.name, path)
    return found
