"""Going back to the version before, or to any stored one: published the same way as a promotion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hemaloop.errors import StoreError
from hemaloop.queues import Queues
from hemaloop.store import ArtifactStore


@dataclass(frozen=True, slots=True)
class Change:
    """From which version to which, and the job that publishes it."""

    before: str
    after: str
    job: str


def roll_back(store: ArtifactStore, queues: Queues, project: str) -> Change:
    """Promote what was published before and ask for its publication. Its predictions are still there, so it is quick.

    Raises `StoreError` where nothing was published before.
    """
    history = store.history(project)
    if len(history) < 2:
        found = history[0].version if history else "nothing"
        raise StoreError(
            f"project {project}: found {found} published and nothing before it, so there is nothing to go back to"
        )
    current, previous = history[0], history[1]
    _promote_parts(store, project, previous.parts, f"rolled back to {previous.version}")
    return Change(
        current.version, previous.version, queues.request_scores(project, f"rolled back from {current.version}")
    )


def promote(store: ArtifactStore, queues: Queues, project: str, control: str, version: str) -> Change:
    """Promote a stored version of one control by hand, whatever its gate said, and ask for its publication."""
    before = store.promoted(project, control) or "the starter"
    _promote_parts(store, project, {control: version}, f"{version} was promoted by hand")
    if store.promoted(project, control) != version:
        raise StoreError(f"project {project}, control {control!r}: {version!r} is not a stored version")
    return Change(before, version, queues.request_scores(project, f"{version} was promoted by hand"))


def _promote_parts(store: ArtifactStore, project: str, parts: Mapping[str, str], why: str) -> None:
    for control, version in parts.items():
        now = store.promoted(project, control)
        if now is not None and now != version:
            # Its manifest must not ask for the promotion again.
            store.update(project, control, replace(store.manifest(project, control, now), promoted=False, verdict=why))
        if store.has(project, control, version):
            store.promote(project, control, version)
        else:
            store.demote(project, control)
