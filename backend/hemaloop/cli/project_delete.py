"""`hemaloop project delete`."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from hemaloop.cli.project_status import project as group


def delete(
    number: Annotated[int, typer.Argument(metavar="PROJECT", help="Id of the project: the number in its address.")],
    models: Annotated[bool, typer.Option("--models", help="Delete its trained models as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a project, its annotations included, after saying what goes and asking.

    Trained models are kept unless --models is given: they stay in the
    artifact store under the project's key. Files that were uploaded stay on
    Label Studio's disk, which never removes them.
    """
    from rich.console import Console

    from hemaloop.client import LabelStudio
    from hemaloop.config import load_settings
    from hemaloop.project_deletion import belongings
    from hemaloop.project_deletion import delete as remove
    from hemaloop.queues import Queues
    from hemaloop.store import ArtifactStore

    console, settings = Console(soft_wrap=True, highlight=False), load_settings()
    store = ArtifactStore(settings.artifacts)
    with closing(LabelStudio.from_settings(settings)) as studio, closing(Queues(settings)) as queues:
        found = belongings(studio, queues, store, number)
        info = found.info
        console.print(f"project {number}, {info.title!r}, on {settings.label_studio_url}. This deletes:", markup=False)
        console.print(f"  {info.task_number} tasks, {found.annotations} annotations, {found.predictions} predictions")
        if found.jobs:
            console.print(f"  {len(found.jobs)} job(s) that wait or work are ended")
        place = f"{store.url} under {info.key}"
        if models:
            console.print(f"  {found.versions} trained model(s) in {place}", markup=False)
        else:
            console.print(f"and keeps {found.versions} trained model(s) in {place}", markup=False)
        if not yes and not typer.confirm("There is no way back. Delete it?"):
            console.print("nothing was deleted")
            raise typer.Exit(1)
        remove(studio, queues, store, found, models=models)
        console.print(f"project {number} is deleted")


def register(app: typer.Typer) -> None:
    """Add `project delete`."""
    del app  # `project_status` adds the group
    group.command()(delete)
