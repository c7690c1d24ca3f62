"""Models whose files are damaged: withdrawn, so that the one before them serves until the next training."""

from __future__ import annotations

import logging

from hemaloop.labelconfig import LabelConfig
from hemaloop.store import ArtifactStore

log = logging.getLogger(__name__)


def withdraw_damaged(store: ArtifactStore, project: str, config: LabelConfig) -> list[str]:
    """Withdraw damaged models that are promoted or published. Returns their versions; whoever asks publishes anew."""
    published = store.published(project)
    withdrawn = []
    for control in config.bound:
        known = {store.promoted(project, control.name), published.parts.get(control.name) if published else None}
        for version in sorted(one for one in known if one is not None and store.has(project, control.name, one)):
            damaged = store.damaged(project, control.name, version)
            if damaged:
                log.error("project %s: model %s is damaged (%s) and is withdrawn", project, version, ", ".join(damaged))
                store.withdraw(project, control.name, version)
                withdrawn.append(version)
    return withdrawn
