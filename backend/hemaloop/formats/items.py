"""What every format is read into: items with checked boxes, faults, and lazily decoded examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import DatasetError, ImageError
from hemaloop.images import LoadedImage, decode_image
from hemaloop.plugin import UNKNOWN, ClassMap, Detections, Example, Image, Prediction

Corners = tuple[float, float, float, float]
ReadMask = Callable[[int, int], NDArray[np.uint8]]
"""Height and width of an image, px -> its mask (H, W): 0, or 1 + the index of a class of the data set, or `UNKNOWN`."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with one file; `message` says what was found and what was done about it."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{self.path.name}: {self.message}"


@dataclass(frozen=True, slots=True)
class Traced:
    """Boxes found on the picture, and ignore regions, px. guessed: how many boxes are guesses. faults: in words."""

    boxes: Sequence[tuple[str, Corners]]
    ignore: Sequence[Corners]
    guessed: int
    faults: Sequence[str]


@dataclass(frozen=True, slots=True)
class Raw:
    """One image as its annotation file has it, unchecked.

    boxes: name and x1 y1 x2 y2, in px or as fractions of width and height. size: width and height that the
    annotation claims, None where it claims nothing. image: None where no file was found. ignore: regions of which the
    annotation says nothing, in the same unit as the boxes. trace: finds boxes and regions on the picture, where the
    annotation only says what to look for; they take the place of `boxes` and `ignore`. mask: reads the mask of an image
    that has one, and raises `DatasetError` in words for people; its regions take the place of `boxes` and `ignore`.
    """

    annotation: Path
    image: Path | None
    boxes: Sequence[tuple[str, Corners]]
    unit: Literal["px", "fraction"] = "px"
    size: tuple[int, int] | None = None
    wanted: str = ""
    ignore: Sequence[Corners] = ()
    trace: Callable[[LoadedImage], Traced] | None = None
    mask: ReadMask | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What a format found: class names in their order, images, and faults of files that could not be read at all."""

    labels: Sequence[str]
    raws: Sequence[Raw]
    faults: Sequence[Fault]


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One usable image and its truth: boxes float32 (N, 4) px inside the image, one name a box.

    key: hash of the file's bytes; width, height: px with EXIF orientation applied. ignore: float32 (K, 4) px, regions
    of which the truth says nothing. guessed: how many boxes are only squares round a point. mask: reads its mask, where
    it has one, whose classes are `mask_labels`; the boxes are then those of the mask's connected regions.
    """

    path: Path
    boxes: NDArray[np.float32]
    names: tuple[str, ...]
    key: str
    width: int
    height: int
    ignore: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    guessed: int = 0
    mask: ReadMask | None = None
    mask_labels: tuple[str, ...] = ()

    def image(self) -> Image:
        """Its pixels. Raises `ImageError` where the file is gone or changed for the worse."""
        return load_picture(self.path).pixels

    def truth(self, labels: Sequence[str]) -> Detections:
        """Its boxes of these classes, in their order; boxes of other classes are left out."""
        index = {label: position for position, label in enumerate(labels)}
        keep = [position for position, name in enumerate(self.names) if name in index]
        return Detections.truth(self.boxes[keep], [index[self.names[position]] for position in keep])

    def class_map(self, labels: Sequence[str]) -> ClassMap:
        """Its mask with values of these classes; other classes are 0.

        Raises `DatasetError` where it has boxes only, or its mask is gone or changed for the worse.
        """
        if self.mask is None:
            raise DatasetError(f"{self.path}: has no mask; a family that gives masks learns from masks only")
        values = np.zeros(256, np.uint8)
        for position, label in enumerate(self.mask_labels):
            values[position + 1] = labels.index(label) + 1 if label in labels else 0
        values[UNKNOWN] = UNKNOWN
        return ClassMap(values[self.mask(self.height, self.width)])


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

    def notes(self) -> list[str]:
        """What is to be known of how its boxes came about, a sentence each."""
        boxes, guessed = sum(len(item.names) for item in self.items), sum(item.guessed for item in self.items)
        regions = sum(len(item.ignore) for item in self.items)
        told = []
        if guessed:
            told.append(
                f"{guessed:,} of {boxes:,} boxes are squares of usual size: no cell was found round their point"
            )
        if regions:
            told.append(
                f"{regions:,} ignore region(s), of which the truth says nothing: what lies there is neither learned "
                "nor counted"
            )
        return told

    def duplicates(self) -> list[tuple[Path, ...]]:
        """Groups of files with the very same content."""
        groups: dict[str, list[Path]] = {}
        for item in self.items:
            groups.setdefault(item.key, []).append(item.path)
        return [tuple(paths) for paths in groups.values() if len(paths) > 1]


class Examples(Sequence[Example]):
    """Items as examples of some classes; an image is decoded each time it is indexed, and not kept.

    produces: the kind of truth that is wanted, boxes or masks.
    """

    def __init__(self, items: Sequence[Item], labels: Sequence[str], produces: type[Prediction] = Detections) -> None:
        self.items = tuple(items)
        self.labels = tuple(labels)
        self.produces = produces

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Examples: ...
    def __getitem__(self, index: int | slice) -> Example | Examples:
        if isinstance(index, slice):
            return Examples(self.items[index], self.labels, self.produces)
        item = self.items[index]
        if self.produces is ClassMap:
            return Example(item.image(), item.class_map(self.labels), item.key)
        return Example(item.image(), item.truth(self.labels), item.key, item.ignore)

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
