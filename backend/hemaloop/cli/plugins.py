"""`hemaloop plugins`: which model families there are, whether they keep the contract, and a new one to start from."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from hemaloop.plugin import Plugin
    from hemaloop.registry import Registered


class Task(StrEnum):
    """What a new family finds."""

    DETECTION = "detection"
    SEGMENTATION = "segmentation"
    CLASSIFICATION = "classification"


Name = Annotated[str, typer.Argument(help="Name of the family, as labelling configs write it.", show_default=False)]


def overview(context: typer.Context) -> None:
    """Model families: list, check, new. Without a command: list."""
    if context.invoked_subcommand is None:
        show(None)


def show(
    family: Annotated[str | None, typer.Argument(help="This family alone, with its presets.")] = None,
) -> None:
    """List the installed model families: version, source, task, options with units, and what is wrong with them."""
    from rich.console import Console
    from rich.table import Table

    from hemaloop import registry

    console = Console()
    found = [registry.look_up(family)] if family else registry.all_registered()
    table = Table("family", "version", "from", "task", "what it is, or why it is disabled")
    for one in found:
        plugin = one.plugin
        told = (plugin.version, one.source, _task(plugin), plugin.description) if plugin else _disabled(one)
        table.add_row(one.name, *told)
    console.print(table)
    for one in found:
        if one.plugin is not None:
            _show_options(console, one.plugin, presets=family is not None)
    if family and found[0].plugin is None:
        raise typer.Exit(1)


def _disabled(registered: Registered) -> tuple[str, ...]:
    return "-", registered.source, "-", f"DISABLED: {registered.fault}"


def _task(plugin: type[Plugin]) -> str:
    tasks = {"Detections": "detection", "ClassMap": "segmentation", "Classification": "classification"}
    return tasks[plugin.produces.__name__]


def _show_options(console: Console, plugin: type[Plugin], *, presets: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    for name, preset in plugin.presets.items() if presets else ():
        weights = "with starter weights" if preset.starter else "no starter weights"
        console.print(
            f"  preset [bold]{name}[/]: {escape(preset.description)} ({escape(', '.join(preset.labels))}; {weights})"
        )
    table = Table("option", "default", "unit", "meaning", "source", title=f"options of {plugin.family}")
    for name, field in plugin.Options.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        told = (str(field.default), str(extra.get("unit", "")), field.description or "", str(extra.get("source", "")))
        table.add_row(name, *map(escape, told))
    console.print(table)


def check(
    family: Name,
    law: Annotated[str, typer.Option(help="Only laws whose name contains this.", show_default=False)] = "",
) -> None:
    """Run the conformance kit on a family: each law of the contract, and how to mend those that are broken."""
    from rich.console import Console

    from hemaloop import registry
    from hemaloop.errors import PluginError
    from hemaloop.testing import LAWS, examine

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # on the laws' small pictures torch's threads wait for one another

    console = Console(soft_wrap=True, highlight=False)
    chosen = [one for one in LAWS if law in one.__name__]
    if not chosen:
        raise PluginError(f"law {law!r}: found none with that in its name, expected {', '.join(_names(LAWS))}")
    broken = 0
    for verdict in examine(registry.find(family), laws=chosen):
        broken += verdict.broken
        console.print(("BROKEN " if verdict.broken else "kept   ") + verdict.law, style="red" if verdict.broken else "")
        if verdict.fault:
            console.print(f"       {verdict.fault}", markup=False)
    console.print(f"{family}: {len(chosen) - broken} of {len(chosen)} laws kept")
    if broken:
        raise typer.Exit(1)


def _names(laws: tuple[object, ...]) -> list[str]:
    return [getattr(one, "__name__", "") for one in laws]


def new(
    name: Name,
    task: Annotated[Task, typer.Option(help="What the family finds.")],
    folder: Annotated[Path, typer.Option(help="Where the package's folder is made.")] = Path(),
) -> None:
    """Write a new model family as a package of its own, which keeps every law with a trivial model."""
    from rich.console import Console

    from hemaloop.scaffold import write_package

    console = Console(soft_wrap=True, highlight=False)
    for path in write_package(folder, name, task.value):
        console.print(f"wrote {path}", markup=False)
    console.print(f"next: cd {folder / name} && pip install -e . && hemaloop plugins check {name}", markup=False)


def register(app: typer.Typer) -> None:
    """Add the group `plugins`."""
    group = typer.Typer(help="Model families: which there are, whether they keep the contract, and new ones.")
    group.callback(invoke_without_command=True)(overview)
    group.command("list")(show)
    group.command("check")(check)
    group.command("new")(new)
    app.add_typer(group, name="plugins")
