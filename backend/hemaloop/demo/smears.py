"""Images for the demo, in a folder that Label Studio may serve: rendered smears, or somebody's own."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hemaloop.errors import DatasetError
from hemaloop.formats import Item, detect_format, read_dataset
from hemaloop.formats.items import IMAGE_SUFFIXES
from hemaloop.synthetic import write_voc

SYNTHETIC = 60
"""Smears that are rendered where no folder is given."""


@dataclass(frozen=True, slots=True)
class Smear:
    """One image of the demo. name: path inside `Collection.folder`. truth: None where nobody drew boxes."""

    name: str
    truth: Item | None


@dataclass(frozen=True, slots=True)
class Collection:
    """The images of one demo project. title: shown to people. notes: what was found wrong with the folder."""

    title: str
    folder: Path
    smears: tuple[Smear, ...]
    notes: tuple[str, ...] = ()

    @property
    def with_truth(self) -> tuple[Smear, ...]:
        """Images whose boxes are known."""
        return tuple(smear for smear in self.smears if smear.truth is not None)


def collect(root: Path, source: Path | None, limit: int | None = None) -> Collection:
    """The images of `source` (rendered ones if None), linked or copied below `root`; a second call finds them there.

    source: a folder of images, or of Pascal VOC, YOLO or COCO annotations, nested or not. limit: take as many, evenly.
    Raises `DatasetError` where it holds no image.
    """
    if source is None:
        count = limit or SYNTHETIC
        folder = root / f"synthetic-{count}"
        if len(list((folder / "Annotations").glob("*.xml"))) < count:
            write_voc(folder, count)
        return _collection("Synthetic smears", folder, folder, None)
    source = source.resolve()
    if not source.is_dir():
        raise DatasetError(f"images {source}: no such folder; expected a folder of images, or one with annotations")
    mark = hashlib.sha256(str(source).encode()).hexdigest()[:8]
    return _collection(source.name, source, root / f"{source.name}-{mark}", limit)


def _collection(title: str, source: Path, folder: Path, limit: int | None) -> Collection:
    items, notes = _annotated(source)
    truths = {item.path.resolve(): item for item in items}
    paths = sorted(
        path
        for path in source.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not paths:
        raise DatasetError(f"images {source}: found no image; expected files such as {', '.join(IMAGE_SUFFIXES)}")
    chosen = paths if limit is None or len(paths) <= limit else [paths[i * len(paths) // limit] for i in range(limit)]
    smears = []
    for path in chosen:
        name = path.relative_to(source).as_posix()
        if folder != source:
            _place(path, folder / name)
        smears.append(Smear(name, truths.get(path.resolve())))
    return Collection(title, folder, tuple(smears), tuple(notes))


def _annotated(source: Path) -> tuple[list[Item], list[str]]:
    """Items of every data set in the folder or one level below, with what is wrong in them."""
    items: list[Item] = []
    notes: list[str] = []
    for folder in _data_sets(source):
        dataset = read_dataset(folder)
        items += dataset.items
        notes += [str(fault) for fault in dataset.faults]
    return items, notes


def _data_sets(source: Path) -> Sequence[Path]:
    found = []
    for folder in (source, *sorted(path for path in source.iterdir() if path.is_dir())):
        try:
            detect_format(folder)
        except DatasetError:
            continue
        found.append(folder)
        if folder == source:
            break
    return found


def _place(path: Path, target: Path) -> None:
    """A hard link where the file system allows it, so that nothing is stored twice; else a copy."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
