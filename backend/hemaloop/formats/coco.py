"""COCO: one JSON file with images, categories and boxes as x y width height in px.

A crowd (`iscrowd`), many cells in one box, is an ignore region.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from hemaloop.errors import DatasetError
from hemaloop.formats.items import Corners, Fault, Raw, Source, index_by_name


def read_json(path: Path) -> Any:
    """Parsed JSON. Raises `DatasetError` that names the file and the place."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: is not readable JSON ({error})") from error


def _file(path: Path) -> Path | None:
    """The JSON file itself, or the only one in a folder that has COCO's three lists."""
    if path.is_file():
        return path if path.suffix.lower() == ".json" else None
    files = [*path.glob("*.json"), *path.glob("annotations/*.json")]
    return files[0] if len(files) == 1 else None


def recognises(path: Path) -> bool:
    """Whether it is a JSON object with `images` and `annotations`, or a folder with exactly one such file."""
    file = _file(path)
    if file is None:
        return False
    loaded = read_json(file)
    return isinstance(loaded, dict) and "images" in loaded and "annotations" in loaded


def read(path: Path, images: Path | None) -> Source:
    """Every image of the file with its boxes. Raises `DatasetError` where its lists are not lists."""
    file = _file(path)
    loaded = read_json(file) if file is not None else None
    if file is None or not isinstance(loaded, dict):
        raise DatasetError(f"{path}: expected a COCO file, a JSON object")
    for name in ("images", "annotations", "categories"):
        if not isinstance(loaded.get(name), list):
            found = type(loaded.get(name)).__name__
            raise DatasetError(f"{file}: expected a list under {name!r}, found {found}")
    faults: list[Fault] = []
    names = _categories(file, loaded["categories"], faults)
    boxes, crowds = _boxes(file, loaded["annotations"], names, faults)
    folder = images or (file.parent.parent if file.parent.name == "annotations" else file.parent)
    by_name = index_by_name([folder], deep=True)
    raws = []
    for position, entry in enumerate(loaded["images"]):
        if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str) or "id" not in entry:
            faults.append(Fault(file, f"images[{position}]: expected an object with id and file_name; left out"))
            continue
        wanted = Path(entry["file_name"].replace("\\", "/"))
        image = _inside(folder, wanted) or by_name.get(wanted.name)
        key = str(entry["id"])
        regions = crowds.get(key, ())
        raws.append(Raw(file, image, boxes.pop(key, []), size=_size(entry), wanted=str(wanted), ignore=regions))
    faults += [
        Fault(file, f"{len(left)} box(es) of image id {key}, which is not in the file; left out")
        for key, left in boxes.items()
    ]
    return Source(list(names.values()), raws, faults)


def _inside(folder: Path, wanted: Path) -> Path | None:
    """The file below the folder; a path that leads out of it is not followed."""
    candidate = (folder / wanted).resolve()
    return candidate if candidate.is_relative_to(folder.resolve()) and candidate.is_file() else None


def _categories(file: Path, entries: list[Any], faults: list[Fault]) -> dict[str, str]:
    names: dict[str, str] = {}
    for position, entry in enumerate(entries):
        if isinstance(entry, dict) and isinstance(entry.get("name"), str) and "id" in entry:
            names[str(entry["id"])] = entry["name"]
        else:
            faults.append(Fault(file, f"categories[{position}]: expected an object with id and name; left out"))
    return names


def _boxes(
    file: Path, entries: list[Any], names: dict[str, str], faults: list[Fault]
) -> tuple[defaultdict[str, list[tuple[str, Corners]]], defaultdict[str, list[Corners]]]:
    """Boxes and crowds by the id of their image."""
    boxes: defaultdict[str, list[tuple[str, Corners]]] = defaultdict(list)
    crowds: defaultdict[str, list[Corners]] = defaultdict(list)
    for position, entry in enumerate(entries):
        try:
            x, y, width, height = (float(value) for value in entry["bbox"])
            image, category = str(entry["image_id"]), str(entry["category_id"])
            crowd = bool(entry.get("iscrowd", 0))
        except (KeyError, TypeError, ValueError, AttributeError):
            faults.append(Fault(file, f"annotations[{position}]: expected image_id, category_id and bbox; left out"))
            continue
        corners = x, y, x + width, y + height
        if crowd:
            crowds[image].append(corners)
        elif category not in names:
            faults.append(Fault(file, f"annotations[{position}]: unknown category {category}; left out"))
        else:
            boxes[image].append((names[category], corners))
    return boxes, crowds


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    width, height = entry.get("width"), entry.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None
