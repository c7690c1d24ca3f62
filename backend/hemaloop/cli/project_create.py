"""`hemaloop project create`: from a folder of images to the first predictions."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemaloop.cli.project_status import project as group

if TYPE_CHECKING:
    from rich.console import Console

    from hemaloop.client import LabelStudio
    from hemaloop.config import Settings
    from hemaloop.project_creation import Created
    from hemaloop.project_images import Found
    from hemaloop.queues import Queues

GROUPS = ("subject", "patient", "slide")
_SHOWN = 10


def create(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGES]...",
            help="Image files, or folders with all that is in them, of this machine; they are uploaded.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[
        str, typer.Option(help="Title of the project; the same title again mends it.", show_default=False)
    ] = "Complete blood count",
    task: Annotated[
        str | None,
        typer.Option(help="What is labelled, by the name of a shipped labelling config.", show_default="cbc"),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Your own labelling config, an XML file, in place of --task.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Images that Label Studio reads itself: s3://bucket/prefix (credentials as AWS_… in the environment), "
            "or an absolute folder on its machine, below its LOCAL_FILES_DOCUMENT_ROOT.",
            show_default=False,
        ),
    ] = None,
    folders: Annotated[
        str | None,
        typer.Option(
            "--folders-are",
            metavar="|".join(GROUPS),
            help="What the images of one folder have in common: they never judge what others of it have taught.",
            show_default=False,
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take over where another backend is connected to the project.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the first predictions are there.")] = True,
) -> None:
    """Make a project that is ready to be labelled.

    Creates it with a labelling config, connects this backend with its
    password and the webhook with its secret, sets the order by relevance and a
    tab in that order, uploads the images and waits for the first predictions;
    all others follow. Ctrl-C before the end removes it again. The same command
    once more mends what is not as it must be and adds only images that are
    new. `hemaloop serve` and `hemaloop worker` must be running.

    Example: [bold]hemaloop project create smears/ --title "Smears of May" --task cbc[/]
    """
    from rich.console import Console

    from hemaloop.cli.watching import Watch
    from hemaloop.client import LabelStudio
    from hemaloop.config import load_settings
    from hemaloop.project_creation import Order
    from hemaloop.project_creation import create as make
    from hemaloop.project_images import Found, find_pictures
    from hemaloop.project_setup import shipped_config
    from hemaloop.queues import Queues

    if folders is not None and folders not in GROUPS:
        raise typer.BadParameter(f"found {folders!r}, expected one of {', '.join(GROUPS)}", param_hint="--folders-are")
    if task is not None and config is not None:
        raise typer.BadParameter("name one of --task and --config, not both", param_hint="--config")
    if len(title.strip()) < 3:
        raise typer.BadParameter("expected at least 3 characters", param_hint="--title")
    console, settings = Console(soft_wrap=True, highlight=False), load_settings()
    xml = _read(config) if config else shipped_config(task or "cbc")
    with closing(LabelStudio.from_settings(settings)) as studio, closing(Queues(settings)) as queues:
        with Watch("project create", patience=1.0, kept="nothing is left of it") as watch:
            found = find_pictures(images, settings, watch) if images else Found((), ())
            _tell_left_out(console, found)
            order = Order(title.strip(), xml, found.pictures, storage, folders, replace)
            created = make(studio, settings, queues, order, watch)
        _tell(console, created)
        if wait:
            _await(console, settings, studio, queues, created)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise typer.BadParameter(f"{path}: cannot be read ({error})", param_hint="--config") from None


def _tell_left_out(console: Console, found: Found) -> None:
    for line in found.left_out[:_SHOWN]:
        console.print(f"left out: {line}", style="yellow", markup=False)
    if len(found.left_out) > _SHOWN:
        console.print(f"left out: {len(found.left_out) - _SHOWN} more")


def _tell(console: Console, created: Created) -> None:
    number = created.project.id
    console.print(
        f"project {number}, {created.project.title!r}: {'created' if created.new else 'was there'}",
        markup=False,
    )
    for change in created.connected.changes or ("everything is as it must be",):
        console.print(f"project {number}: {change}", markup=False)
    console.print(f"project {number}: {created.added} images added", markup=False)
    for note in created.connected.notes:
        console.print(f"note: {note}", markup=False)


def _await(console: Console, settings: Settings, studio: LabelStudio, queues: Queues, created: Created) -> None:
    from hemaloop.cli.watching import Watch
    from hemaloop.errors import Cancelled
    from hemaloop.project_creation import wait_until_usable

    number = created.project.id
    total = studio.project(number).task_number
    address = f"{settings.label_studio_url}/projects/{number}/data"
    if not total:
        console.print(f"no image yet: add some in Label Studio ({address}), or run this again with a folder")
        return
    if not queues.served("score"):
        console.print("no worker runs: start `hemaloop worker`, and predictions come", style="yellow")
        return
    try:
        with Watch("first predictions", patience=1.0) as watch:
            have = wait_until_usable(studio, queues, created, watch)
    except Cancelled:
        console.print(f"project {number} is complete; its predictions come without this command: {address}")
        raise
    if have:
        rest = f"; the other {total - have} follow" if have < total else ""
        console.print(f"ready, the most relevant first, {have} of {total} images with predictions{rest}: {address}")
        return
    reason = queues.job_status(created.job).get("error") or "the worker's log says why"
    console.print(
        f"no prediction came: {reason}; `hemaloop doctor --project {number}` looks for causes", style="yellow"
    )
    raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add `project create`."""
    del app  # `project_status` adds the group
    group.command()(create)
