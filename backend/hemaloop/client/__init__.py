"""Label Studio, as far as hemaloop needs it: projects, tasks, predictions, the backend and its webhook.

This package is the only importer of label_studio_sdk's client.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import httpx

from hemaloop.client.connections import Connections
from hemaloop.client.transport import SLOW, Json, Refused
from hemaloop.config import Settings
from hemaloop.errors import LabelStudioError

__all__ = ["Json", "LabelStudio", "ProjectInfo", "Refused", "Selection"]

log = logging.getLogger(__name__)

Selection = Literal["all", "annotated", "unannotated"]

PAGE = 200
"""Tasks fetched at a time."""
BATCH = 1000
"""Predictions pushed at a time: each call recounts the whole project, so a few large calls are cheaper than many."""


@dataclass(frozen=True, slots=True)
class ProjectInfo:
    """What hemaloop needs to know of a project. key: ``"<id>.<created_ts>"``, as Label Studio names it to backends."""

    id: int
    key: str
    title: str
    label_config: str
    sampling: str
    model_version: str | None
    maximum_annotations: int
    task_number: int

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> ProjectInfo:
        """From ``GET /api/projects/<id>``."""
        created = int(datetime.fromisoformat(body["created_at"]).timestamp())
        return cls(
            id=body["id"],
            key=f"{body['id']}.{created}",
            title=body.get("title") or "",
            label_config=body.get("label_config") or "",
            sampling=body.get("sampling") or "",
            model_version=body.get("model_version") or None,
            maximum_annotations=body.get("maximum_annotations") or 1,
            task_number=body.get("task_number") or 0,
        )


class LabelStudio(Connections):
    """One Label Studio, seen by one identity.

    ::

        studio = LabelStudio.from_settings(settings)
        for task in studio.tasks(7, only="annotated"):
            ...

    Every method raises `LabelStudioError`: what was asked, what came back, what to do.
    """

    @classmethod
    def from_settings(cls, settings: Settings) -> LabelStudio:
        """The Label Studio that the settings name."""
        return cls(settings.label_studio_url, settings.label_studio_api_key.get_secret_value())

    # Projects and tasks ---------------------------------------------------------------------------------------------

    def project(self, project_id: int) -> ProjectInfo:
        """The project as it is now."""
        return ProjectInfo.from_json(self.request("GET", f"/api/projects/{project_id}"))

    def projects(self) -> list[ProjectInfo]:
        """Every project that this identity sees, the newest first."""
        found: list[ProjectInfo] = []
        page = 1
        while True:
            body = self.request("GET", "/api/projects", params={"page": page, "page_size": 100})
            found.extend(ProjectInfo.from_json(item) for item in body["results"])
            if not body.get("next"):
                return found
            page += 1

    def update_project(self, project_id: int, **fields: Any) -> ProjectInfo:
        """Change fields of a project. Each call fires ``PROJECT_UPDATED``: never from a handler of that event."""
        return ProjectInfo.from_json(self.request("PATCH", f"/api/projects/{project_id}", body=fields))

    def tasks(self, project_id: int, *, only: Selection = "all", with_annotations: bool = True) -> Iterator[Json]:
        """Tasks by rising id, as Label Studio's JSON with the image address as it was stored.

        only: ``"annotated"`` has at least one submitted annotation, ``"unannotated"`` none (a skip is none).
        with_annotations: include ``annotations`` with their results, and predictions; a page without is much cheaper.
        """
        last = 0
        while True:
            page = self._page(project_id, only, last, with_annotations)
            yield from page
            if len(page) < PAGE:
                return
            last = page[-1]["id"]

    def _page(self, project_id: int, only: Selection, after: int, with_annotations: bool) -> list[Json]:
        # By id rather than by page number: tasks that become annotated meanwhile would move others between pages.
        filters = [_filter("id", "greater", after)]
        if only == "annotated":
            filters.append(_filter("total_annotations", "greater", 0))
        elif only == "unannotated":
            filters.append(_filter("total_annotations", "equal", 0))
        query = {"filters": {"conjunction": "and", "items": filters}, "ordering": ["tasks:id"]}
        params = {"project": project_id, "page_size": PAGE, "resolve_uri": "false", "query": json.dumps(query)}
        if with_annotations:
            params["fields"] = "all"
        body = self.request("GET", "/api/tasks", params=params, timeout=SLOW)
        return list(body["tasks"])

    def task(self, task_id: int) -> Json:
        """One task with its annotations and predictions; like opening it, this may ask the backend for a prediction."""
        task: Json = self.request("GET", f"/api/tasks/{task_id}", params={"resolve_uri": "false"}, timeout=SLOW)
        return task

    def next_task(self, project_id: int) -> Json | None:
        """The task that Label Studio hands this identity next, with its predictions, or None at the end.

        Label Studio then keeps the task for this identity for 24 hours, hides it from others (one annotation a task)
        and answers with it again however scores change: ``queue`` is then ``"Task lock"``. `queue_head` reserves none.
        """
        found: Json | None = self.request("GET", f"/api/projects/{project_id}/next", missing_is_none=True, timeout=SLOW)
        return found

    def queue_head(self, project_id: int, count: int = 3) -> list[tuple[int, float]]:
        """The first unannotated tasks by what orders the queue: (task id, its score under ``project.model_version``).

        Lowest first, as uncertainty sampling serves them. Tasks without a score of that version are left out.
        """
        query = {
            "filters": {
                "conjunction": "and",
                "items": [_filter("total_annotations", "equal", 0), _filter("predictions_score", "greater", -1)],
            },
            "ordering": ["tasks:predictions_score"],
        }
        params = {"project": project_id, "page_size": count, "fields": "all", "query": json.dumps(query)}
        body = self.request("GET", "/api/tasks", params=params, timeout=SLOW)
        return [(task["id"], task["predictions_score"]) for task in body["tasks"]]

    def newest_task(self, project_id: int) -> tuple[int, int]:
        """How many tasks the project has and the highest id among them, (0, 0) where there is none.

        While neither changes, no task has come or gone: ids only rise.
        """
        query = {"filters": {"conjunction": "and", "items": []}, "ordering": ["-tasks:id"]}
        params = {"project": project_id, "page_size": 1, "resolve_uri": "false", "query": json.dumps(query)}
        body = self.request("GET", "/api/tasks", params=params, timeout=SLOW)
        return int(body["total"]), max((int(task["id"]) for task in body["tasks"]), default=0)

    def submit_annotation(
        self, task_id: int, result: Sequence[Mapping[str, Any]], *, lead_time: float = 10.0, **fields: Any
    ) -> Json:
        """Submit an annotation as a person does; fires ``ANNOTATION_CREATED``. lead_time: seconds."""
        body = {"result": list(result), "lead_time": lead_time, **fields}
        created: Json = self.request("POST", f"/api/tasks/{task_id}/annotations/", body=body)
        return created

    def import_tasks(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add tasks (``{"data": …}``); their ids, in order."""
        body = self.request(
            "POST",
            f"/api/projects/{project_id}/import",
            body=list(tasks),
            params={"return_task_ids": "true"},
            timeout=SLOW,
        )
        ids = list(body.get("task_ids") or [])
        if len(ids) != len(tasks):
            raise LabelStudioError(f"project {project_id}: sent {len(tasks)} tasks, Label Studio took {len(ids)}")
        return ids

    # Predictions and the version that orders the queue --------------------------------------------------------------

    def import_predictions(self, project_id: int, predictions: Sequence[Mapping[str, Any]]) -> int:
        """Append predictions (``{"task", "result", "score", "model_version"}``) and return how many were stored.

        Tasks that are gone by now are left out and logged. Raises `LabelStudioError` where Label Studio drops others:
        it answers 201 all the same.
        """
        return sum(
            self._import_batch(project_id, predictions[start : start + BATCH])
            for start in range(0, len(predictions), BATCH)
        )

    def _import_batch(self, project_id: int, batch: Sequence[Mapping[str, Any]]) -> int:
        path = f"/api/projects/{project_id}/import/predictions"
        try:
            body = self.request("POST", path, body=list(batch), timeout=SLOW)
        except Refused as error:
            if error.status != httpx.codes.BAD_REQUEST:
                raise
            # One unknown task makes Label Studio refuse the whole call.
            there = {task["id"] for task in self.tasks(project_id, with_annotations=False)}
            left = [item for item in batch if item["task"] in there]
            if len(left) == len(batch):
                raise
            log.warning("project %s: %d tasks are gone, their predictions left out", project_id, len(batch) - len(left))
            return self._import_batch(project_id, left) if left else 0
        created = int(body.get("created", 0))
        if created != len(batch):
            raise LabelStudioError(
                f"project {project_id}: sent {len(batch)} predictions, Label Studio stored {created}; "
                "its log says which were invalid for the labelling config"
            )
        return created

    def versions(self, project_id: int) -> dict[str, int]:
        """How many predictions each model version has in the project."""
        body = self.request("GET", f"/api/projects/{project_id}/model-versions/")
        return {str(version): int(count) for version, count in (body or {}).items()}

    def delete_version(self, project_id: int, version: str) -> None:
        """Delete the predictions of one version. Clears ``project.model_version``: set it again afterwards."""
        self.request(
            "DELETE", f"/api/projects/{project_id}/model-versions/", body={"model_version": version}, timeout=SLOW
        )

    def set_model_version(self, project_id: int, version: str) -> None:
        """Choose the version that orders the queue: the backend's title, or a stored prediction version."""
        self.update_project(project_id, model_version=version)


def _filter(column: str, operator: str, value: float) -> Json:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "value": value, "type": "Number"}
