"""`POST /predict`: one entry a task, in order; `[]` for a task that failed or for which there was no time.

Label Studio stores nothing for `[]` and asks again. A stored prediction without regions is never asked for again, so an
entry with an empty result leaves only where a model said that nothing is there.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Sequence

import flask

from hemaloop.inference.schedule import SMALL
from hemaloop.inference.wire import TaskAnswer
from hemaloop.labelconfig import LabelConfig, parse_label_config
from hemaloop.projects import LiveModel
from hemaloop.protocol import PredictRequest
from hemaloop.web import interactive
from hemaloop.web.body import read
from hemaloop.web.services import Services, current

log = logging.getLogger(__name__)
blueprint = flask.Blueprint("predict", __name__)

_NOTHING = b"[]"


@blueprint.post("/predict")
def predict() -> flask.Response:
    """Predictions of all tasks that are done before the deadline; a job finishes the others."""
    entries, live = answer(current(), read(PredictRequest))
    body = b'{"results":[' + b",".join(entries) + b'],"model_version":' + json.dumps(live.version).encode() + b"}"
    return flask.Response(body, content_type="application/json")


def answer(services: Services, request: PredictRequest) -> tuple[Sequence[bytes], LiveModel]:
    """The JSON of each task's entry, and the model that gave them. Raises `HemaloopError` for a config without one."""
    config = parse_label_config(request.label_config)
    config.require_bound()
    live = services.live.of(request.project, config)
    context = request.params.context
    if context is not None and not context.result:
        # Sent with a submit: nothing was drawn, and nobody looks at the answer.
        return [interactive.nothing(live.version)] * len(request.tasks), live
    if context is None and not any(part.directory for part in live.parts.values()):
        log.info("project %s: %s: nothing was trained yet", request.project, live.version)
        return [_NOTHING] * len(request.tasks), live
    if context is not None:
        return [_drawn(services, request, config, live, number) for number in range(len(request.tasks))], live
    began = time.perf_counter()
    answers = _ask(services, request, config, live)
    services.measures.predicted(config, time.perf_counter() - began, _outcomes(answers))
    _report(services, request, live, answers)
    return [_NOTHING if one is None or one.body is None else one.body for one in answers], live


def _drawn(services: Services, request: PredictRequest, config: LabelConfig, live: LiveModel, number: int) -> bytes:
    """What is where an annotator drew on a task; Label Studio sends one task a call."""
    task, context = request.tasks[number], request.params.context
    seconds = min(services.settings.predict_open_seconds, services.settings.predict_deadline_seconds)
    drawn = [] if context is None else context.result
    (found,) = services.inference.predict(request.project, config, live, [task], seconds, drawn)
    if found is not None and found.error:
        log.warning("project %s, task %s: no answer to what was drawn: %s", request.project, task.id, found.error)
    return interactive.entry(found, live.version)


def _ask(
    services: Services, request: PredictRequest, config: LabelConfig, live: LiveModel
) -> Sequence[TaskAnswer | None]:
    """The answers of the inference processes; None for what was not done in time."""
    settings = services.settings
    if len(request.tasks) <= SMALL:
        seconds = min(settings.predict_open_seconds, settings.predict_deadline_seconds)
        return services.inference.predict(request.project, config, live, request.tasks, seconds)
    if not services.bulk.acquire(blocking=False):
        return [None] * len(request.tasks)
    try:
        return services.inference.predict(
            request.project, config, live, request.tasks, settings.predict_deadline_seconds
        )
    finally:
        services.bulk.release()


def _outcomes(answers: Sequence[TaskAnswer | None]) -> dict[str, int]:
    names = ["late" if one is None else "failed" if one.body is None else "predicted" for one in answers]
    return dict(Counter(names))


def _report(services: Services, request: PredictRequest, live: LiveModel, answers: Sequence[TaskAnswer | None]) -> None:
    """Log each failure with its reason, and leave what there was no time for to a job."""
    for task, answer in zip(request.tasks, answers, strict=True):
        if answer is not None and answer.error:
            log.warning("project %s, task %s: no prediction: %s", request.project, task.id, answer.error)
    if any(answer is not None and answer.of_model for answer in answers):
        services.hints.scores(request.project, "a model cannot be used")  # a job looks whether it is whole
    late = [task.id for task, answer in zip(request.tasks, answers, strict=True) if answer is None]
    if late:
        log.warning("project %s: %d of %d tasks not done in time", request.project, len(late), len(answers))
        services.hints.unfinished(request.project, [number for number in late if number is not None], live.version)
