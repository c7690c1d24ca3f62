"""`GET /health` and `/`: is anybody there? Touches nothing but memory."""

from __future__ import annotations

import flask

blueprint = flask.Blueprint("health", __name__)


@blueprint.get("/")
@blueprint.get("/health")
def health() -> flask.Response:
    """Label Studio asks before every other call, and gives up after a second."""
    return flask.jsonify(status="UP", model_class="hemaloop")
