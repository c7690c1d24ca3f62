"""The annotated tasks of a project with everything that an export says of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import PIL.Image

from hemaloop.annotations import Truth, annotator, read_truth, select
from hemaloop.config import Settings
from hemaloop.dataset import Split, group_of, split_of
from hemaloop.errors import AnnotationError, ImageError
from hemaloop.images import ImageLoader
from hemaloop.labelconfig import Control
from hemaloop.plugin import Progress

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "WEBP": ".webp", "GIF": ".gif"}


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """One annotated task. stem, suffix: of its image's file, a stem no other task has. width, height: px.

    split: where its image belongs for ever. pre_labelled_by: version of the model whose prediction the annotator was
    shown, None where nobody knows. truth: what the chosen control says, None where no control was chosen.
    """

    task: int
    stem: str
    suffix: str
    image: bytes
    width: int
    height: int
    split: Split
    group: str | None
    pre_labelled_by: str | None
    annotators: tuple[str, ...]
    truth: Truth | None

    @property
    def file(self) -> str:
        """Name of its image's file."""
        return self.stem + self.suffix


def collect(
    tasks: Iterable[Mapping[str, Any]],
    field: str,
    control: Control | None,
    images: ImageLoader,
    project: str,
    settings: Settings,
    progress: Progress,
    shown: Mapping[int, str],
    faults: list[str],
) -> Iterator[Exported]:
    """Each task with an annotation that is truth, one at a time: images and masks of a large project fit no memory.

    field: of a task's data that holds the image. control: whose truth is wanted. shown: of each annotation by its
    number, the version of the prediction that was shown when it was submitted. faults: takes what was left out.
    """
    labelled = [(task, truth) for task in tasks if (truth := select(task))]
    stems: set[str] = set()
    for done, (task, truth) in enumerate(labelled, 1):
        try:
            version = pre_labelled_by(task, truth, shown)
            yield _exported(task, truth, field, control, images, project, settings, stems, version, faults)
        except (ImageError, AnnotationError) as error:
            faults.append(f"task {task['id']} is left out: {error}")
        progress.report(done, len(labelled), "images")


def _exported(
    task: Mapping[str, Any],
    annotations: list[dict[str, Any]],
    field: str,
    control: Control | None,
    images: ImageLoader,
    project: str,
    settings: Settings,
    stems: set[str],
    version: str | None,
    faults: list[str],
) -> Exported:
    data = task.get("data") or {}
    number = int(task["id"])
    content, image = images.load_file(data.get(field), number, project=project)
    truth = None
    if control is not None:
        truth = read_truth(task, control, image.width, image.height)
        faults += truth.faults if truth is not None else ()
    group = group_of(data)
    return Exported(
        task=number,
        stem=_stem(data, field, number, stems),
        suffix=_suffix(content),
        image=content,
        width=image.width,
        height=image.height,
        split=split_of(image.key, group, gate=settings.gate_fraction, tune=settings.tune_fraction),
        group=group,
        pre_labelled_by=version,
        annotators=tuple(annotator(one) for one in annotations),
        truth=truth,
    )


def pre_labelled_by(
    task: Mapping[str, Any], annotations: Iterable[Mapping[str, Any]], shown: Mapping[int, str]
) -> str | None:
    """Version of the prediction that the newest annotation was begun with, or that was shown when it was submitted.

    Label Studio keeps a copy of the latter, which stays when the prediction itself was superseded.
    """
    versions = {one.get("id"): one.get("model_version") for one in task.get("predictions") or () if _is_object(one)}
    for annotation in annotations:
        for version in (versions.get(annotation.get("parent_prediction")), shown.get(int(annotation.get("id") or 0))):
            if version:
                return str(version)
    return None


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping)


def _stem(data: Mapping[str, Any], field: str, number: int, taken: set[str]) -> str:
    """A name that people know the image by, made safe for files; with the task's number where another has it too."""
    known = data.get("file")
    name = known if isinstance(known, str) and known else _file_name(str(data.get(field, "")))
    stem = re.sub(r"[^\w.+-]+", "_", str(PurePosixPath(name).with_suffix("")) if name else "").strip("._")
    for candidate in _candidates(stem[:100] or "task", number):
        if candidate.casefold() not in taken:
            taken.add(candidate.casefold())
            return candidate
    raise AnnotationError("no file name is left for it")


def _candidates(stem: str, number: int) -> Iterator[str]:
    yield stem
    yield f"{stem}-{number}"
    yield f"task-{number}"


def _file_name(address: str) -> str:
    """Of an upload, without the prefix that Label Studio gives it, of a local file (?d=…) or of a web address."""
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")
    name = (local[0] if local else unquote(parts.path)).replace("\\", "/").rsplit("/", 1)[-1]
    return _UPLOAD_PREFIX.sub("", name)


def _suffix(content: bytes) -> str:
    with PIL.Image.open(BytesIO(content)) as opened:
        return _SUFFIXES.get(str(opened.format), ".img")
