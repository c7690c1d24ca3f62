"""Commands about one Label Studio project: set it up, bind one that exists, go back to the model before."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from hemaloop.client import LabelStudio
    from hemaloop.config import Settings
    from hemaloop.project_setup import Connected

Replace = Annotated[bool, typer.Option("--replace", help="Take over where another backend is connected.")]


def setup(
    project: Annotated[int, typer.Argument(help="Id of the project: the number in its address.")],
    replace: Replace = False,
) -> None:
    """Connect a project that is there to this backend, or mend what is not as it must be.

    Sets the backend with its password, the webhook with its secret, the order by relevance and the model version,
    reads everything back, and asks for the first predictions. Calling it again changes nothing. `hemaloop serve` must
    be running. A new project comes from `hemaloop project create`.
    """
    from hemaloop.project_setup import set_up

    console, settings, studio = _tools()
    with closing(studio):
        connected = set_up(studio, settings, project, replace=replace)
    _tell(console, connected)
    _ask_for_scores(console, settings, connected, "set up")


def attach(
    project: Annotated[int, typer.Argument(help="Id of the project: the number in its address.")],
    family: Annotated[str, typer.Option(help="Model family; `hemaloop plugins` lists them.")],
    preset: Annotated[str | None, typer.Option(help="Preset of the family.")] = None,
    control: Annotated[str | None, typer.Option(help="Name of the control tag, where several would fit.")] = None,
    regions: Annotated[
        str | None,
        typer.Option(help="For a choice about each region: the control of the boxes, where several are bound."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="'Red cell=RBC': a label of the project and what the model calls it; 'Dirt=' keeps one from the "
            "model. Repeat it for each label that differs.",
            show_default=False,
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="'name=value': an option of the family. Repeat it.", show_default=False)
    ] = None,
    starter: Annotated[bool, typer.Option(help="Show the shipped model's boxes until the first training.")] = True,
    write: Annotated[bool, typer.Option("--write", help="Do it. Without this, only show what would be done.")] = False,
    replace: Replace = False,
) -> None:
    """Bind a project that has its own labels and annotations, without changing either.

    Adds attributes to the labelling config and nothing else, then connects the project as `hemaloop setup` does. The
    annotations that are there are used at once: a training is asked for.
    """
    from hemaloop.annotations import select
    from hemaloop.attach import Wish, bind
    from hemaloop.project_setup import set_up

    console, settings, studio = _tools()
    info = studio.project(project)
    wish = Wish(family, preset, control, _pairs(label, "--label"), _pairs(option, "--option"), starter, regions)
    bound = bind(info.label_config, wish)
    usable = sum(1 for task in studio.tasks(project, only="annotated") if select(task))
    console.print(
        f"project {project}, {info.title!r}: {info.task_number} tasks, {usable} with annotations to learn from"
    )
    for line in bound.difference() or ["the labelling config is bound so already"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for note in bound.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    if not write:
        console.print("nothing was changed; add --write to do it")
        return
    if bound.changed:
        studio.update_project(project, label_config=bound.after)
    connected = set_up(studio, settings, project, replace=replace)
    _tell(console, connected)
    _ask_for_scores(console, settings, connected, "attached")
    if usable:
        from hemaloop.queues import Queues

        job = Queues(settings).request_training(connected.project.key, "attached", now=True)
        console.print(f"training asked for ({usable} annotated tasks), job {job}")


def _ask_for_scores(console: Console, settings: Settings, connected: Connected, reason: str) -> None:
    from hemaloop.queues import Queues

    with closing(Queues(settings)) as queues:
        job = queues.request_scores(connected.project.key, reason)
    console.print(f"predictions and order of the tasks asked for, job {job}; `hemaloop worker` makes them")


def _tools() -> tuple[Console, Settings, LabelStudio]:
    from rich.console import Console

    from hemaloop.client import LabelStudio
    from hemaloop.config import load_settings

    settings = load_settings()
    return Console(), settings, LabelStudio.from_settings(settings)


def _tell(console: Console, connected: Connected) -> None:
    for change in connected.changes or ("everything is as it must be",):
        console.print(f"project {connected.project.id}: {change}", markup=False, highlight=False)
    for note in connected.notes:
        console.print(f"note: {note}", markup=False, highlight=False)


def _pairs(given: list[str] | None, flag: str) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"{flag} {text!r}: expected name=value")
        pairs[name.strip()] = value.strip()
    return pairs


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(setup)
    app.command()(attach)
