"""An export as a folder that is there whole or not at all."""

from __future__ import annotations

import csv
import json
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from hemaloop.client import Json, LabelStudio
from hemaloop.config import Settings
from hemaloop.errors import DatasetError
from hemaloop.export import coco, label_studio
from hemaloop.export.coco import Coco
from hemaloop.export.collect import Exported, collect
from hemaloop.export.label_studio import LabelStudioExport, fetch, versions_shown
from hemaloop.export.voc import Voc
from hemaloop.images import ImageLoader
from hemaloop.labelconfig import Control, LabelConfig, parse_label_config
from hemaloop.plugin import Progress

MANIFEST = ".hemaloop-export"
_COLUMNS = ("task", "file", "split", "group", "pre_labelled_by", "annotators")


class Format(StrEnum):
    """What an export is written as."""

    LABEL_STUDIO = "label-studio"
    COCO = "coco"
    VOC = "voc"


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted. control: its name, None for the only one that fits. images: whether image files come along.

    overwrite: whether an earlier export in the folder may be replaced.
    """

    project: int
    folder: Path
    kind: Format = Format.LABEL_STUDIO
    control: str | None = None
    images: bool = True
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was written. splits: tasks by split. data: for `hemaloop train`. faults: what was left out and why."""

    tasks: int
    splits: Mapping[str, int]
    data: Path
    faults: tuple[str, ...]


class _Writer(Protocol):
    @property
    def images(self) -> str: ...

    def add(self, one: Exported) -> None: ...

    def finish(self, about: Mapping[str, Any]) -> None: ...


def export(settings: Settings, studio: LabelStudio, images: ImageLoader, order: Order, progress: Progress) -> Outcome:
    """Write what is labelled in a project. An end on the way, Ctrl-C among them, leaves the folder as it was.

    Raises `DatasetError` where nothing can be exported, the format has no place for it, or the folder holds something
    else; `LabelConfigError` where no control is bound.
    """
    _require_free(order.folder, overwrite=order.overwrite)
    info = studio.project(order.project)
    config = parse_label_config(info.label_config)
    control = _control(config, order)
    field = (control or config.require_bound()[0]).data_key
    partial = order.folder.resolve().with_name(f".{order.folder.resolve().name}.{uuid.uuid4().hex}")
    try:
        partial.mkdir(parents=True)
        entries = fetch(studio, order.project)
        writer = _writer(partial, entries, order, control, info.title)
        faults: list[str] = []
        tasks = studio.tasks(order.project, only="annotated")
        shown = versions_shown(entries)
        found = collect(tasks, field, control, images, info.key, settings, progress, shown, faults)
        rows = list(_written(partial, writer, found, order))
        if not rows:
            why = "; ".join(faults[:3]) or "no annotation was submitted"
            raise DatasetError(f"project {order.project}: nothing to export: {why}")
        about = {
            "project": info.key,
            "title": info.title,
            "format": order.kind.value,
            "control": control.name if control is not None else None,
            "exported": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "tasks": len(rows),
            "left_out": faults,
        }
        writer.finish(about)
        _write_table(partial / "tasks.csv", rows)
        (partial / MANIFEST).write_text(json.dumps(about, indent=1), "utf-8")
        if order.folder.exists():
            shutil.rmtree(order.folder)
        partial.rename(order.folder)
    except OSError as error:
        raise DatasetError(f"--out {order.folder}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Outcome(len(rows), Counter(str(row[2]) for row in rows), _data(order), tuple(faults))


def _require_free(folder: Path, *, overwrite: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MANIFEST).is_file():
        raise DatasetError(f"--out {folder}: exists and is no export; name another folder")
    if not overwrite:
        raise DatasetError(f"--out {folder}: holds an export already; name another folder, or add --overwrite")


def _control(config: LabelConfig, order: Order) -> Control | None:
    """The control whose truth is written; None where Label Studio's own format takes all of them."""
    bound = config.require_bound()
    if order.kind is Format.LABEL_STUDIO:
        return None
    if order.control is not None:
        chosen = [config.control(order.control)]
    else:
        chosen = [control for control in bound if control.kind != "choices"] or list(bound)
    if len(chosen) > 1:
        names = ", ".join(control.name for control in chosen)
        raise DatasetError(f"project {order.project}: {names} are bound; choose one with --control")
    control = chosen[0]
    if control.kind == "choices" and control.regions is None:
        raise DatasetError(
            f"control {control.name!r}: holds choices about whole images, which {order.kind.value} has no place for; "
            f"export with --format {Format.LABEL_STUDIO.value}"
        )
    return control


def _writer(folder: Path, entries: Sequence[Json], order: Order, control: Control | None, title: str) -> _Writer:
    if control is None:
        return LabelStudioExport(folder, entries)
    if order.kind is Format.COCO:
        return Coco(folder, control.model_labels)
    return Voc(folder, control.model_labels, title, masked=control.kind == "brushlabels")


def _written(folder: Path, writer: _Writer, tasks: Iterable[Exported], order: Order) -> Iterable[tuple[object, ...]]:
    """Write each task and yield what the table says of it."""
    for one in tasks:
        writer.add(one)
        if order.images:
            (folder / writer.images).mkdir(exist_ok=True)
            (folder / writer.images / one.file).write_bytes(one.image)
        yield (
            *(one.task, one.file, one.split, one.group or "", one.pre_labelled_by or ""),
            " ".join(one.annotators),
        )


def _write_table(path: Path, rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        writer.writerows(rows)


def _data(order: Order) -> Path:
    files = {Format.LABEL_STUDIO: label_studio.ANNOTATIONS, Format.COCO: coco.ANNOTATIONS}
    return order.folder / files[order.kind] if order.kind in files else order.folder
