"""Images into a project: files of this machine uploaded to Label Studio, or a storage that Label Studio reads itself.

A file is known by its content: a task keeps its key in ``meta``, so that files which are there already are not sent
again, whatever they are called now. They go in the order of their keys, so that the first ones are a fair sample of
all, and predictions of them can be made while the others are still on their way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import PIL.Image

from hemaloop.client import LabelStudio
from hemaloop.client.transport import SLOW
from hemaloop.config import Settings
from hemaloop.errors import DatasetError, HemaloopError, LabelConfigError, SettingsError
from hemaloop.images import image_key
from hemaloop.images.decode import FORMATS
from hemaloop.labelconfig import LabelConfig
from hemaloop.plugin import Progress

SHOWN_BY_BROWSERS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"}
_UNSHOWN = {".tif", ".tiff"}
FILES_AT_ONCE = 50
"""Label Studio takes 100 files a request at most."""
BYTES_AT_ONCE = 64 * 2**20
"""Label Studio takes 250 MiB a request at most."""
S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file. name: as people know it, its folders included. key: hash of its content."""

    path: Path
    name: str
    key: str
    size: int

    @property
    def folder(self) -> str:
        """The folder that it lies in, such as a patient; empty where it lies at the top."""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Found:
    """Image files to upload, in the order of their keys, and what was left out and why."""

    pictures: tuple[Picture, ...]
    left_out: tuple[str, ...]


