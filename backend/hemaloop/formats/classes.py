"""Data sets of whole images with a class each, one cell an image: C-NMC, ALL-IDB2, and folders named after classes.

    C-NMC      fold_*/all|hem/UID_<subject>_<image>_<cell>_<class>.bmp, several such folders deep
    ALL-IDB2   Im<number>_<0|1>.tif, 1 a lymphoblast (ALL), 0 a healthy cell (HEM)
    folders    <class>/<any name>
    export     Label Studio's JSON export of choices about whole images

C-NMC names the subject of each image; the others do not. A file ``subjects.csv`` with the columns ``file`` and
``subject`` beside the images names it for them, so that no subject is on two sides of a split.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hemaloop.errors import DatasetError, ImageError
from hemaloop.formats import class_export
from hemaloop.formats.items import IMAGE_SUFFIXES, Fault, load_picture, pictures_in
from hemaloop.plugin import Classification, Example, Image, Progress, Silent

C_NMC, ALL_IDB2, FOLDERS, EXPORT = "C-NMC", "ALL-IDB2", "class folders", "Label Studio export"
SUBJECTS = "subjects.csv"
_UID = re.compile(r"UID_(?P<subject>H?\d+)_(?P<image>\d+)_(?P<cell>\d+)_(?P<label>all|hem)", re.IGNORECASE)
_IDB2 = re.compile(r"Im\d+_(?P<label>[01])", re.IGNORECASE)
_IDB2_LABELS = {"1": "ALL", "0": "HEM"}
_THREADS = 8
_KNOWN = (
    "C-NMC (fold_*/all and fold_*/hem with UID_<subject>_<image>_<cell>_<class>.bmp), ALL-IDB2 (Im<number>_<0 or "
    "1>.tif), a folder a class with its images, or Label Studio's JSON export of choices"
)


@dataclass(frozen=True, slots=True)
class ClassItem:
    """One usable image and its class. key: hash of the file's bytes; subject: whom it is of, None where nobody says."""

    path: Path
    label: str
    key: str
    subject: str | None = None

    @property
    def group(self) -> str | None:
        """What splits keep together, named as `dataset.group_of` does; an export's tasks have named it already."""
        if self.subject is None or ":" in self.subject:
            return self.subject
        return f"subject:{self.subject}"

    def image(self) -> Image:
        """Its pixels. Raises `ImageError` where the file is gone or changed for the worse."""
        return load_picture(self.path).pixels


@dataclass(frozen=True, slots=True, eq=False)
class ClassDataset:
    """A data set of images with a class each, as far as it can be used."""

    path: Path
    format: str
    labels: tuple[str, ...]
    items: tuple[ClassItem, ...]
    faults: tuple[Fault, ...]

    def __len__(self) -> int:
        return len(self.items)

    def counts(self) -> Counter[str]:
        """Images of each class; 0 for a class without one."""
        found = Counter(item.label for item in self.items)
        return Counter({label: found[label] for label in self.labels})

    @property
    def subjects(self) -> frozenset[str]:
        """Everybody that some image is known to be of."""
        return frozenset(item.subject for item in self.items if item.subject is not None)

    def contradictions(self) -> list[str]:
        """Pictures that are there under several classes."""
        labels: dict[str, dict[str, Path]] = {}
        for item in self.items:
            labels.setdefault(item.key, {})[item.label] = item.path
        return [
            " = ".join(f"{path.name} ({label})" for label, path in sorted(found.items()))
            for found in labels.values()
            if len(found) > 1
        ]


