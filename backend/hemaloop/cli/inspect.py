"""`hemaloop settings`."""

from __future__ import annotations

import typer


def settings() -> None:
    """List every setting with its variable, value and meaning; secrets are not shown."""
    from rich.console import Console
    from rich.table import Table

    from hemaloop.config import load_settings

    current = load_settings()
    table = Table("variable", "value", "meaning", title="settings, from the environment and .env")
    for name, field in type(current).model_fields.items():
        variable = str(field.validation_alias or f"HEMALOOP_{name.upper()}")
        table.add_row(variable, str(getattr(current, name)), field.description or "")
    Console().print(table)


def register(app: typer.Typer) -> None:
    """Add the command `settings`."""
    app.command()(settings)
