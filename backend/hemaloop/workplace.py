"""What a job works with: settings, queues, artifacts, Label Studio, images, and where it reports."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from rq import get_current_job

from hemaloop import metrics
from hemaloop.client import LabelStudio
from hemaloop.config import Settings, load_settings
from hemaloop.errors import QueueError
from hemaloop.images import ImageLoader
from hemaloop.plugin import Progress
from hemaloop.progress import JobProgress
from hemaloop.queues import Queues
from hemaloop.store import ArtifactStore


@dataclass(frozen=True, slots=True)
class Workplace:
    """Everything that one job needs; tests make their own."""

    settings: Settings
    queues: Queues
    store: ArtifactStore
    studio: LabelStudio
    images: ImageLoader
    progress: Progress


@contextlib.contextmanager
def workplace(trains: bool = False) -> Iterator[Workplace]:
    """The workplace of the current job. trains: the job may use every core while no annotator waits."""
    settings = load_settings()
    store = ArtifactStore(settings.artifacts, settings.data_dir / "artifact-cache")
    with (
        contextlib.closing(Queues(settings)) as queues,
        contextlib.closing(LabelStudio.from_settings(settings)) as studio,
    ):
        images = ImageLoader(settings, studio.auth_headers)
        threads = settings.train_threads if trains else None
        with JobProgress(get_current_job(), queues.ledger, threads=threads) as progress:
            yield Workplace(settings, queues, store, studio, images, progress)
        for result, number in images.taken().items():
            metrics.count(queues.redis, "worker_image_cache", number, result=result)


def project_id(project: str) -> int:
    """The number in a project's key ``"<id>.<created_ts>"``. Raises `QueueError` for anything else."""
    number = project.partition(".")[0]
    if not number.isdigit():
        raise QueueError(f"project {project!r}: expected a key such as '7.1763000000'")
    return int(number)
