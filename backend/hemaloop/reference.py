"""All commands, settings, and the families with their options as one page: `python -m hemaloop.reference`.

The page is `backend/REFERENCE.md`; a test compares it with the code. Nothing of this machine gets into it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hemaloop import registry
from hemaloop.cli import build
from hemaloop.config import Settings
from hemaloop.plugin import Plugin

PAGE = Path(__file__).resolve().parents[1] / "REFERENCE.md"
_HEAD = """# Reference

Written by `python -m hemaloop.reference` from the code. `hemaloop COMMAND --help` shows the same.
"""


def page(families: tuple[str, ...] | None = None) -> str:
    """The whole page as Markdown. families: to describe, all that ship with hemaloop if None."""
    return "\n".join(_lines(families)).rstrip() + "\n"


def shipped() -> tuple[str, ...]:
    """Names of the families whose code lies beside this package."""
    plugins = Path(__file__).resolve().parents[2] / "plugins"
    found = []
    for one in registry.all_registered():
        file = None if one.plugin is None else inspect.getsourcefile(one.plugin)
        if file is not None and plugins in Path(file).resolve().parents:
            found.append(one.name)
    return tuple(sorted(found))


def _lines(families: tuple[str, ...] | None) -> Iterator[str]:
    yield _HEAD
    yield "## Commands\n"
    yield from _commands(typer.main.get_command(build()), ("hemaloop",))
    yield "## Settings\n"
    yield "Environment variables, or lines of a `.env` file in the working directory.\n"
    yield from _table(
        ("Variable", "Default", "Meaning"), [_setting(name, info) for name, info in Settings.model_fields.items()]
    )
    yield "\n## Options of the model families\n"
    yield 'In a labelling config `model_option_NAME="…"`; on the command line as the command says.\n'
    for name in shipped() if families is None else families:
        yield from _family(registry.find(name))


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[str]:
    """A command, or each of a group; what typer gives, with or without a click of its own."""
    context = command.make_context(path[-1], [], resilient_parsing=True)
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if not inner.hidden:
                yield from _commands(inner, (*path, name))
        return
    usage = command.collect_usage_pieces(context)
    yield f"### `{' '.join((*path, *filter(None, usage)))}`\n"
    yield _text(command.help) + "\n"
    rows = [row for parameter in command.params if (row := _parameter(parameter)) is not None]
    if rows:
        yield from _table(("Argument or option", "Default", "Meaning"), rows)
        yield ""


def _parameter(parameter: Any) -> tuple[str, str, str] | None:
    if getattr(parameter, "hidden", False):
        return None
    argument = parameter.param_type_name == "argument"
    shown = parameter.name.upper() if argument else ", ".join([*parameter.opts, *parameter.secondary_opts])
    return f"`{shown}`", _default(parameter.default, required=parameter.required), _text(getattr(parameter, "help", ""))


def _setting(name: str, info: FieldInfo) -> tuple[str, str, str]:
    variable = str(info.validation_alias or f"HEMALOOP_{name.upper()}")
    return f"`{variable}`", _default(info.default, required=info.is_required()), _text(info.description)


def _family(plugin: type[Plugin]) -> Iterator[str]:
    yield f"### `{plugin.family}` {plugin.version}\n"
    yield f"{_text(plugin.description)}.\n"
    if plugin.presets:
        presets = [(f"`{name}`", _text(preset.description)) for name, preset in plugin.presets.items()]
        yield from _table(("Preset", "For"), presets)
        yield ""
    rows = []
    for name, info in plugin.Options.model_fields.items():
        extra: Any = info.json_schema_extra or {}
        unit, source = extra.get("unit", ""), extra.get("source", "")
        text = _text(info.description) + (f" ({source})" if source else "")
        default = _default(info.default, required=info.is_required()) + (f" {unit}" if unit else "")
        rows.append((f"`{name}`", default, text))
    yield from _table(("Option", "Default", "Meaning (source)"), rows)
    yield ""


def _table(heads: tuple[str, ...], rows: list[Any]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _default(value: Any, *, required: bool) -> str:
    if required:
        return "required"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value is PydanticUndefined or callable(value) or value in ("", (), []):
        return ""
    return f"`{', '.join(map(str, value)) if isinstance(value, tuple) else value}`"


def _text(text: str | None) -> str:
    """On one line, without marks of the terminal."""
    return re.sub(r"\s+", " ", re.sub(r"\[/?[a-z ]*\]", "", inspect.cleandoc(text or ""))).strip()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
