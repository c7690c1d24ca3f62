"""A project as examples: which annotations are truth, which images judge for ever, what is wrong with any of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hemaloop import regions
from hemaloop.annotations import read_truth, select
from hemaloop.errors import AnnotationError, DatasetError, ImageError
from hemaloop.images import LoadedImage
from hemaloop.labelconfig import Control
from hemaloop.plugin import Classification, Detections, Example, Prediction, Progress, Silent

Split = Literal["train", "tune", "gate"]

GROUP_FIELDS = ("subject", "patient", "slide")
"""Fields of a task's data that name what its image was taken from, the widest first: a patient has several slides."""
DISAGREEMENT = 0.5
"""Disagreement among annotators from which a task is named to people."""
MOST_IMAGES = 0.5
"""Share of images that cannot be had, above which it is the images' server that is gone, not the images."""
_NOTES = 50


class Loader(Protocol):
    """`images.ImageLoader`, as far as this module needs it."""

    def load(self, uri: str, task_id: int | None = None, *, project: str) -> LoadedImage:
        """The image at an address. Raises `ImageError`."""


def split_of(key: str, group: str | None = None, *, gate: float = 0.2, tune: float = 0.1) -> Split:
    """Where an image belongs for ever, whoever asks: by the hash of its group, or of its own key where it has none.

    gate, tune: shares in [0, 1]. The two lie at opposite ends, so that changing one moves no image of the other.
    """
    digest = hashlib.sha256(f"hemaloop split 1\n{group or key}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return "gate" if place < gate else "tune" if place >= 1 - tune else "train"


def group_of(data: Mapping[str, Any]) -> str | None:
    """What the image was taken from, such as ``"patient:17"``, or None where the task does not say."""
    named = {str(name).strip().lower(): value for name, value in data.items()}
    for name in GROUP_FIELDS:
        value = named.get(name)
        if isinstance(value, str | int) and str(value).strip():
            return f"{name}:{str(value).strip()}"
    return None


@dataclass(frozen=True, slots=True)
class Survey:
    """The truth of a project before any image is opened.

    tasks: those with truth, by id. stamps: of each task, a short hash of each annotation's id and date. binding: hash
    of everything in the control that a training depends on.
    """

    tasks: tuple[Mapping[str, Any], ...]
    stamps: Mapping[int, tuple[str, ...]]
    binding: str

    @property
    def annotations(self) -> tuple[str, ...]:
        """Every stamp, in an order of its own."""
        return tuple(sorted(stamp for stamps in self.stamps.values() for stamp in stamps))

    @property
    def fingerprint(self) -> str:
        """Of the data and the binding together: a training on the same fingerprint gives the same model."""
        return hashlib.sha256(" ".join((self.binding, *self.annotations)).encode()).hexdigest()[:32]

    def without(self, tasks: Iterable[int]) -> Survey:
        """The survey as if these tasks were not there."""
        left_out = frozenset(tasks)
        kept = tuple(task for task in self.tasks if task["id"] not in left_out)
        return Survey(kept, {task["id"]: self.stamps[task["id"]] for task in kept}, self.binding)


def survey(tasks: Iterable[Mapping[str, Any]], control: Control, plugin_version: str) -> Survey:
    """What there is to learn from in Label Studio's tasks."""
    chosen = {int(task["id"]): (task, select(task)) for task in tasks}
    with_truth = {number: chosen[number] for number in sorted(chosen) if chosen[number][1]}
    stamps = {number: tuple(_stamp(task, one) for one in truth) for number, (task, truth) in with_truth.items()}
    return Survey(tuple(task for task, _ in with_truth.values()), stamps, _binding(control, plugin_version))


def _stamp(task: Mapping[str, Any], annotation: Mapping[str, Any]) -> str:
    said = [task["id"], annotation.get("id"), annotation.get("updated_at"), bool(annotation.get("ground_truth"))]
    return hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()[:12]


def _binding(control: Control, plugin_version: str) -> str:
    binding = control.binding
    learned = {
        "family": binding.family if binding else None,
        "preset": binding.preset if binding else None,
        "options": sorted(binding.options.items()) if binding else [],
        "labels": list(control.label_map.items()),
        "data_key": control.data_key,
        "plugin": plugin_version,
        **({"ignored": control.ignored} if control.ignored else {}),
        **({"regions": control.regions, "about": control.about} if control.regions else {}),
    }
    return hashlib.sha256(json.dumps(learned, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Record:
    """One image with its truth; the pixels stay where they are.

    ignore: float32 (K, 4) px, regions that are neither an object nor background. box: the part of the image that it is
    about, x1 y1 x2 y2 px, None for the whole. picture: key of the whole image.
    """

    task_id: int
    uri: str
    key: str
    group: str | None
    truth: Prediction
    ignore: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    box: tuple[float, ...] | None = None
    picture: str = ""


class Examples(Sequence[Example]):
    """Records as a plugin sees them: an image is decoded when it is asked for, and kept by nobody."""

    def __init__(self, records: Sequence[Record], loader: Loader, project: str) -> None:
        self.records = tuple(records)
        self._loader = loader
        self._project = project

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Examples(self.records[index], self._loader, self._project)
        record = self.records[index]
        image = self._loader.load(record.uri, record.task_id, project=self._project)
        pixels = image.pixels if record.box is None else regions.cut(image.pixels, record.box)
        return Example(pixels, record.truth, record.key, record.ignore)

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    @property
    def keys(self) -> tuple[str, ...]:
        """Image keys, in order."""
        return tuple(record.key for record in self.records)

    @property
    def pictures(self) -> int:
        """How many images they are of: several may be regions of one."""
        return len({record.picture for record in self.records})

    def without(self, keys: frozenset[str]) -> Examples:
        """Those whose key is not among `keys`."""
        return Examples([record for record in self.records if record.key not in keys], self._loader, self._project)


@dataclass(frozen=True, slots=True)
class Splits:
    """The examples of a project.

    notes: what a person should know of the data, one sentence each. used: the survey without the tasks whose image
    cannot be had now.
    """

    train: Examples
    tune: Examples
    gate: Examples
    notes: tuple[str, ...]
    used: Survey


def load(
    found: Survey,
    control: Control,
    loader: Loader,
    project: str,
    *,
    gate: float,
    tune: float,
    progress: Progress | None = None,
) -> Splits:
    """Open every image once, read its truth and put it into its split.

    An image or annotation that cannot be read is named in the notes and left out, the rest goes on.
    Raises `ImageError` where most images cannot be had, which has a cause that passes, and `DatasetError` where nothing
    is left to learn from.
    """
    notes: list[str] = []
    missing: list[int] = []
    records = _unique(_records(found, control, loader, project, notes, missing, progress or Silent()), notes)
    if len(missing) > len(found.tasks) * MOST_IMAGES:
        raise ImageError(f"project {project}: {len(missing)} of {len(found.tasks)} images cannot be had; {notes[0]}")
    if not records:
        why = "; ".join(notes[:3]) or "no annotation was submitted"
        raise DatasetError(f"project {project}, control {control.name!r}: nothing to learn from: {why}")
    notes += _suspicions(records, control)
    parts: dict[Split, list[Record]] = {"train": [], "tune": [], "gate": []}
    for record in records:
        parts[split_of(record.key, record.group, gate=gate, tune=tune)].append(record)
    _lend(parts, notes)
    made = {name: Examples(part, loader, project) for name, part in parts.items()}
    return Splits(made["train"], made["tune"], made["gate"], _shortened(notes), found.without(missing))


def _records(
    found: Survey,
    control: Control,
    loader: Loader,
    project: str,
    notes: list[str],
    missing: list[int],
    progress: Progress,
) -> Iterator[Record]:
    for index, task in enumerate(found.tasks):
        try:
            yield from _records_of(task, control, loader, project, notes)
        except ImageError as error:
            missing.append(task["id"])
            notes.append(f"task {task['id']} is left out: {error}")
        except AnnotationError as error:
            notes.append(f"task {task['id']} is left out: {error}")
        progress.report(index + 1, len(found.tasks), "reading images")


def _records_of(
    task: Mapping[str, Any], control: Control, loader: Loader, project: str, notes: list[str]
) -> list[Record]:
    """One record, or where the control is about regions, one a region: all of an image are in one split."""
    data = task.get("data") or {}
    uri = data.get(control.data_key)
    if not isinstance(uri, str) or not uri:
        raise ImageError(f"found no address in data[{control.data_key!r}], expected that of an image")
    image = loader.load(uri, task["id"], project=project)
    truth = read_truth(task, control, image.width, image.height)
    if truth is None:
        raise AnnotationError("none of its annotations is truth any more")
    notes += truth.faults
    if truth.disagreement >= DISAGREEMENT:
        notes.append(f"task {task['id']}: its {len(truth.annotators)} annotators disagree ({truth.disagreement:.0%})")
    group = group_of(data)
    if control.regions is None or not isinstance(truth.prediction, Detections):
        return [Record(task["id"], uri, image.key, group, truth.prediction, truth.ignore, picture=image.key)]
    records = []
    for box, label in zip(truth.prediction.boxes.tolist(), truth.prediction.labels, strict=True):
        key = regions.key_of(image.key, box)
        said = Classification(np.eye(len(control.model_labels), dtype=np.float32)[label])
        records.append(Record(task["id"], uri, key, group or image.key, said, box=tuple(box), picture=image.key))
    return records


def _unique(records: Iterable[Record], notes: list[str]) -> list[Record]:
    """One record an image, the one of the newest task; the same picture twice would weigh twice."""
    by_picture: dict[str, list[Record]] = {}
    for record in records:
        known = by_picture.setdefault(record.picture, [])
        if known and known[0].task_id != record.task_id:
            says = " and contradict each other" if _contradict(known[0].truth, record.truth) else ""
            notes.append(f"tasks {known[0].task_id} and {record.task_id} show the same image{says}; the later counts")
            known.clear()
        known.append(record)
    return list({record.key: record for found in by_picture.values() for record in found}.values())


def _contradict(one: Prediction, other: Prediction) -> bool:
    """Whether two people chose differently."""
    if not isinstance(one, Classification) or not isinstance(other, Classification):
        return False
    return int(one.probabilities.argmax()) != int(other.probabilities.argmax())


def _suspicions(records: Sequence[Record], control: Control) -> list[str]:
    from hemaloop.unlabelled import unlabelled_looking  # scikit-image takes a second to import, a survey needs none

    truths = [record.truth for record in records if isinstance(record.truth, Detections)]
    if len(truths) < len(records):
        return []
    return [
        f"task {records[suspicion.index].task_id} looks unlabelled: {suspicion}"
        for suspicion in unlabelled_looking(truths, control.model_labels)
    ]


def _lend(parts: dict[Split, list[Record]], notes: list[str]) -> None:
    """With few images the tuning split may be empty: some of `train` then serve, which `fit` sees in any case."""
    if parts["tune"] or len(parts["train"]) < 2:
        return
    count = max(1, len(parts["train"]) // 10)
    groups = {record.group or record.key for record in parts["train"]}
    lent: set[str] = set()
    # whole subjects are lent, and one stays: no subject is on two sides
    for group in sorted(groups, key=lambda name: hashlib.sha256(f"lend\n{name}".encode()).digest())[: len(groups) - 1]:
        lent.add(group)
        parts["tune"] = [record for record in parts["train"] if (record.group or record.key) in lent]
        if len(parts["tune"]) >= count:
            break
    if not lent:
        return
    parts["train"] = [record for record in parts["train"] if (record.group or record.key) not in lent]
    notes.append(f"no image fell into the tuning split yet; {len(parts['tune'])} of the training images tune this time")


def _shortened(notes: Sequence[str]) -> tuple[str, ...]:
    kept = tuple(notes[:_NOTES])
    return kept if len(notes) <= _NOTES else (*kept, f"and {len(notes) - _NOTES} more remarks of this kind")
