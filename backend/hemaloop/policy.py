"""When a training starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hemaloop.config import Settings
from hemaloop.dataset import Survey
from hemaloop.labelconfig import Binding
from hemaloop.store import ArtifactStore, Manifest

LOOK_BACK = 20
"""Artifacts whose data is compared with today's."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to train now, and why or why not, for people. again_in: seconds after which time alone may change it."""

    start: bool
    why: str
    again_in: float | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What the decision depends on beside the data.

    trained: manifests of the latest artifacts, oldest first. attempts: on this data, that did not end well.
    set_aside: why this data should be left alone, such as a cancel by hand. asked: a person wants a training now.
    """

    trained: Sequence[Manifest]
    now: float
    asked: bool = False
    paused: bool = False
    attempts: int = 0
    set_aside: str | None = None


def latest(store: ArtifactStore, project: str, control: str) -> list[Manifest]:
    """Manifests of a control's latest artifacts, oldest first."""
    return [store.manifest(project, control, version) for version in store.versions(project, control)[-LOOK_BACK:]]


def decide(found: Survey, binding: Binding, settings: Settings, situation: Situation) -> Decision:
    """Enough new annotations, a minimum interval, not while paused, never twice on the same data.

    A person who asks goes before the number of annotations, the interval and earlier failures, not before the rest.
    """
    refusal = _refusal(found, binding, situation)
    if refusal is not None:
        return Decision(False, refusal)
    new = new_annotations(found, situation.trained)
    if situation.asked:
        return Decision(True, f"asked for, with {new} new annotations")
    if situation.set_aside:
        return Decision(False, situation.set_aside)
    if situation.attempts >= settings.train_max_attempts:
        return Decision(
            False, f"{situation.attempts} trainings on this data failed; new annotations or a start by hand try again"
        )
    least = binding.min_new_annotations or settings.train_min_new_annotations
    if new < least:
        return Decision(False, f"{new} new annotations since the last training, {least} start one")
    return _by_time(new, binding, settings, situation)


def _refusal(found: Survey, binding: Binding, situation: Situation) -> str | None:
    if not binding.train:
        return 'training is off (model_train="off")'
    if not found.tasks:
        return "no annotation was submitted yet"
    if situation.paused:
        return "paused; `hemaloop resume` lets trainings start again"
    same = [manifest.version for manifest in situation.trained if manifest.fingerprint == found.fingerprint]
    if same:
        return f"nothing changed since {same[-1]} was trained: the same annotations, labels and options"
    return None


def _by_time(new: int, binding: Binding, settings: Settings, situation: Situation) -> Decision:
    interval = (
        settings.train_min_interval_seconds if binding.min_interval_seconds is None else binding.min_interval_seconds
    )
    last = max((manifest.created for manifest in situation.trained), default=-math.inf)
    left = last + interval - situation.now
    # A training in the future says that the clock was set back, and nothing of how long ago it was.
    if left > 0 and last <= situation.now:
        return Decision(False, f"{new} new annotations; the last training is too recent, {left:.0f} s are left", left)
    return Decision(True, f"{new} new annotations")


def new_annotations(found: Survey, trained: Sequence[Manifest]) -> int:
    """Annotations that are new or changed since the last training."""
    known = set(trained[-1].annotations) if trained else set()
    return len(set(found.annotations) - known)
