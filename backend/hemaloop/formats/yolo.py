"""YOLO: one text file an image, a line a box: class, then centre x, centre y, width, height as fractions.

A line with more numbers is a polygon (class, x y x y …); its enclosing box is taken. An image without a text file has
not been labelled and is left out; an empty text file says "no cell".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from hemaloop.errors import DatasetError
from hemaloop.formats.items import IMAGE_SUFFIXES, Corners, Fault, Raw, Source

_NAME_FILES = ("classes.txt", "obj.names", "data.yaml", "data.yml", "dataset.yaml")


def recognises(path: Path) -> bool:
    """Whether it is a folder with labels/**/*.txt, or text files beside images and a file with the class names."""
    if not path.is_dir():
        return False
    return any((path / "labels").rglob("*.txt")) or (_names_file(path) is not None and any(_flat_labels(path)))


def read(path: Path, images: Path | None) -> Source:
    """Every image with its text file. Raises `DatasetError` where the class names are missing or unreadable."""
    names = _names(path)
    label_root = path / "labels" if (path / "labels").is_dir() else path
    image_root = images or (path / "images" if (path / "images").is_dir() else path)
    pictures = {
        found.relative_to(image_root).with_suffix(""): found
        for found in sorted(image_root.rglob("*"))
        if found.suffix.lower() in IMAGE_SUFFIXES
    }
    raws: list[Raw] = []
    faults: list[Fault] = []
    seen = set()
    for file in sorted(label_root.rglob("*.txt")):
        if file.name in (*_NAME_FILES, "notes.txt", "train.txt", "val.txt", "test.txt"):
            continue
        stem = file.relative_to(label_root).with_suffix("")
        seen.add(stem)
        try:
            lines = file.read_text("utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            faults.append(Fault(file, f"cannot be read as text ({error}); image left out"))
            continue
        boxes = list(_boxes(file, lines, names, faults))
        raws.append(Raw(file, pictures.get(stem), boxes, "fraction", wanted=f"{stem}.jpg"))
    faults += [
        Fault(picture, "has no text file in labels/; image left out (an empty file says “no cell”)")
        for stem, picture in pictures.items()
        if stem not in seen
    ]
    return Source(names, raws, faults)


def _boxes(file: Path, lines: list[str], names: list[str], faults: list[Fault]) -> Iterator[tuple[str, Corners]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            index, *rest = line.split()
            values = [float(value) for value in rest]
            position = int(index)
        except ValueError:
            faults.append(Fault(file, f"line {number} {line[:60]!r}: expected a class number and fractions; left out"))
            continue
        if not 0 <= position < len(names):
            faults.append(Fault(file, f"line {number}: class {position}, expected 0 to {len(names) - 1}; left out"))
        elif len(values) == 4:
            x, y, width, height = values
            yield names[position], (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        elif len(values) >= 6 and len(values) % 2 == 0:
            across, down = values[0::2], values[1::2]
            yield names[position], (min(across), min(down), max(across), max(down))
        else:
            faults.append(Fault(file, f"line {number}: {len(values)} fractions, expected 4 or a polygon; left out"))


def _names_file(path: Path) -> Path | None:
    for folder in (path, path.parent):
        for name in _NAME_FILES:
            if (folder / name).is_file():
                return folder / name
    return None


def _flat_labels(path: Path) -> Iterator[Path]:
    for file in path.glob("*.txt"):
        if file.name not in _NAME_FILES and any(file.with_suffix(suffix).exists() for suffix in IMAGE_SUFFIXES):
            yield file


def _names(path: Path) -> list[str]:
    file = _names_file(path)
    if file is None:
        raise DatasetError(f"YOLO folder {path}: no class names; put classes.txt (a name a line) or data.yaml into it")
    try:
        text = file.read_text("utf-8")
        if file.suffix not in (".yaml", ".yml"):
            return [line.strip() for line in text.splitlines() if line.strip()]
        loaded = yaml.safe_load(text)
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise DatasetError(f"class names {file}: cannot be read ({error})") from error
    names = loaded.get("names") if isinstance(loaded, dict) else None
    if isinstance(names, dict) and all(isinstance(key, int) for key in names):
        # a gap in the numbers must not shift the classes behind it
        return [str(names.get(index, f"class {index}")) for index in range(max(names, default=-1) + 1)]
    if isinstance(names, list):
        return [str(name) for name in names]
    raise DatasetError(f"class names {file}: found {names!r} under `names`, expected a list or numbers with names")
