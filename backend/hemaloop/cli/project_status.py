"""`hemaloop project status`: where a project stands, and how far the end of labelling is."""

from __future__ import annotations

import json
import math
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hemaloop.project_status import ControlStatus, ProjectStatus
    from hemaloop.stopping import Outlook, Performance, Uncertainty

project = typer.Typer(name="project", help="A project of Label Studio.", no_args_is_help=True)


@project.callback()
def about() -> None:
    """A project of Label Studio."""


@project.command()
def status(
    number: Annotated[int, typer.Argument(metavar="PROJECT", help="Id of the project: the number in its address.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False,
) -> None:
    """Show how far the end of labelling is.

    Counts the cells that the model is unsure of on images without an
    annotation, measures the model on the images that are kept for judging,
    with an interval, and says what the next batch should bring by the curve
    of the models so far. When labelling can stop is the project's choice:
    model_stop_uncertain_cells and model_stop_performance in its labelling
    config.
    """
    from rich.console import Console

    from hemaloop.cli.watching import Watch
    from hemaloop.client import LabelStudio
    from hemaloop.config import load_settings
    from hemaloop.images import ImageLoader
    from hemaloop.project_status import status_of
    from hemaloop.store import ArtifactStore

    settings = load_settings()
    with closing(LabelStudio.from_settings(settings)) as studio, Watch(f"project {number}", patience=2.0) as watch:
        images = ImageLoader(settings, studio.auth_headers)
        found = status_of(settings, ArtifactStore(settings.artifacts), studio, images, number, watch)
    if as_json:
        typer.echo(json.dumps(as_plain(found), indent=2, allow_nan=False))
        return
    console = Console()
    for line in in_words(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def as_plain(found: ProjectStatus) -> dict[str, Any]:
    """The status as JSON holds it, with `reached` of each wish; a figure that there is not is null."""
    plain: dict[str, Any] = asdict(found)
    plain["project"] = {"id": found.info.id, "key": found.info.key, "title": found.info.title}
    del plain["info"]
    for one, control in zip(plain["controls"], found.controls, strict=True):
        one["can_stop"] = control.can_stop
        one["uncertainty"]["reached"] = control.uncertainty.reached
        one["performance"]["reached"] = control.performance.reached
        if math.isnan(control.performance.value):
            one["performance"]["value"] = None
    return plain


def in_words(found: ProjectStatus) -> Iterator[str]:
    """The status as lines for people."""
    yield f"project {found.info.id}, {found.info.title!r}: {found.annotated} of {found.tasks} tasks are annotated"
    yield f"annotators see {found.published or 'nothing of a model yet'}"
    for control in found.controls:
        yield ""
        yield f"{control.name}: {control.version}"
        yield f"  uncertainty   {_uncertainty(control.uncertainty)}"
        yield f"  performance   {_performance(control.performance)}"
        yield f"  next batch    {_ahead(control.outlook, control.performance) if control.outlook else control.unclear}"
        yield f"  {_verdict(control)}"


def _uncertainty(one: Uncertainty) -> str:
    found = one.found
    if not found.images:
        return f"no model has looked at the {one.images} images without an annotation yet"
    reasons = ", ".join(f"{count} {phrase}" for phrase, count in found.reasons.items())
    marks = f" (marked: {reasons})" if reasons else ""
    unseen = f"; {one.images - found.images} more images were not looked at yet" if found.images < one.images else ""
    wish = "" if one.allowed is None else f"; wished: at most {one.allowed}"
    return (
        f"unsure of {found.unsure} of {found.objects} cells on {found.images} images without an annotation"
        f"{marks}{unseen}{wish}"
    )


def _performance(one: Performance) -> str:
    wish = "" if one.wanted is None else f"; wished: {one.wanted:g}"
    if math.isnan(one.value):
        known = f"; figures that there are: {', '.join(one.known)}" if one.known else ""
        return f"no {one.figure} from {one.images} gate images{known}{wish}"
    interval = "" if one.interval is None else f" (95 %: {one.interval[0]:.3f} to {one.interval[1]:.3f})"
    return f"{one.figure} {one.value:.3f}{interval} on {one.images} gate images{wish}"


def _ahead(one: Outlook, performance: Performance) -> str:
    curve = one.curve
    text = (
        f"{one.gain:+.4f} {performance.figure} expected of {one.batch:.0f} more images to learn from "
        f"({one.labelled} now; curve through {curve.points} models, which lie {curve.scatter:.3f} from it)"
    )
    if performance.wanted is None or performance.reached:
        return text
    if one.needed is None:
        return f"{text}; the curve ends at {curve.limit:.3f} and does not reach {performance.wanted:g}"
    return f"{text}; {performance.wanted:g} at about {one.needed:.0f} images"


def _verdict(control: ControlStatus) -> str:
    if control.uncertainty.reached:
        return "-> labelling can stop: so few unsure cells are left"
    if control.performance.reached:
        low = control.performance.interval
        wanted = control.performance.wanted
        unsafe = low is not None and wanted is not None and low[0] < wanted
        return "-> labelling can stop: the wished figure is reached" + (
            ", though its interval reaches below it" if unsafe else ""
        )
    if control.uncertainty.allowed is None and control.performance.wanted is None:
        return (
            "-> no wish is set: add model_stop_uncertain_cells or model_stop_performance to the control of the "
            "labelling config"
        )
    return "-> labelling goes on"


def register(app: typer.Typer) -> None:
    """Add `project`."""
    app.add_typer(project)
