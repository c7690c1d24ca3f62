"""`hemaloop project export`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from hemaloop.cli.project_status import project as group

FORMATS = ("label-studio", "coco", "voc")
_SHOWN = 10


def export(
    number: Annotated[int, typer.Argument(metavar="PROJECT", help="Id of the project: the number in its address.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("export"),
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="|".join(FORMATS),
            help="label-studio: everything, as it exports it. coco: boxes, or regions of masks. voc: boxes as XML, "
            "masks as PNG.",
        ),
    ] = "label-studio",
    control: Annotated[
        str | None, typer.Option(help="Name of the control to write, where several would fit.", show_default=False)
    ] = None,
    images: Annotated[bool, typer.Option(help="Also write the image files.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export in the folder.")] = False,
) -> None:
    """Write what is labelled, for `hemaloop train` and other programs.

    Each task comes with its split (train, tune or gate, as the project uses
    it) and the version of the model that pre-labelled it; tasks.csv lists
    them. Truth is what trainings learn from: the newest submitted annotation
    of each annotator, what several of them say together, no skips and drafts.
    Ctrl-C leaves nothing half-written.

    Example: [bold]hemaloop project export 17 --format voc --out smears[/]
    """
    from rich.console import Console

    from hemaloop.cli.watching import Watch
    from hemaloop.client import LabelStudio
    from hemaloop.config import load_settings
    from hemaloop.export import Format, Order
    from hemaloop.export import export as write
    from hemaloop.images import ImageLoader

    if form not in FORMATS:
        raise typer.BadParameter(f"found {form!r}, expected one of {', '.join(FORMATS)}", param_hint="--format")
    console, settings = Console(soft_wrap=True, highlight=False), load_settings()
    order = Order(number, out, Format(form), control, images, overwrite)
    with closing(LabelStudio.from_settings(settings)) as studio, Watch("export", patience=1.0) as watch:
        done = write(settings, studio, ImageLoader(settings, studio.auth_headers), order, watch)
    for fault in done.faults[:_SHOWN]:
        console.print(f"left out: {fault}", style="yellow", markup=False)
    if len(done.faults) > _SHOWN:
        console.print(f"left out: {len(done.faults) - _SHOWN} more; {out}/tasks.csv lists what is there")
    splits = ", ".join(f"{count} {split}" for split, count in sorted(done.splits.items()))
    console.print(f"{out}: {done.tasks} annotated images ({splits}) as {form}", markup=False)
    if images:
        console.print(f"hemaloop train {done.data} learns from it", markup=False)


def register(app: typer.Typer) -> None:
    """Add `project export`."""
    del app  # `project_status` adds the group
    group.command()(export)
