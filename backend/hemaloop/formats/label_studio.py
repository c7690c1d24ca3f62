"""Label Studio's export ("JSON", the full one): tasks with their annotations, rectangles in per cent or brush masks.

Which annotation is truth, and what several annotators say together, is decided where the backend decides it
(`hemaloop.annotations`), so that an export teaches the same as the project it came from. What is said about a box, such
as the mark that it is worth a second look, is left out. An export does not hold the labelling config: boxes that are
neither an object nor background are known by their label, "Uncategorised".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from hemaloop.annotations import Truth, read_truth, select
from hemaloop.errors import AnnotationError, DatasetError
from hemaloop.formats.coco import read_json
from hemaloop.formats.items import IMAGE_SUFFIXES, Corners, Fault, Raw, ReadMask, Source, index_by_name
from hemaloop.labelconfig import Control
from hemaloop.plugin import ClassMap, Detections

_KINDS = {"rectanglelabels": "boxes", "brushlabels": "masks"}
"""Of regions, and what people call them."""
_IGNORED = frozenset({"uncategorised", "uncategorized"})
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
_UNKNOWN_SIZE = (100, 100)
"""px. Of an image without a region, which says nothing of its size and has no box to be scaled."""


def recognises(path: Path) -> bool:
    """Whether it is a JSON file that holds a list."""
    return path.is_file() and path.suffix.lower() == ".json" and isinstance(read_json(path), list)


def read(path: Path, images: Path | None) -> Source:
    """Every task with its truth. Image files are looked for beside the export, or in `images`, by their names.

    Raises `DatasetError` for another kind of export.
    """
    tasks = read_json(path)
    if not any(isinstance(task, dict) and isinstance(task.get("annotations"), list) for task in tasks):
        raise DatasetError(
            f"{path}: found {len(tasks)} entries, none with a list of annotations; export the project as “JSON”, not "
            "as “JSON-MIN”"
        )
    controls = _controls(tasks)
    by_name = index_by_name([images or path.parent], deep=True)
    raws: list[Raw] = []
    faults: list[Fault] = []
    unlabelled = 0
    for position, task in enumerate(tasks):
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            faults.append(Fault(path, f"entry {position}: expected a task with its data; left out"))
            continue
        try:
            raw = _raw(path, task, controls, by_name, faults)
        except AnnotationError as error:
            faults.append(Fault(path, f"task {task.get('id')}: {error}; left out"))
            continue
        unlabelled += raw is None
        raws += [raw] if raw is not None else []
    if unlabelled:
        faults.append(Fault(path, f"{unlabelled} task(s) have no submitted annotation; left out"))
    faults += _other_kinds(path, tasks, controls[0].kind if controls else "rectanglelabels")
    labels = list(dict.fromkeys(label for control in controls for label in control.model_labels))
    return Source(labels, raws, faults)


def _raw(
    path: Path, task: dict[str, Any], controls: list[Control], by_name: Mapping[str, Path], faults: list[Fault]
) -> Raw | None:
    width, height = next((size for region in _regions(task) if (size := _size(region))), _UNKNOWN_SIZE)
    boxes: list[tuple[str, Corners]] = []
    ignore: list[Corners] = []
    labelled = bool(select(task))
    mask: ReadMask | None = None
    for control in controls:
        truth = read_truth(task, control, width, height)
        if truth is not None:
            boxes += _boxes(truth, control)
            if isinstance(truth.prediction, ClassMap):
                mask = _reader(truth.prediction, (width, height) != _UNKNOWN_SIZE)
            ignore += [(x1, y1, x2, y2) for x1, y1, x2, y2 in truth.ignore.tolist()]
            faults += [Fault(path, fault) for fault in truth.faults]
            faults += _disagreement(path, task, truth)
    if not labelled:
        return None
    image, wanted = image_of(task, by_name)
    size = None if (width, height) == _UNKNOWN_SIZE else (width, height)
    return Raw(path, image, boxes, size=size, wanted=wanted, ignore=ignore, mask=mask)


def _reader(found: ClassMap, sized: bool) -> ReadMask:
    """Reads the mask of a task. sized: whether some region said how large its image is; without one it is empty."""

    def read_mask(height: int, width: int) -> NDArray[np.uint8]:
        if sized and found.labels.shape != (height, width):
            was = f"{found.labels.shape[1]}x{found.labels.shape[0]}"
            raise DatasetError(f"its mask is for an image of {was} px, found {width}x{height}")
        return found.labels if sized else np.zeros((height, width), np.uint8)

    return read_mask


def _boxes(truth: Truth, control: Control) -> Iterator[tuple[str, Corners]]:
    if isinstance(truth.prediction, Detections):
        for box, label in zip(truth.prediction.boxes.tolist(), truth.prediction.labels, strict=True):
            yield control.model_labels[int(label)], (box[0], box[1], box[2], box[3])


def _disagreement(path: Path, task: dict[str, Any], truth: Truth) -> Iterator[Fault]:
    if len(truth.annotators) > 1 and truth.disagreement > 0:
        who = f"{len(truth.annotators)} annotators disagree ({truth.disagreement:.2f} of 1)"
        yield Fault(path, f"task {task.get('id')}: its {who}; what they say together is used")


def _regions(task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Regions of every annotation that is truth."""
    for annotation in select(task):
        result = annotation.get("result")
        yield from (region for region in (result if isinstance(result, list) else ()) if isinstance(region, dict))


