"""The reference says what the code has."""

from __future__ import annotations

import typer

from hemaloop import reference
from hemaloop.cli import build
from hemaloop.config import Settings


def test_the_page_is_what_the_code_says() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), (
        "backend/REFERENCE.md is older than the code: write it anew with `python -m hemaloop.reference`"
    )


def test_every_command_setting_and_family_is_on_it() -> None:
    page = reference.page()
    commands = typer.main.get_command(build())
    assert set(getattr(commands, "commands", {})) == {
        line.split()[2].strip("`") for line in page.splitlines() if line.startswith("### `hemaloop ")
    }
    for name, info in Settings.model_fields.items():
        assert f"`{info.validation_alias or 'HEMALOOP_' + name.upper()}`" in page
    assert reference.shipped()
    for family in reference.shipped():
        assert f"### `{family}`" in page
