"""`/versions`, `/validate`, `/delete`, `/duplicate_model`: what there is, what could be, what goes, what is copied."""

from __future__ import annotations

import flask

from hemaloop import projects
from hemaloop.errors import LabelConfigError
from hemaloop.labelconfig import parse_label_config
from hemaloop.protocol import DuplicateRequest, ProjectRequest, ValidateRequest
from hemaloop.web.body import read
from hemaloop.web.services import current

blueprint = flask.Blueprint("models", __name__)


@blueprint.get("/versions")
def versions() -> flask.Response:
    """Live versions. Label Studio does not say of which project, so they are those of all."""
    return flask.jsonify(versions=current().live.versions())


@blueprint.post("/validate")
def validate() -> flask.Response:
    """Whether a labelling config can be served; refused with every reason where it cannot."""
    config = parse_label_config(read(ValidateRequest).config)
    config.require_bound()
    faults = projects.faults(config)
    if faults:
        raise LabelConfigError("; ".join(faults))
    return flask.jsonify(status="ok", controls=[control.name for control in config.bound], notes=projects.notes(config))


@blueprint.post("/delete")
def delete() -> flask.Response:
    """The project is no longer served. Its models stay in the store: somebody may connect it again."""
    request = read(ProjectRequest)
    services = current()
    services.live.forget(request.project)
    services.hints.forget(request.project)
    return flask.jsonify(status="ok")


@blueprint.post("/duplicate_model")
def duplicate() -> flask.Response:
    """The second project starts with what the first has published; from then on they have nothing in common."""
    request = read(DuplicateRequest)
    services = current()
    published = services.store.duplicate(request.project_src, request.project_dst)
    services.live.forget(request.project_dst)
    return flask.jsonify(status="ok", model_version=published.version if published else None)
