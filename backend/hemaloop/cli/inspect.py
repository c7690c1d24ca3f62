"""Commands that only look: the settings and the model families of this installation."""

from __future__ import annotations

from typing import Annotated

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


def plugins(
    family: Annotated[str | None, typer.Argument(help="Show the presets and options of this family.")] = None,
) -> None:
    """List the installed model families, or one family's presets and options."""
    from rich.console import Console
    from rich.table import Table

    from hemaloop import registry

    console = Console()
    if family is None:
        table = Table("family", "from", "gives", "what it is")
        for registered in registry.all_registered():
            plugin = registered.plugin
            gives = plugin.produces.__name__ if plugin else "-"
            table.add_row(registered.name, registered.source, gives, plugin.description if plugin else registered.fault)
        console.print(table)
        return
    found = registry.find(family)
    console.print(f"[bold]{found.family}[/] {found.version}: {found.description}")
    for name, preset in found.presets.items():
        weights = "with starter weights" if preset.starter else "no starter weights"
        console.print(f"  preset [bold]{name}[/]: {preset.description} ({', '.join(preset.labels)}; {weights})")
    table = Table("option", "default", "unit", "meaning", "source")
    for name, field in found.Options.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        table.add_row(
            name, str(field.default), str(extra.get("unit", "")), field.description or "", str(extra.get("source", ""))
        )
    console.print(table)


def register(app: typer.Typer) -> None:
    """Add the commands `settings` and `plugins`."""
    app.command()(settings)
    app.command()(plugins)
