"""A project deleted: what goes with it, and what stays."""

from __future__ import annotations

from dataclasses import dataclass

from hemaloop.client import LabelStudio, ProjectInfo
from hemaloop.client.transport import SLOW
from hemaloop.queues import Queues
from hemaloop.store import ArtifactStore


@dataclass(frozen=True, slots=True)
class Belongings:
    """What a project has. models: stored versions, by control. jobs: ids of those that wait or work."""

    info: ProjectInfo
    annotations: int
    predictions: int
    models: dict[str, tuple[str, ...]]
    jobs: tuple[str, ...]

    @property
    def versions(self) -> int:
        """Stored models in all."""
        return sum(len(versions) for versions in self.models.values())


def belongings(studio: LabelStudio, queues: Queues, store: ArtifactStore, project_id: int) -> Belongings:
    """Look at what a project has. Raises `LabelStudioError` where there is no such project."""
    info = studio.project(project_id)
    counts = studio.request("GET", f"/api/projects/{project_id}")
    return Belongings(
        info,
        int(counts.get("total_annotations_number") or 0),
        int(counts.get("total_predictions_number") or 0),
        store.models(info.key),
        tuple(str(job["id"]) for job in queues.running(info.key)),
    )


def delete(studio: LabelStudio, queues: Queues, store: ArtifactStore, found: Belongings, *, models: bool) -> None:
    """Delete a project from Label Studio, end its jobs and forget it; its models go only where `models` says so.

    The project goes first: what then fails is forgotten by the reconciliation, or can be done again.
    """
    studio.request("DELETE", f"/api/projects/{found.info.id}", timeout=SLOW)
    for job in found.jobs:
        queues.cancel(job)
    queues.forget(found.info.key)
    if models:
        store.remove(found.info.key)
