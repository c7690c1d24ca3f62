"""`hemaloop experiment suppression`: figures 2 and 3 of the paper, on any folder of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def suppression(
    data: Annotated[Path, typer.Argument(help="A folder a class, with patches that have a cell in the middle.")],
    out: Annotated[Path, typer.Option(help="Folder of the experiment; the same command goes on where it was.")] = Path(
        "suppression"
    ),
    quick: Annotated[
        bool,
        typer.Option("--quick", help="The methods that matter, 128 px, few epochs, three folds: hours, not days."),
    ] = False,
    size: Annotated[
        int | None, typer.Option(help="Side of the patches, px.", show_default="256; 128 with --quick")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of each auto-encoder.", show_default="100; 8 with --quick")
    ] = None,
    folds: Annotated[int | None, typer.Option(min=2, help="Parts.", show_default="5; 3 with --quick")] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Names from the table, separated by commas.", show_default="all 19 and two baselines"),
    ] = None,
    without: Annotated[str, typer.Option(help="Classes to leave out, separated by commas.")] = "",
    seed: Annotated[int, typer.Option(help="Of weights, order and noise.")] = 0,
    only_report: Annotated[bool, typer.Option("--only-report", help="Train nothing: show what there is.")] = False,
) -> None:
    """Compare ways to keep surrounding cells out of a representation (Gräbel et al. 2021, figures 2 and 3).

    Auto-encoders learn in cross-validation from two thirds of the images, a
    shallow classifier from the other third. Writes results.json, results.csv
    and suppression.png. Ctrl-C keeps what is finished.

    Example: [bold]hemaloop experiment suppression cells --quick --out study[/]
    """
    from hemaloop_cell_vae.experiment.study import Plan, work

    plan = Plan.of(quick=quick, size=size, epochs=epochs, folds=folds, methods=_names(methods), seed=seed)
    work(data, out, plan, without=_names(without) or (), only_report=only_report)


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else None
