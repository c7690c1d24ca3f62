"""What no webhook told: projects looked at on a timer, from Label Studio itself.

Label Studio sends an event once, waits a second for the answer, and forgets it. So whatever a person has submitted
while anything was down is found here, and so is work that a lost Redis or a killed worker left undone.
"""

from __future__ import annotations

import logging

from hemaloop import dataset, policy, registry
from hemaloop.client import LabelStudio, Refused
from hemaloop.config import Settings
from hemaloop.errors import HemaloopError, LabelStudioError
from hemaloop.labelconfig import LabelConfig, parse_label_config
from hemaloop.pool import lacking
from hemaloop.quarantine import withdraw_damaged
from hemaloop.queues import Queues
from hemaloop.store import ArtifactStore
from hemaloop.targets import target
from hemaloop.training import situation_of
from hemaloop.workplace import project_id

log = logging.getLogger(__name__)

_NOT_FOUND = 404


def reconcile(settings: Settings, queues: Queues, store: ArtifactStore, studio: LabelStudio) -> dict[str, list[str]]:
    """Look at every project of this backend and ask for what it needs. Returns what was asked for, by project."""
    _discover(settings, queues, studio)
    asked: dict[str, list[str]] = {}
    for project in queues.ledger.projects():
        try:
            wanted = _look(settings, queues, store, studio, project)
        except HemaloopError as error:  # the other projects are looked at all the same
            log.warning("project %s cannot be looked at: %s", project, error)
            if isinstance(error, LabelStudioError):
                queues.ledger.note_trouble()
            continue
        if wanted:
            asked[project] = wanted
    return asked


def _discover(settings: Settings, queues: Queues, studio: LabelStudio) -> None:
    """Projects that name this backend, of which nobody told since Redis was new."""
    known = set(queues.ledger.projects())
    for info in studio.projects():
        if info.key in known or "model_family" not in info.label_config:
            continue
        backend = studio.backend(info.id)
        if backend is not None and str(backend.get("url", "")).rstrip("/") == settings.backend_url:
            log.info("project %s was found in Label Studio", info.key)
            queues.remember(info.key)


def _look(settings: Settings, queues: Queues, store: ArtifactStore, studio: LabelStudio, project: str) -> list[str]:
    try:
        info = studio.project(project_id(project))
    except Refused as error:
        if error.status != _NOT_FOUND:
            raise
        queues.ledger.forget(project)
        return []
    if info.key != project:
        queues.ledger.forget(project)
        return []
    config = parse_label_config(info.label_config)
    asked = []
    if withdraw_damaged(store, project, config):
        queues.request_scores(project, "a damaged model was withdrawn")
        asked.append("scores")
    if _training_is_due(settings, queues, store, studio, project, config):
        queues.request_training(project, "found by reconciliation")
        asked.append("training")
    if _scores_are_due(queues, store, studio, project, config):
        queues.request_scores(project, "found by reconciliation")
        asked.append("scores")
    return asked


def _training_is_due(
    settings: Settings, queues: Queues, store: ArtifactStore, studio: LabelStudio, project: str, config: LabelConfig
) -> bool:
    if not config.bound:
        return False
    tasks = list(studio.tasks(project_id(project), only="annotated"))
    for control in config.bound:
        if control.binding is None:
            continue
        found = dataset.survey(tasks, control, registry.find(control.binding.family).version)
        trained = policy.latest(store, project, control.name)
        situation = situation_of(settings, queues.ledger, project, control.name, found, trained)
        if policy.decide(found, control.binding, settings, situation).start:
            return True
    return False


def _scores_are_due(
    queues: Queues, store: ArtifactStore, studio: LabelStudio, project: str, config: LabelConfig
) -> bool:
    if not config.bound:
        return False
    model = target(store, project, config)
    published = store.published(project)
    if published is not None and published.version != model.version:
        return True
    waiting = {task.id for task in lacking(studio, project_id(project), config, model.version)}
    return bool(waiting - queues.ledger.failed(project, model.version))
