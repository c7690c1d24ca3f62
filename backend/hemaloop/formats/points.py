"""Points: one text file an image, a line a cell: x, y in px and the number of its class. Boxes are found round them.

Images lie in Dataset/ and text files in Label/, as in Chula-RBC-12, or each text file lies beside its image. The names
of the classes are those of classes.txt, a name a line; without it, the Dataset/ and Label/ layout has the classes of
Chula-RBC-12. An image without a text file has not been labelled and is left out.

Such data are rarely complete: cells that nobody pointed at become ignore regions, and so does what a person could not
categorise (a class named "Uncategorised").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import DatasetError
from hemaloop.formats.items import Corners, Fault, Raw, Source, Traced, pictures_in
from hemaloop.images import LoadedImage

CHULA = (
    *("Normal cell", "Macrocyte", "Microcyte", "Spherocyte", "Target cell", "Stomatocyte", "Ovalocyte", "Teardrop"),
    *("Burr cell", "Schistocyte", "Uncategorised", "Hypochromia", "Elliptocyte"),
)
"""Classes 0 to 12 of Chula-RBC-12 (Naruenatthanaset et al. 2021)."""
_NAMES = "classes.txt"
_NO_CLASS = frozenset({"uncategorised", "uncategorized"})


@dataclass(frozen=True, slots=True)
class PointRules:
    """How points become boxes.

    side: of a usual cell in px, None for 39 px on a picture 480 px high. ignore_unlabelled: whether stained cells
    without a point are ignore regions; otherwise they are background.
    """

    side: float | None = None
    ignore_unlabelled: bool = True


def recognises(path: Path) -> bool:
    """Whether it is a folder with text files of three numbers a line, in Label/ or beside images."""
    if not path.is_dir():
        return False
    texts, _ = _folders(path)
    return any(_holds_points(file) for file in _texts(texts, path))


def read(path: Path, images: Path | None, rules: PointRules) -> Source:
    """Every image with its points. Raises `DatasetError` where classes.txt cannot be read."""
    texts, pictures = _folders(path)
    names = _names(path, chula=texts != path)
    by_stem = {picture.stem: picture for picture in pictures_in(images or pictures)}
    raws: list[Raw] = []
    faults: list[Fault] = []
    for file in _texts(texts, path):
        picture = by_stem.pop(file.stem, None)
        try:
            lines = file.read_text("utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            faults.append(Fault(file, f"cannot be read as text ({error}); image left out"))
            continue
        points, found = _points(file, lines, names, faults)
        raws.append(Raw(file, picture, (), wanted=f"{file.stem}.jpg", trace=_Trace(points, found, rules)))
    faults += [
        Fault(picture, "has no text file; image left out (an empty file says “no cell”)")
        for picture in by_stem.values()
    ]
    return Source([name for name in names if not _is_no_class(name)], raws, faults)


@dataclass(frozen=True, slots=True, eq=False)
class _Trace:
    """Boxes of points (N, 2) px with their names, once the picture is there."""

    points: NDArray[np.float64]
    names: tuple[str, ...]
    rules: PointRules

    def __call__(self, picture: LoadedImage) -> Traced:
        # scikit-image takes a second to import, and other formats need none
        from hemaloop.formats.outlines import outlined

        inside = np.asarray(((self.points >= 0) & (self.points < (picture.width, picture.height))).all(axis=1))
        faults = [
            f"point {x:g} {y:g} ({name}) lies outside the image ({picture.width}x{picture.height}); left out"
            for (x, y), name, kept in zip(self.points.tolist(), self.names, inside, strict=True)
            if not kept
        ]
        names = [name for name, kept in zip(self.names, inside, strict=True) if kept]
        found = outlined(picture, self.points[inside], self.rules.side)
        boxes = [_corners(box) for box in found.boxes]
        ignore = [_corners(box) for box in found.ignore] if self.rules.ignore_unlabelled else []
        named = list(zip(names, boxes, found.guessed.tolist(), strict=True))
        ignore += [box for name, box, _ in named if _is_no_class(name)]
        return Traced(
            boxes=[(name, box) for name, box, _ in named if not _is_no_class(name)],
            ignore=ignore,
            guessed=sum(guessed for name, _, guessed in named if not _is_no_class(name)),
            faults=faults,
        )


def _corners(box: NDArray[np.float32]) -> Corners:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2


def _is_no_class(name: str) -> bool:
    return name.strip().lower() in _NO_CLASS


def _folders(path: Path) -> tuple[Path, Path]:
    """Where the text files and the images are."""
    nested = path / "Label"
    return (nested, path / "Dataset") if nested.is_dir() else (path, path)


def _texts(folder: Path, path: Path) -> Iterator[Path]:
    """Text files with points, by name. Beside images only those of an image count: notes lie there too."""
    images = {picture.stem for picture in pictures_in(folder)} if folder == path else None
    for file in sorted(folder.glob("*.txt")):
        if file.name != _NAMES and (images is None or file.stem in images):
            yield file


def _holds_points(file: Path) -> bool:
    """Whether its first line is that of a point."""
    try:
        with file.open(encoding="utf-8") as stream:
            first = next((line for line in stream if line.strip()), "")
    except (OSError, UnicodeError):
        return False
    return _point(first) is not None


def _point(line: str) -> tuple[float, float, int] | None:
    try:
        x, y, index = line.split()
        return float(x), float(y), int(index)
    except ValueError:
        return None


def _points(
    file: Path, lines: list[str], names: tuple[str, ...], faults: list[Fault]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """x and y (N, 2) px and class of each point; what cannot be read is a fault."""
    places: list[tuple[float, float]] = []
    classes: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        point = _point(line)
        if point is None:
            faults.append(Fault(file, f"line {number} {line[:60]!r}: expected x, y and a class number; left out"))
        elif not 0 <= point[2] < len(names):
            faults.append(Fault(file, f"line {number}: class {point[2]}, expected 0 to {len(names) - 1}; left out"))
        else:
            places.append(point[:2])
            classes.append(names[point[2]])
    return np.array(places, np.float64).reshape(-1, 2), tuple(classes)


def _names(path: Path, *, chula: bool) -> tuple[str, ...]:
    """Of the classes. Raises `DatasetError` where classes.txt cannot be read, or is not there and is needed."""
    file = path / _NAMES
    if file.is_file():
        try:
            return tuple(line.strip() for line in file.read_text("utf-8").splitlines() if line.strip())
        except (OSError, UnicodeError) as error:
            raise DatasetError(f"class names {file}: cannot be read ({error})") from error
    if chula:
        return CHULA
    raise DatasetError(f"points in {path}: no class names; put classes.txt (a name a line) into it")
