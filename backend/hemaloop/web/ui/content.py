"""What the page shows of a project: from Redis, from the store, and from the portrait that a worker has made.

Each of the three may be away; what the others know is shown all the same, with what is missing and why.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flask

from hemaloop import portrait, queue_view
from hemaloop.errors import HemaloopError, QueueError
from hemaloop.manifest import Manifest, Published
from hemaloop.queue_view import Failure, QueueState, WorkerState
from hemaloop.queues import reachable
from hemaloop.store import ArtifactStore
from hemaloop.web.services import Services

SHOWN_MODELS = 12
_KEY = re.compile(r"\d{1,18}\.\d{1,18}")
_REMEMBERED_SECONDS = 20.0
_REMEMBERED = 500
_MAIN = ("map50", "mean_iou", "accuracy")
FIGURES = {
    "map50": "mAP at IoU 0.5",
    "mean_iou": "mean IoU",
    "accuracy": "accuracy",
    "weighted_precision": "weighted precision",
    "weighted_f1": "weighted F1",
    "ece": "calibration error",
    "count_error_per_image": "cells miscounted an image",
}
"""Names of figures for people, in the order in which they are shown."""
_OF_CLASSES = {"map50": "ap", "mean_iou": "iou", "accuracy": "f1"}
CLASS_FIGURES = {"ap": "average precision", "iou": "IoU", "f1": "F1"}
KINDS = {
    "train": "training",
    "score_pool": "planning the scores",
    "score_shard": "scoring images",
    "publish": "publishing",
    "finish_predictions": "late predictions",
    "refit": "learning a head",
    "finish_order": "planning the rest of the order",
    "embed_shard": "embedding images",
    "portray": "drawing this page",
    "simulate": "simulation",
}
"""Jobs for people."""


def require_key(key: str) -> str:
    """A project's key as Label Studio names it, or a page that says that there is none."""
    if not _KEY.fullmatch(key):
        flask.abort(404, f"project {key[:40]!r}: expected a key such as 7.1763000000")
    return key


@dataclass(frozen=True, slots=True)
class Model:
    """A stored model of one control. state: "live", "promoted" or "". value: the figure that decides, on the gate."""

    control: str
    version: str
    state: str
    figure: str
    value: float | None
    manifest: Manifest

    @property
    def images(self) -> int:
        """It learned from so many."""
        return len(self.manifest.train) + len(self.manifest.tune)

    @property
    def cells(self) -> int | None:
        """It learned from so many; None where nobody counted."""
        return sum(self.manifest.objects.values()) or None

    @property
    def others(self) -> list[tuple[str, float]]:
        """Further figures that people know."""
        found = self.manifest.figures
        return [(FIGURES[name], found[name]) for name in FIGURES if name in found and name != self.figure]

    @property
    def classes(self) -> list[tuple[str, float]]:
        """The figure of each label."""
        prefix = _OF_CLASSES.get(self.figure, "") + "/"
        named = ((name, value) for name, value in self.manifest.figures.items() if name.startswith(prefix))
        return [(name.removeprefix(prefix), value) for name, value in named]

    @property
    def class_figure(self) -> str:
        """What `classes` are."""
        return CLASS_FIGURES.get(_OF_CLASSES.get(self.figure, ""), "")


@dataclass(slots=True)
class Look:
    """A project as it is now. faults: what could not be read, in words for people. cancelled is no failure."""

    key: str
    portrait: dict[str, Any] | None = None
    published: Published | None = None
    history: list[Published] = field(default_factory=list)
    models: dict[str, list[Model]] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    outcomes: dict[str, Any] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    queues: list[QueueState] = field(default_factory=list)
    workers: list[WorkerState] = field(default_factory=list)
    paused: bool = False
    faults: list[str] = field(default_factory=list)

    @property
    def number(self) -> str:
        """In Label Studio."""
        return self.key.partition(".")[0]

    @property
    def title(self) -> str:
        """As people call it."""
        return (self.portrait or {}).get("title") or f"Project {self.number}"

    @property
    def live(self) -> list[Model]:
        """The model of each control that annotators see, where it is a trained one."""
        return [one for models in self.models.values() for one in models if one.state == "live"]

    @property
    def previous(self) -> Published | None:
        """What a roll-back leads to."""
        return self.history[1] if len(self.history) > 1 else None

    @property
    def at_work(self) -> list[dict[str, Any]]:
        """Jobs of the loop; drawing this page is none that people wait for."""
        return [one for one in self.jobs if one.get("kind") != "portray"]

    @property
    def tasks_without(self) -> list[str]:
        """Why tasks got no prediction of the live version."""
        return list(self.outcomes.get("publication", {}).get("faults", ()))

    @property
    def trained(self) -> Mapping[str, Any]:
        """What came of each control when a training was last looked at."""
        found: Mapping[str, Any] = self.outcomes.get("training", {}).get("controls", {})
        return found


