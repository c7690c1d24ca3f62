"""`hemaloop doctor`."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

_STYLES = {"OK": "green", "WARN": "yellow", "FAIL": "red", "SKIP": "dim"}


def doctor(
    project: Annotated[
        int | None,
        typer.Option(help="Also look at this project: the number in its address.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False,
) -> None:
    """Look for whatever keeps Label Studio, this backend and the workers from working together.

    Each line is one check; beneath what is not as it must be stands what mends
    it. Nothing is changed. The exit status is 1 where a check FAILs; a WARN
    leaves it at 0.
    """
    from rich.console import Console

    from hemaloop.config import load_settings
    from hemaloop.doctor import Finding, Level, Patient, examine
    from hemaloop.errors import SettingsError

    console = Console(soft_wrap=True, highlight=False)
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        if as_json:
            return
        console.print(f"{finding.level:<5}", style=_STYLES[finding.level], end="")
        console.print(f"{finding.check}: {finding.found}", markup=False)
        if finding.remedy:
            console.print(f"     mend: {finding.remedy}", markup=False)

    try:
        settings = load_settings()
    except SettingsError as error:
        remedy = "set them in .env or the environment; `hemaloop settings` lists them all"
        tell(Finding(Level.FAIL, str(error), remedy, check="settings are complete"))
    else:
        with closing(Patient(settings, project)) as patient:
            for finding in examine(patient):
                tell(finding)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add `doctor`."""
    app.command()(doctor)
