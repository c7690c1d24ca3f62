"""A project from nothing to its first predictions: made or found again, connected, filled, put in order.

Calling it again with the same title mends what is not as it must be and adds what is missing. Cancelled on the way,
a project that it made is removed again, and one that was there keeps nothing of what this call had sent; where Label
Studio fails in the middle, what is there stays and the next call goes on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from hemaloop import projects
from hemaloop.client import LabelStudio, ProjectInfo
from hemaloop.client.transport import SLOW
from hemaloop.config import Settings
from hemaloop.errors import Cancelled, HemaloopError, LabelConfigError, LabelStudioError
from hemaloop.labelconfig import LabelConfig, parse_label_config
from hemaloop.plugin import Progress
from hemaloop.priorities import FIRST
from hemaloop.project_images import Picture, Uploads, connect_storage, image_field, storage_of
from hemaloop.project_setup import Connected, create_project, set_up
from hemaloop.queues import Queues
from hemaloop.store import ArtifactStore

TAB = "Most relevant first"
_POLL_SECONDS = 0.5
_STOPPED = (Cancelled, KeyboardInterrupt)
"""A person wants it no longer. What fails by itself keeps the images that are there for the next call."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made. title: by which the project is found again. pictures: files to upload, in that order.

    storage: address that Label Studio reads itself (`project_images.connect_storage`). group: field of the task that
    names the folder of its file, such as "patient": images of one never judge what others of it have taught.
    """

    title: str
    label_config: str
    pictures: tuple[Picture, ...] = ()
    storage: str | None = None
    group: str | None = None
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Created:
    """What became of it. new: whether the project was made now. added: tasks that came. job: that scores them."""

    connected: Connected
    new: bool
    added: int
    job: str

    @property
    def project(self) -> ProjectInfo:
        """The project as it was when it was connected."""
        return self.connected.project


def create(studio: LabelStudio, settings: Settings, queues: Queues, order: Order, progress: Progress) -> Created:
    """Make or mend a project, and ask for its first predictions.

    Raises `LabelConfigError` for a config that cannot be served, `LabelStudioError` where something cannot be set or
    the title belongs to another project, `QueueError` without Redis, `Cancelled`; what `progress` raises ends it too.
    """
    config = parse_label_config(order.label_config)
    config.require_bound()
    faults = projects.faults(config)
    if faults:
        raise LabelConfigError("\n".join(faults))
    field = image_field(config) if order.pictures else ""
    if order.storage is not None:
        storage_of(order.storage)  # one that cannot be connected is said before anything is made
    queues.served("score")  # without Redis nothing would come of it: said before anything is made
    progress.report(0, 1, "looking for the project")
    info = _find(studio, order)
    new = info is None
    if info is None:
        info = create_project(studio, order.title, order.label_config)
    with _removed_on(BaseException, studio, info, new):
        connected = set_up(studio, settings, info.id, replace=order.replace)
        _make_tab(studio, info.id)
    with _removed_on(_STOPPED, studio, info, new):
        added, job = _fill(studio, settings, queues, connected, order, config, field, progress)
    return Created(connected, new, added, job)


def _find(studio: LabelStudio, order: Order) -> ProjectInfo | None:
    """The project of that title, None where there is none. Raises `LabelStudioError` where it is another one."""
    found = [project for project in studio.projects() if project.title == order.title]
    if len(found) > 1:
        numbers = ", ".join(str(project.id) for project in found)
        raise LabelStudioError(
            f"title {order.title!r}: projects {numbers} have it, expected one at most; rename them in Label Studio, "
            "or choose another --title"
        )
    if found and _differ(found[0].label_config, order.label_config):
        raise LabelStudioError(
            f"title {order.title!r}: project {found[0].id} has it and binds another labelling config, which is left as "
            f"it is; choose another --title, or `hemaloop setup {found[0].id}` to connect it as it is"
        )
    return found[0] if found else None


def _differ(one: str, other: str) -> bool:
    """Whether two configs bind different models; layout, and options that people tuned since, make no difference."""
    try:
        left, right = parse_label_config(one), parse_label_config(other)
    except LabelConfigError:
        return True
    return _shape(left) != _shape(right)


def _shape(config: LabelConfig) -> list[tuple[object, ...]]:
    return [
        (control.name, control.kind, control.labels, control.binding.family if control.binding else None)
        for control in config.bound
    ]


@contextlib.contextmanager
def _removed_on(
    ends: type[BaseException] | tuple[type[BaseException], ...], studio: LabelStudio, info: ProjectInfo, new: bool
) -> Iterator[None]:
    """Let what ends the work early, Ctrl-C pressed twice included, take a new project along."""
    try:
        yield
    except ends as error:
        if not new:
            raise
        try:
            studio.request("DELETE", f"/api/projects/{info.id}", timeout=SLOW)
        except HemaloopError as fault:
            raise LabelStudioError(
                f"{error}\nproject {info.id} was begun and could not be removed again ({fault}); delete it in Label "
                "Studio, or run the same command again to finish it"
            ) from error
        if isinstance(error, Cancelled):
            raise Cancelled(f"{error}; project {info.id} was removed again") from None
        raise


def _fill(
    studio: LabelStudio,
    settings: Settings,
    queues: Queues,
    connected: Connected,
    order: Order,
    config: LabelConfig,
    field: str,
    progress: Progress,
) -> tuple[int, str]:
    """Images into the project, predictions asked for as soon as the first are there. Tasks added, and the last job."""
    key, number = connected.project.key, connected.project.id
    before = connected.project.task_number
    if order.storage is not None:
        progress.report(0, 1, f"Label Studio reads {order.storage}")
        connect_storage(studio, number, order.storage)
    uploads = Uploads(studio, number, field, order.group)
    store = ArtifactStore(settings.artifacts)
    blank = projects.live_model(key, config, store, store.published(key)).blank
    try:
        missing = uploads.missing(order.pictures) if order.pictures else []
        # An order of typical or different images needs all of them; by relevance, each has its place by itself.
        for _ in uploads.send(missing, progress, at_once=blank or config.spreads):
            queues.request_scores(key, "images were uploaded")
    except _STOPPED:
        with contextlib.suppress(HemaloopError):  # a new project goes as a whole, with all that is in it
            uploads.take_back()
        raise
    except LabelStudioError as error:
        raise LabelStudioError(
            f"{error}\nproject {number} has {uploads.tasks} of {len(order.pictures)} images; the same command again "
            "goes on with the others"
        ) from error
    job = queues.request_scores(key, "project create")
    return studio.project(number).task_number - before, job


def _make_tab(studio: LabelStudio, project_id: int) -> None:
    """A tab of the Data Manager in the order in which tasks are handed out; tabs belong to whoever makes them."""
    tabs = studio.request("GET", "/api/dm/views", params={"project": project_id})
    if any((tab.get("data") or {}).get("title") == TAB for tab in tabs):
        return
    data = {
        "title": TAB,
        "type": "list",
        "target": "tasks",
        "filters": {"conjunction": "and", "items": []},
        "ordering": ["tasks:predictions_score"],
    }
    studio.request("POST", "/api/dm/views", body={"project": project_id, "data": data})


def wait_until_usable(
    studio: LabelStudio, queues: Queues, created: Created, progress: Progress, *, seconds: float = 1800.0
) -> int:
    """Wait for the first predictions and their order; how many predictions there are.

    Returns what there is where nothing works on them any more. What `progress` raises ends the waiting, not the work.
    """
    key, number, version = created.project.key, created.project.id, created.connected.version
    end = time.monotonic() + seconds
    while True:
        info = studio.project(number)
        have = studio.versions(number).get(version, 0)
        wanted = min(FIRST, info.task_number)
        progress.report(min(have, wanted), max(wanted, 1), f"first predictions by {version}")
        if have >= wanted and info.model_version == version:
            return have
        if not queues.running(key) or time.monotonic() > end:
            return have
        time.sleep(_POLL_SECONDS)
