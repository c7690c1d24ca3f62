"""Data sets on disk: Pascal VOC, YOLO, COCO, Label Studio's export, points on cells and masks, read into one shape.

    dataset = read_dataset(Path("cbc/Training"))
    for fault in dataset.faults:
        ...                                       # what was found wrong, by file; the rest goes on
    train = examples(dataset, ("RBC", "WBC"))     # decodes an image when it is indexed

A fault of one file never stops the others: the box or the image is left out, and the fault says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hemaloop.errors import DatasetError
from hemaloop.formats import coco, label_studio, masks, points, voc, yolo
from hemaloop.formats.checking import collect
from hemaloop.formats.items import Dataset, Examples, Fault, Item, Source, examples
from hemaloop.formats.points import PointRules
from hemaloop.plugin import Progress

__all__ = ["Dataset", "Examples", "Fault", "Item", "PointRules", "detect_format", "examples", "read_dataset"]

_POINTS = "points"
_READERS: dict[str, Callable[[Path, Path | None], Source]] = {
    "Pascal VOC": voc.read,
    "YOLO": yolo.read,
    "COCO": coco.read,
    "Label Studio export": label_studio.read,
    "masks": masks.read,
}
_KNOWN = (
    "a Pascal VOC folder (Images/ and Annotations/*.xml, or both side by side), a YOLO folder (images/, labels/*.txt "
    "and classes.txt or data.yaml), a COCO .json file, Label Studio's JSON export, or a folder of points (Dataset/ and "
    "Label/*.txt with x, y and class a line, or both side by side with classes.txt), or a folder of "
    "masks (images/ and masks/*.png)"
)


def detect_format(path: Path) -> str:
    """Which of the formats a path holds. Raises `DatasetError` that says what was expected."""
    if not path.exists():
        raise DatasetError(f"data set {path}: there is no such file or folder; expected {_KNOWN}")
    modules = (
        ("masks", masks),
        *(("Pascal VOC", voc), (_POINTS, points), ("YOLO", yolo)),  # points lie beside images as some YOLO files do
        *(("COCO", coco), ("Label Studio export", label_studio)),
    )
    for name, module in modules:
        if module.recognises(path):
            return name
    inside = [child.name for child in sorted(path.iterdir()) if child.is_dir()] if path.is_dir() else []
    nested = [name for name in inside if any(m.recognises(path / name) for m in (voc, points, yolo, coco))]
    hint = f"; its folder(s) {', '.join(nested)} look like data sets: name one of them" if nested else ""
    raise DatasetError(f"data set {path}: cannot tell its format; expected {_KNOWN}{hint}")


def read_dataset(
    path: Path,
    images: Path | None = None,
    *,
    rules: PointRules | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Every image with its boxes, decoded once to find what is broken.

    images: folder in which image files are looked for, where that is not beside the annotations. rules: how points
    become boxes. progress: hears of each image; a folder of points takes tens of milliseconds an image.
    Raises `DatasetError` where the path is of no known format or its one file cannot be parsed.
    """
    if images is not None and not images.is_dir():
        raise DatasetError(f"images of data set {path}: {images} is not a folder")
    name = detect_format(path)
    source = points.read(path, images, rules or PointRules()) if name == _POINTS else _READERS[name](path, images)
    return collect(path, name, source, progress)
