"""`hemaloop experiment`: studies that model families bring along, found by entry point and imported when asked for.

[project.entry-points."hemaloop.experiments"]
suppression = "hemaloop_cell_vae.experiment:suppression"     # a function with typer's annotations
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperGroup

from hemaloop.errors import PluginError

GROUP = "hemaloop.experiments"


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


class Experiments(TyperGroup):
    """The experiments that are installed."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - click's
        """Their names."""
        return sorted(_entries())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - click's
        """One of them, None for an unknown name. Raises `PluginError` where it cannot be imported."""
        entry = _entries().get(cmd_name)
        if entry is None:
            return None
        try:
            function = entry.load()
        except Exception as error:
            raise PluginError(f"experiment {cmd_name!r}: importing {entry.value} failed: {error}") from error
        made = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
        made.command(cmd_name)(function)
        command = typer.main.get_command(made)
        command.name = cmd_name
        return command


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        name="experiment",
        cls=Experiments,
        help="Studies that model families bring along.",
        no_args_is_help=True,
    )
    group.callback()(lambda: None)
    app.add_typer(group, rich_help_panel="Without Label Studio")