class Manifests:
    """Manifests of models, kept for some seconds: pages ask again and again, and stores may be far. Thread-safe."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], tuple[float, Manifest]] = {}
        self._lock = threading.Lock()

    def get(self, store: ArtifactStore, project: str, control: str, version: str) -> Manifest:
        """Raises `StoreError` where it cannot be read."""
        key, now = (project, control, version), time.monotonic()
        with self._lock:
            until, found = self._kept.get(key, (0.0, None))
        if found is not None and until > now:
            return found
        found = store.manifest(project, control, version)
        with self._lock:
            if len(self._kept) >= _REMEMBERED:
                self._kept.clear()
            self._kept[key] = (now + _REMEMBERED_SECONDS, found)
        return found


_manifests = Manifests()


def projects(services: Services) -> tuple[list[str], list[str]]:
    """Keys of every project that this backend knows, and what could not be asked."""
    known = set(services.live.projects())
    try:
        with reachable():
            known |= set(services.queues.ledger.projects())
    except QueueError as error:
        return sorted(known, key=_order), [str(error)]
    return sorted(known, key=_order), []


def _order(key: str) -> tuple[int, str]:
    number = key.partition(".")[0]
    return -int(number) if number.isdigit() else 0, key


def look(services: Services, key: str, *, models: bool = True, queues: bool = True) -> Look:
    """A project. models, queues: whether its stored models, and its jobs and the workers, are wanted."""
    found = Look(key)
    try:
        _from_store(services.store, found, models)
    except (HemaloopError, OSError) as error:
        found.faults.append(str(error))
    if queues:
        try:
            _from_queues(services, found)
        except HemaloopError as error:
            found.faults.append(str(error))
    return found


def _from_store(store: ArtifactStore, found: Look, models: bool) -> None:
    found.portrait = portrait.read(store, found.key)
    found.history = store.history(found.key)
    found.published = found.history[0] if found.history else None
    if models:
        for control in _controls(found):
            found.models[control] = _models(store, found, control)


def _controls(found: Look) -> list[str]:
    named = [str(one["name"]) for one in (found.portrait or {}).get("controls", ())]
    published = list(found.published.parts) if found.published else []
    return list(dict.fromkeys((*named, *published)))


def _models(store: ArtifactStore, found: Look, control: str) -> list[Model]:
    """The latest first; what is live or promoted is among them."""
    live = found.published.parts.get(control) if found.published else None
    promoted = store.promoted(found.key, control)
    versions = store.versions(found.key, control)
    kept = [one for one in versions[-SHOWN_MODELS:] if one] + [one for one in (live, promoted) if one in versions]
    shown = []
    for version in sorted(set(kept), key=versions.index, reverse=True):
        manifest = _manifests.get(store, found.key, control, version)
        figure = next((name for name in _MAIN if name in manifest.figures), "")
        state = "live" if version == live else "promoted" if version == promoted else ""
        shown.append(Model(control, version, state, figure, manifest.figures.get(figure), manifest))
    return shown


def _from_queues(services: Services, found: Look) -> None:
    queues = services.queues
    found.jobs = queues.running(found.key)
    found.failures = queue_view.failures(queues, found.key)
    found.queues = queue_view.states(queues)
    found.workers = queue_view.workers(queues)
    with reachable():
        found.outcomes = queues.ledger.outcomes(found.key)
        found.paused = queues.ledger.paused(found.key)


def ask_for_portrait(services: Services, found: Look) -> None:
    """Have a worker make a new portrait where the one that is there is old; nobody waits for it."""
    last = found.portrait
    every = max(portrait.LEAST_SECONDS, portrait.SHARE * float(last["seconds"])) if last else portrait.LEAST_SECONDS
    if last is None or time.time() - float(last["at"]) > every:
        services.hints.portrait(found.key, every)


def losses(job: Mapping[str, Any], limit: int = 4) -> dict[str, list[tuple[float, float]]]:
    """The course of a training at work: points (step, value) by name."""
    course: Sequence[Any] = job.get("course") or ()
    return _series([(float(done), figures) for done, figures in course], limit)


def epochs(manifest: Manifest, limit: int = 4) -> dict[str, list[tuple[float, float]]]:
    """The course of a training that is over."""
    return _series([(float(number), figures) for number, figures in enumerate(manifest.epochs, 1)], limit)


def _series(course: Sequence[tuple[float, Mapping[str, float]]], limit: int) -> dict[str, list[tuple[float, float]]]:
    """Losses, where there are some, else whatever there is."""
    names = list(dict.fromkeys(name for _, figures in course for name in figures))
    chosen = [name for name in names if "loss" in name.lower()] or names
    return {name: [(at, float(figures[name])) for at, figures in course if name in figures] for name in chosen[:limit]}