class ClassExamples(Sequence[Example]):
    """Items as examples of some classes; an image is decoded each time it is indexed, and not kept."""

    def __init__(self, items: Sequence[ClassItem], labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.items = tuple(item for item in items if item.label in self.labels)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return ClassExamples(self.items[index], self.labels)
        item = self.items[index]
        return Example(item.image(), self.truth(item), item.key)

    def truth(self, item: ClassItem) -> Classification:
        """1 for its class."""
        return Classification(np.eye(len(self.labels), dtype=np.float32)[self.labels.index(item.label)])

    def truths(self) -> list[Classification]:
        """Of every example, without decoding an image."""
        return [self.truth(item) for item in self.items]


_Named = tuple[Path, str, str | None]
"""An image, its class, its subject."""


def read_classes(path: Path, progress: Progress | None = None, images: Path | None = None) -> ClassDataset:
    """Every image with its class, decoded once to find what is broken.

    images: folder of the image files of an export, where they are not beside it.
    Raises `DatasetError` where the path is no such data set.
    """
    faults: list[Fault] = []
    if class_export.recognises(path):
        name, named, root = EXPORT, list(class_export.read(path, images, faults)), images or path.parent
    else:
        name, reader = detect_layout(path)
        named, root = list(reader(path, faults)), path
    subjects = _listed_subjects(root / SUBJECTS, faults)
    items = []
    progress = progress or Silent()
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        try:
            for done, item in enumerate(pool.map(_item, named), 1):
                if isinstance(item, Fault):
                    faults.append(item)
                else:
                    listed = subjects.get(item.path.relative_to(root).as_posix(), subjects.get(item.path.name))
                    items.append(item if listed is None else ClassItem(item.path, item.label, item.key, listed))
                progress.report(done, len(named), "images")
        except BaseException:
            pool.shutdown(cancel_futures=True)  # nobody waits for the images that are left
            raise
    labels = sorted({label for _, label, _ in named})
    return ClassDataset(path, name, tuple(labels), tuple(items), tuple(faults))


def detect_layout(path: Path) -> tuple[str, Callable[[Path, list[Fault]], Iterator[_Named]]]:
    """The name of a layout and what reads it. Raises `DatasetError` that says what was expected."""
    if not path.is_dir():
        found = "is no such export" if path.is_file() else "there is no such folder"
        raise DatasetError(f"data set {path}: {found}; expected {_KNOWN}")
    if any(path.rglob("UID_*")):
        return C_NMC, _c_nmc
    if any(_IDB2.fullmatch(picture.stem) for picture in pictures_in(path)):
        return ALL_IDB2, _all_idb2
    if any(any(pictures_in(folder)) for folder in path.iterdir() if folder.is_dir()):
        return FOLDERS, _folders
    raise DatasetError(f"data set {path}: cannot tell its layout; expected {_KNOWN}")


def _c_nmc(path: Path, faults: list[Fault]) -> Iterator[_Named]:
    for picture in sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES):
        named = _UID.fullmatch(picture.stem)
        if named is None:
            faults.append(Fault(picture, "is not named UID_<subject>_<image>_<cell>_<all or hem>; image left out"))
            continue
        label = named["label"].upper()
        if picture.parent.name.upper() in ("ALL", "HEM") and picture.parent.name.upper() != label:
            faults.append(Fault(picture, f"says {label}, its folder {picture.parent.name}; image left out"))
            continue
        yield picture, label, named["subject"].upper()


def _all_idb2(path: Path, faults: list[Fault]) -> Iterator[_Named]:
    for picture in pictures_in(path):
        named = _IDB2.fullmatch(picture.stem)
        if named is None:
            faults.append(Fault(picture, "is not named Im<number>_<0 or 1>; image left out"))
        else:
            yield picture, _IDB2_LABELS[named["label"]], None


def _folders(path: Path, faults: list[Fault]) -> Iterator[_Named]:
    for folder in sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith(".")):
        pictures = list(pictures_in(folder))
        if not pictures:
            faults.append(Fault(folder, "holds no image; it is no class"))
        yield from ((picture, folder.name, None) for picture in pictures)
    faults += [Fault(picture, "lies in no class folder; image left out") for picture in pictures_in(path)]


def _item(named: _Named) -> ClassItem | Fault:
    path, label, subject = named
    try:
        return ClassItem(path, label, load_picture(path).key, subject)
    except ImageError as error:
        return Fault(path, f"{str(error).removeprefix(f'{path}: ')}; image left out")


def _listed_subjects(path: Path, faults: list[Fault]) -> dict[str, str]:
    """Subject of each file, by its path in the data set or its name."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        if not {"file", "subject"} <= set(rows.fieldnames or ()):
            faults.append(Fault(path, f"has the columns {rows.fieldnames}, expected file and subject; not used"))
            return {}
        return {row["file"].strip(): row["subject"].strip() for row in rows if row["file"] and row["subject"]}
