"""What can be looked at. A part of a page is also served alone, for the script that keeps it up to date."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import flask
from flask.typing import ResponseReturnValue

from hemaloop import portrait
from hemaloop.web.services import current
from hemaloop.web.ui import charts, content

PARTS: Mapping[str, Mapping[str, bool]] = {
    "summary": {"models": True, "queues": True},
    "now": {"models": False, "queues": True},
    "models": {"models": True, "queues": False},
    "labels": {"models": True, "queues": False},
}
"""The parts of a project's page, and what each of them needs to know."""
_THUMBNAIL = re.compile(r"[0-9a-f]{24}\.jpg")
_YEAR = "private, max-age=31536000, immutable"


def register(blueprint: flask.Blueprint) -> None:
    """Add every page."""
    blueprint.add_url_rule("/", "index", index)
    blueprint.add_url_rule("/parts/projects", "part_of_index", part_of_index)
    blueprint.add_url_rule("/projects/<key>", "project", project)
    blueprint.add_url_rule("/projects/<key>/parts/<name>", "part", part)
    blueprint.add_url_rule("/projects/<key>/thumbnails/<name>", "thumbnail", thumbnail)
    blueprint.add_app_template_filter(_number, "number")
    blueprint.add_app_template_filter(_when, "when")
    blueprint.add_app_template_filter(_iso, "iso")
    blueprint.context_processor(
        lambda: {
            "charts": charts,
            "kinds": content.KINDS,
            "figures": content.FIGURES,
            "content": content,
            "task": _task,
            "tasks_of": lambda number: partial(_task, number),
        }
    )


def index() -> ResponseReturnValue:
    """Every project."""
    return flask.render_template("ui/index.html", **_projects(), said=flask.session.pop("said", None))


def part_of_index() -> ResponseReturnValue:
    """The list alone."""
    return _conditional(flask.render_template("ui/projects.html", **_projects()))


def _projects() -> dict[str, Any]:
    services = current()
    keys, faults = content.projects(services)
    looks = [content.look(services, key, queues=not faults) for key in keys]
    for one in looks:
        if one.portrait is None:
            content.ask_for_portrait(services, one)
    return {"looks": looks, "faults": faults}


def project(key: str) -> ResponseReturnValue:
    """One project, with everything."""
    found = _look(key)
    return flask.render_template("ui/project.html", look=found, said=flask.session.pop("said", None))


def part(key: str, name: str) -> ResponseReturnValue:
    """One part of a project's page; not sent again where nothing has changed."""
    if name not in PARTS:
        flask.abort(404, f"part {name[:40]!r}: expected one of {', '.join(PARTS)}")
    return _conditional(flask.render_template(f"ui/{name}.html", look=_look(key, **PARTS[name])))


def _look(key: str, **wanted: bool) -> content.Look:
    services = current()
    found = content.look(services, content.require_key(key), **wanted)
    content.ask_for_portrait(services, found)
    return found


def thumbnail(key: str, name: str) -> ResponseReturnValue:
    """A picture that a worker has drawn; its name is made of what is on it, so it never changes."""
    if not _THUMBNAIL.fullmatch(name):
        flask.abort(404, "no picture has that name")
    data = current().store.get_scratch(content.require_key(key), portrait.thumbnail_name(name))
    if data is None:
        flask.abort(404, "the picture is gone: somebody has labelled the image meanwhile")
    return flask.Response(data, content_type="image/jpeg", headers={"Cache-Control": _YEAR})


def _conditional(text: str) -> flask.Response:
    response = flask.make_response(text)
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(flask.request)
    return response


def _task(number: str, task: int) -> str:
    """Where a task is in Label Studio."""
    return f"{current().settings.label_studio_page}/projects/{number}/data?task={task}"


def _number(value: float | None) -> str:
    """A figure with three decimals, a count with separators, a dash for nothing."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %b %Y, %H:%M UTC")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