def find_pictures(paths: Sequence[Path], settings: Settings, progress: Progress) -> Found:
    """The image files that paths name, folders with all that is in them; each content once.

    Raises `DatasetError` where a path is not there, or nothing usable is found.
    """
    left_out: list[str] = []
    known: dict[str, Picture] = {}
    files = list(_files(paths))
    for done, (path, name) in enumerate(files, 1):
        fault = _unusable(path, settings)
        if fault:
            left_out.append(f"{name}: {fault}")
            continue
        picture = Picture(path, name, image_key(path.read_bytes()), path.stat().st_size)
        first = known.setdefault(picture.key, picture)
        if first is not picture:
            left_out.append(f"{name}: is the same picture as {first.name}")
        progress.report(done, len(files), "looking at images")
    if not known:
        found = "; ".join(left_out[:3]) or "no image file"
        raise DatasetError(f"images {', '.join(map(str, paths))}: found {found}, expected {_suffixes()} files")
    return Found(tuple(sorted(known.values(), key=lambda one: one.key)), tuple(left_out))


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Files and their names; several folders are told apart by theirs."""
    for path in paths:
        if path.is_dir():
            before = f"{path.resolve().name}/" if len(paths) > 1 else ""
            for file in sorted(path.rglob("*")):
                hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
                if file.suffix.lower() in SHOWN_BY_BROWSERS | _UNSHOWN and file.is_file() and not hidden:
                    yield file, before + file.relative_to(path).as_posix()
        elif path.is_file():
            yield path, path.name
        else:
            raise DatasetError(f"images {path}: there is no such file or folder")


def _unusable(path: Path, settings: Settings) -> str:
    """Why a file cannot be labelled, empty where it can; its header alone is read."""
    if path.suffix.lower() not in SHOWN_BY_BROWSERS:
        return f"browsers do not show {path.suffix or 'such'} files; convert it to PNG"
    if path.stat().st_size > settings.image_max_bytes:
        return (
            f"{path.stat().st_size:,} bytes, expected at most {settings.image_max_bytes:,} (HEMALOOP_IMAGE_MAX_BYTES)"
        )
    try:
        with PIL.Image.open(path, formats=FORMATS) as opened:
            width, height = opened.size
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        return f"is not an image that can be read ({error})"
    if width * height > settings.image_max_pixels:
        return f"{width}x{height} px, expected at most {settings.image_max_pixels:,} (HEMALOOP_IMAGE_MAX_PIXELS)"
    return ""


def _suffixes() -> str:
    return ", ".join(sorted(suffix[1:].upper() for suffix in SHOWN_BY_BROWSERS))


def image_field(config: LabelConfig) -> str:
    """The field of a task that holds its image. Raises `LabelConfigError` where tasks have several images."""
    fields = sorted({control.data_key for control in config.require_bound()})
    if len(fields) > 1:
        raise LabelConfigError(
            f"the labelling config takes several images a task ({', '.join(fields)}): create the project without "
            "images and import its tasks in Label Studio"
        )
    return fields[0]


class Uploads:
    """Files on their way into one project; what this object has sent can be taken back.

    field: of the task's data that holds the image. group: field that names what the images of one folder have in
    common, such as "patient", or None.
    """

    def __init__(self, studio: LabelStudio, project_id: int, field: str, group: str | None = None) -> None:
        self._studio = studio
        self._project = project_id
        self._field = field
        self._group = group
        self._sent: list[int] = []
        self._tasks: list[int] = []

    @property
    def tasks(self) -> int:
        """Tasks made so far."""
        return len(self._tasks)

    def missing(self, pictures: Iterable[Picture]) -> list[Picture]:
        """Those that no task of the project has."""
        there = {_key_of(task) for task in self._studio.tasks(self._project, with_annotations=False)}
        return [picture for picture in pictures if picture.key not in there]

    def send(self, pictures: Sequence[Picture], progress: Progress, *, at_once: bool) -> Iterator[int]:
        """Upload files and make their tasks; yields how many tasks there are, each time some have come.

        at_once: make all tasks when every file is there, for an order that needs all of them.
        """
        waiting: list[dict[str, Any]] = []
        done = 0
        for batch in _batches(pictures):
            progress.report(done, len(pictures), "uploading images")
            waiting += self._upload(batch)
            done += len(batch)
            if not at_once or done == len(pictures):
                self._tasks += self._studio.import_tasks(self._project, waiting)
                waiting.clear()
                yield self.tasks
        progress.report(len(pictures), len(pictures), "uploading images")

    def _upload(self, batch: Sequence[Picture]) -> list[dict[str, Any]]:
        files = {f"file{index}": (picture.path.name, picture.path.read_bytes()) for index, picture in enumerate(batch)}
        path = f"/api/projects/{self._project}"
        answer = self._studio.request(
            "POST", f"{path}/import", params={"commit_to_project": "false"}, files=files, timeout=SLOW
        )
        ids = [int(one) for one in answer["file_upload_ids"]]
        self._sent += ids
        known = self._studio.request("GET", f"{path}/file-uploads", params={"ids": json.dumps(ids)}, timeout=SLOW)
        places = {int(one["id"]): str(one["file"]) for one in known}
        if len(ids) != len(batch) or set(places) != set(ids):
            raise HemaloopError(f"project {self._project}: sent {len(batch)} files, Label Studio kept {len(places)}")
        return [self._task(picture, places[number]) for picture, number in zip(batch, ids, strict=True)]

    def _task(self, picture: Picture, place: str) -> dict[str, Any]:
        data = {self._field: f"/data/{quote(place)}", "file": picture.name}
        if self._group and picture.folder:
            data[self._group] = picture.folder
        return {"data": data, "meta": {"hemaloop": {"key": picture.key}}}

    def take_back(self) -> None:
        """Remove the tasks and files that this object has sent."""
        if self._tasks:
            chosen = {"all": False, "included": self._tasks}
            body = {"selectedItems": chosen, "ordering": [], "filters": {"conjunction": "and", "items": []}}
            params = {"id": "delete_tasks", "project": self._project}
            self._studio.request("POST", "/api/dm/actions", params=params, body=body, timeout=SLOW)
        if self._sent:
            self._studio.request(
                "DELETE", f"/api/projects/{self._project}/file-uploads", body={"file_upload_ids": self._sent}
            )


def _key_of(task: Mapping[str, Any]) -> str | None:
    meta = task.get("meta")
    mine = meta.get("hemaloop") if isinstance(meta, Mapping) else None
    return mine.get("key") if isinstance(mine, Mapping) else None


def _batches(pictures: Sequence[Picture]) -> Iterator[list[Picture]]:
    batch: list[Picture] = []
    for picture in pictures:
        if batch and (len(batch) == FILES_AT_ONCE or sum(one.size for one in batch) + picture.size > BYTES_AT_ONCE):
            yield batch
            batch = []
        batch.append(picture)
    if batch:
        yield batch


def connect_storage(studio: LabelStudio, project_id: int, address: str) -> int:
    """Let Label Studio make a task of each file of a storage that it reads itself; how many files it knows there.

    address: ``s3://bucket/prefix``, opened with the credentials of this command's environment, or the absolute path of
    a folder on Label Studio's machine, inside (not equal to) its LOCAL_FILES_DOCUMENT_ROOT. One that is connected
    already is read again. Raises `SettingsError` for another address or missing credentials, `LabelStudioError` where
    Label Studio cannot read it.
    """
    kind, wanted = storage_of(address)
    known = studio.request("GET", f"/api/storages/{kind}", params={"project": project_id})
    secret = {"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "title", "region_name"}
    same = [one for one in known if all(one.get(name) == value for name, value in wanted.items() if name not in secret)]
    if same:
        number = int(same[0]["id"])
    else:
        number = int(studio.request("POST", f"/api/storages/{kind}", body={**wanted, "project": project_id})["id"])
    synced = studio.request("POST", f"/api/storages/{kind}/{number}/sync", body={}, timeout=SLOW)
    return int(synced.get("last_sync_count") or 0)


def storage_of(address: str) -> tuple[str, dict[str, Any]]:
    """The kind of a storage as Label Studio's API names it, and its fields. Raises as `connect_storage` does."""
    parts = urlsplit(address)
    shared = {"title": address, "use_blob_urls": True, "regex_filter": _image_pattern()}
    if parts.scheme == "s3" and parts.netloc:
        missing = [name for name in S3_KEYS if not os.environ.get(name)]
        if missing:
            raise SettingsError(f"--storage {address}: Label Studio needs {', '.join(missing)} in the environment")
        more = {
            "bucket": parts.netloc,
            "prefix": parts.path.strip("/"),
            "recursive_scan": True,
            "presign": True,
            "aws_access_key_id": os.environ[S3_KEYS[0]],
            "aws_secret_access_key": os.environ[S3_KEYS[1]],
            "aws_session_token": os.environ.get("AWS_SESSION_TOKEN") or None,
            "region_name": os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or None,
            "s3_endpoint": os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None,
        }
        return "s3", {**shared, **more}
    if not parts.scheme and address.startswith("/"):
        return "localfiles", {**shared, "path": os.path.normpath(address)}
    raise SettingsError(
        f"--storage {address}: expected s3://bucket/prefix, or the absolute path of a folder on Label Studio's "
        "machine; connect any other storage in Label Studio (project settings, Cloud Storage) and run this without "
        "images"
    )


def _image_pattern() -> str:
    suffixes = "|".join(sorted(suffix[1:] for suffix in SHOWN_BY_BROWSERS))
    return rf".*\.(?i:{suffixes})$"