def _controls(tasks: list[Any]) -> list[Control]:
    """The controls of a project, from the regions alone: an export does not hold its labelling config.

    Where one of them holds brush masks, those alone: a data set has boxes or masks.
    """
    labels: dict[tuple[str, str, str], set[str]] = {}
    for task in tasks:
        for region in _regions(task) if isinstance(task, dict) else ():
            value, kind = region.get("value"), str(region.get("type"))
            names = value.get(kind) if isinstance(value, dict) and kind in _KINDS else None
            if isinstance(names, list):
                key = kind, str(region.get("from_name")), str(region.get("to_name"))
                labels.setdefault(key, set()).update(name for name in names if isinstance(name, str))
    found = [_control(*key, sorted(known)) for key, known in sorted(labels.items())]
    return [control for control in found if control.kind == "brushlabels"] or found


def _control(kind: str, name: str, to_name: str, labels: list[str]) -> Control:
    ignored = tuple(label for label in labels if label.casefold() in _IGNORED)
    learned = {label: label for label in labels if label not in ignored}
    return Control(name, kind, to_name, "", tuple(labels), learned, ignored=ignored)


def _other_kinds(path: Path, tasks: list[Any], used: str) -> Iterator[Fault]:
    """Regions of another kind than is used. What is said about a box or a mask shares its id and is none."""
    kinds: dict[str, int] = {}
    for task in tasks:
        regions = list(_regions(task)) if isinstance(task, dict) else []
        boxes = {str(region.get("id")) for region in regions if region.get("type") == used}
        for region in regions:
            kind = str(region.get("type"))
            if kind != used and str(region.get("id")) not in boxes:
                kinds[kind] = kinds.get(kind, 0) + 1
    for kind, count in sorted(kinds.items()):
        yield Fault(path, f"{count} region(s) are {kind}, not {_KINDS[used]}; left out")


def _size(region: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = region.get("original_width"), region.get("original_height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0 else None


def image_of(task: Mapping[str, Any], by_name: Mapping[str, Path]) -> tuple[Path | None, str]:
    """The file of a task's image, and what was looked for: what hemaloop's own export names, else by its address."""
    meta = task.get("meta")
    mine = meta.get("hemaloop") if isinstance(meta, dict) else None
    known = mine.get("file") if isinstance(mine, dict) else None
    if isinstance(known, str) and (found := by_name.get(known.rpartition("/")[2])) is not None:
        return found, known
    data = task["data"]
    addresses = [value for value in data.values() if isinstance(value, str)]
    named = [address for address in addresses if _file_name(address).lower().endswith(IMAGE_SUFFIXES)]
    for address in named:
        name = _file_name(address)
        found = by_name.get(name) or by_name.get(_UPLOAD_PREFIX.sub("", name))
        if found is not None:
            return found, name
    return None, _file_name(named[0]) if named else "(no field of the task names an image)"


def _file_name(address: str) -> str:
    """Of an upload, a local file (?d=…), a web or an s3 address."""
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")
    return (local[0] if local else unquote(parts.path)).replace("\\", "/").rsplit("/", 1)[-1]
