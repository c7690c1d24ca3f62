"""`hemaloop demo`: the whole system on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    images: Annotated[
        Path | None,
        typer.Option(
            help="A folder of images, with or without Pascal VOC, YOLO or COCO boxes. Without it, smears are rendered.",
            show_default=False,
        ),
    ] = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="Run the whole loop without a person, starting without the shipped weights, and print what was seen. "
            "Exit status 0 only if every step was. The images need boxes.",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=10, help="Take this many images, evenly from the folder.", show_default="all; 90 with --once"),
    ] = None,
    port: Annotated[int, typer.Option(help="Port for Label Studio; another one is taken where it is busy.")] = 8080,
    state: Annotated[Path, typer.Option(help="Where everything is kept; remove it to start afresh.")] = Path(
        ".hemaloop/demo"
    ),
) -> None:
    """Start Label Studio, Redis, the backend and a worker with a blood count project. Ctrl-C stops them.

    Everything listens on this machine alone. A second call goes on where the first was.
    """
    from hemaloop.demo.run import ONCE_IMAGES, run_for_people, run_once

    if once:
        raise typer.Exit(0 if run_once(state, images, limit or ONCE_IMAGES, port) else 1)
    run_for_people(state, images, limit, port)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)
