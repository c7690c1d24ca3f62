"""`POST /setup`: a project asks which version serves it, several times a minute; answered from memory."""

from __future__ import annotations

import flask

from hemaloop.labelconfig import parse_label_config
from hemaloop.protocol import SetupRequest
from hemaloop.web.body import read
from hemaloop.web.services import current

blueprint = flask.Blueprint("setup", __name__)


@blueprint.post("/setup")
def setup() -> flask.Response:
    """The live version. A config that cannot be served is refused with the reason, which Label Studio shows."""
    request = read(SetupRequest)
    config = parse_label_config(request.label_config)
    config.require_bound()
    services = current()
    live = services.live.of(request.project, config)
    services.hints.remember(request.project)
    return flask.jsonify(model_version=live.version)
