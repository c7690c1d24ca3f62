"""The command that finds out on labelled images whether choosing what to label would have saved labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hemaloop.cli.offline import CellSide, Data, Device, ImageFolder, Renamed, Unlabelled, pairs, point_rules


def simulate(
    data: Data,
    family: Annotated[str, typer.Option(help="Kind of model; [bold]hemaloop plugins[/] lists them.")] = "faster_rcnn",
    preset: Annotated[
        str | None,
        typer.Option(help="Named set of classes and options, e.g. rbc12. Without it, the classes are those of DATA."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="Set an option of the family; repeatable."),
    ] = None,
    strategies: Annotated[
        str,
        typer.Option(
            help="Strategies to compare, separated by commas: random, paper, paper_per_cell, doubt, entropy, margin, "
            "bald, bald_per_cell; spread (paper) and spread_<one of these>, which avoid look-alikes; typical; own "
            "(as the options say)."
        ),
    ] = "paper,spread,random",
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions, each with other images to start from.")] = 5,
    start: Annotated[int, typer.Option(min=1, help="Images labelled at the beginning.")] = 20,
    batch: Annotated[int, typer.Option(min=1, help="Images labelled in a round.")] = 5,
    candidates: Annotated[int, typer.Option(min=1, help="Random images that a strategy sorts in a round.")] = 50,
    rounds: Annotated[int, typer.Option(min=1, max=99, help="Rounds of choosing, labelling and training.")] = 6,
    test: Annotated[
        float, typer.Option(min=0.02, max=0.8, help="Share of the images that judge, fixed by their content.")
    ] = 0.2,
    tune: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Share of the labelled images that choose thresholds.")
    ] = 0.1,
    rare: Annotated[
        str | None,
        typer.Option(help="Rare classes to follow, separated by commas, or none.", show_default="few cells in DATA"),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Classes to learn, separated by commas, in place of the preset's or DATA's.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the simulation.")] = Path("simulation"),
    jobs: Annotated[
        int, typer.Option(min=1, help="Trainings at a time; several run in processes with one thread each.")
    ] = 1,
    workers: Annotated[
        bool,
        typer.Option(
            "--workers",
            help="Let workers ([bold]hemaloop worker[/]) train, one job a seed and strategy; --out is then a name.",
        ),
    ] = False,
    images: ImageFolder = None,
    mapping: Renamed = None,
    cell_side: CellSide = None,
    ignore_unlabelled: Unlabelled = True,
    device: Device = "auto",
    only_report: Annotated[
        bool, typer.Option("--only-report", help="Train nothing: write figures of what there is.")
    ] = False,
) -> None:
    """Find out whether choosing the images to label would have saved labels.

    The labelled images play unlabelled ones: from a few of them, each round
    takes some at random, sorts them by a strategy, "labels" the best, trains
    afresh and measures on images that are never chosen from. Writes
    results.csv, results.json and learning curves. Ctrl-C keeps what is
    finished; the same command goes on. Seeds, rounds and strategies may be
    added later.

    Example: [bold]hemaloop simulate smears --preset rbc12 --rare Teardrop,Microcyte --jobs 2[/]
    """
    from hemaloop.cli.simulation import Order, run

    run(
        Order(
            data=data,
            images=images,
            renamed=pairs(mapping, "--map", "FROM=TO"),
            rules=point_rules(cell_side, ignore_unlabelled),
            family=family,
            preset=preset,
            options=pairs(option, "--option", "NAME=VALUE"),
            labels=names(classes),
            strategies=names(strategies) or (),
            rare=() if rare == "none" else names(rare),
            seeds=seeds,
            start=start,
            batch=batch,
            candidates=candidates,
            rounds=rounds,
            test=test,
            tune=tune,
            out=out,
            jobs=jobs,
            workers=workers,
            device=device,
        ),
        only_report=only_report,
    )


def names(text: str | None) -> tuple[str, ...] | None:
    """``"a, b"`` as names; None for no text."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Without Label Studio")(simulate)
