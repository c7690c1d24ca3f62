"""hemaloop as a model of label-studio-ml: for 1.0.9 of the package index and for 2.x of its repository.

    label-studio-ml init my_backend --script backend/model.py:Hemaloop
    label-studio-ml start my_backend

Regions and scores are those of `hemaloop serve`. What these servers cannot do is listed in backend/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flask
from label_studio_ml.model import LabelStudioMLBase

from hemaloop import hosting

try:
    from label_studio_ml.response import ModelResponse
except ImportError:  # 1.x, which takes a list
    ModelResponse = None


class Hemaloop(LabelStudioMLBase):  # type: ignore[misc] # label-studio-ml has no types
    """Answers for every project: which one asks is read from the request, since 1.x keeps one model for all."""

    TRAIN_EVENTS = hosting.EVENTS

    def setup(self) -> None:
        """2.x calls this for each request and answers `/setup` with the version that is set here; 1.x never does."""
        if flask.has_request_context() and flask.request.path == "/setup":
            project, label_config = self._asking()
            self.set("model_version", hosting.version(project, label_config))

    def predict(self, tasks: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None = None, **_: Any) -> Any:
        """One entry a task; [] for a task that failed, which Label Studio then asks for again."""
        project, label_config = self._asking()
        entries, version = hosting.predict(tasks, project, label_config, context)
        if ModelResponse is None:
            return entries
        return ModelResponse(predictions=entries, model_version=version)

    def fit(self, *given: Any, event: str = "", data: Mapping[str, Any] | None = None, **_: Any) -> dict[str, Any]:
        """Schedule a training of hemaloop. 2.x gives event and data by place, 1.x by name behind an empty tuple."""
        if not event:
            event, data = given[0], given[1]
        return hosting.schedule(event, data or {})

    def _asking(self) -> tuple[str, str]:
        """Key and labelling config of the project whose request is being handled."""
        body = flask.request.get_json()
        return str(body["project"]), str(body.get("label_config") or body["schema"])
