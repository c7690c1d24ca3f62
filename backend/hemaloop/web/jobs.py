"""`POST /train` and `/job_status`: trainings by hand, and how far they are."""

from __future__ import annotations

import flask

from hemaloop.protocol import JobRequest, ProjectRequest
from hemaloop.web.body import read
from hemaloop.web.errors import reply_error
from hemaloop.web.services import current

blueprint = flask.Blueprint("jobs", __name__)


@blueprint.post("/train")
def train() -> tuple[flask.Response, int]:
    """What Label Studio sends instead of `START_TRAINING` where a flag of it is off; the annotations are not read."""
    request = read(ProjectRequest)
    return flask.jsonify(job=current().queues.request_training(request.project, "train", now=True)), 201


@blueprint.post("/job_status")
def job_status() -> flask.Response:
    """State and progress of a job. 410 for one that is not known, which Label Studio shows as removed."""
    request = read(JobRequest)
    status = current().queues.job_status(request.job)
    if status["status"] == "unknown":
        return reply_error(410, f"job {request.job}: not known, or over for longer than a week")
    return flask.jsonify({**status, "job": request.job, "job_status": status["status"]})
