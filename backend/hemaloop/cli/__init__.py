"""The command line: `hemaloop --help`."""

from __future__ import annotations

import sys
from importlib import import_module

import typer
from rich.console import Console

from hemaloop.errors import Cancelled, HemaloopError

MODULES = (
    *("serve", "worker", "project"),
    *("project_create", "project_status", "project_work", "project_export", "project_delete"),
    *("doctor", "demo", "offline", "simulate", "experiment", "embed", "plugins", "inspect"),
)


def build() -> typer.Typer:
    """The command tree; each module registers its own commands and imports what is heavy only when one runs."""
    app = typer.Typer(
        name="hemaloop",
        help="Blood-cell models inside Label Studio.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    for name in MODULES:
        import_module(f"hemaloop.cli.{name}").register(app)
    return app


def main() -> None:
    """Entry point. An expected error is shown as one message and exit status 1; a cancel as 130."""
    try:
        build()()
    except Cancelled as error:
        Console(stderr=True).print(f"cancelled: {error}", style="yellow", markup=False)
        sys.exit(130)
    except HemaloopError as error:
        Console(stderr=True).print(f"hemaloop: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
