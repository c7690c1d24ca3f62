"""Label Studio's export ("JSON", the full one) of choices about whole images.

Which annotation is truth, and what several annotators say together, is decided where the backend decides it
(`hemaloop.annotations`); a task's `subject`, `patient` or `slide` is its subject.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hemaloop.annotations import read_truth, select
from hemaloop.dataset import group_of
from hemaloop.errors import AnnotationError, DatasetError
from hemaloop.formats.coco import read_json
from hemaloop.formats.items import Fault, index_by_name
from hemaloop.formats.label_studio import image_of
from hemaloop.labelconfig import Control
from hemaloop.plugin import Classification

_KIND = "choices"
_ANY_SIZE = (100, 100)
"""px. A choice about a whole image has no place in it."""


def recognises(path: Path) -> bool:
    """Whether it is a JSON file that holds a list."""
    return path.is_file() and path.suffix.lower() == ".json" and isinstance(read_json(path), list)


def read(path: Path, images: Path | None, faults: list[Fault]) -> Iterator[tuple[Path, str, str | None]]:
    """Image, class and subject of every task with a choice; image files lie beside the export or in `images`.

    Raises `DatasetError` where no task has a choice about its image.
    """
    tasks = [task for task in read_json(path) if isinstance(task, dict) and isinstance(task.get("data"), dict)]
    control = _control(path, tasks, faults)
    by_name = index_by_name([images or path.parent], deep=True)
    for task in tasks:
        try:
            label = _label(path, task, control, faults)
        except AnnotationError as error:
            faults.append(Fault(path, f"task {task.get('id')}: {error}; left out"))
            continue
        if label is None:
            continue
        image, wanted = image_of(task, by_name)
        if image is None:
            faults.append(Fault(path, f"task {task.get('id')}: its image {wanted!r} is not there; left out"))
        else:
            yield image, label, group_of(task["data"])


def _label(path: Path, task: Mapping[str, Any], control: Control, faults: list[Fault]) -> str | None:
    truth = read_truth(task, control, *_size_of(task))
    if truth is None:
        return None
    faults += [Fault(path, fault) for fault in truth.faults]
    if truth.disagreement > 0:
        who = f"{len(truth.annotators)} annotators contradict each other"
        faults.append(Fault(path, f"task {task.get('id')}: its {who}; what most say is used"))
    if not isinstance(truth.prediction, Classification):
        raise AnnotationError(f"found {type(truth.prediction).__name__}, expected a choice")
    return control.model_labels[int(np.argmax(truth.prediction.probabilities))]


def _control(path: Path, tasks: Sequence[Mapping[str, Any]], faults: list[Fault]) -> Control:
    """The control with most choices: an export does not hold its labelling config."""
    labels: dict[tuple[str, str], Counter[str]] = {}
    for region in (region for task in tasks for region in _regions(task)):
        value = region.get("value")
        if region.get("type") != _KIND or not isinstance(value, dict) or "x" in value:
            continue
        names = value.get(_KIND)
        key = str(region.get("from_name")), str(region.get("to_name"))
        labels.setdefault(key, Counter()).update(name for name in names or () if isinstance(name, str))
    if not labels:
        raise DatasetError(
            f"{path}: found {len(tasks)} tasks, none with a choice about its image; export the project as “JSON”, "
            "not as “JSON-MIN”; choices about regions are learned in Label Studio only"
        )
    (name, to_name), known = max(labels.items(), key=lambda one: one[1].total())
    for (other, _), count in labels.items():
        if other != name:
            faults.append(Fault(path, f"{count.total()} choice(s) of {other!r} are left out; {name!r} has most"))
    learned = sorted(known)
    return Control(name, _KIND, to_name, "", tuple(learned), {label: label for label in learned})


def _regions(task: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for annotation in select(task):
        result = annotation.get("result")
        yield from (region for region in (result if isinstance(result, list) else ()) if isinstance(region, dict))


def _size_of(task: Mapping[str, Any]) -> tuple[int, int]:
    for region in _regions(task):
        width, height = region.get("original_width"), region.get("original_height")
        if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0:
            return width, height
    return _ANY_SIZE
