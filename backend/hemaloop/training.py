"""The loop: load the examples; fit a candidate; evaluate it on the frozen gate split; if it beats the incumbent there,
promote it; rescore the pool; push the priorities; publish.

The last three are jobs of their own (`priorities`, `publication`), so that a training never waits for Label Studio.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hemaloop import dataset, doubts, metrics, objects, policy, promotion, registry
from hemaloop.config import Settings
from hemaloop.debounce import LOCK_SECONDS, Busy, Debounce, WorkLock
from hemaloop.errors import Cancelled, DatasetError, HemaloopError, QueueError
from hemaloop.labelconfig import Binding, Control, parse_label_config
from hemaloop.ledger import Ledger
from hemaloop.manifest import Manifest, finite
from hemaloop.progress import Interrupted
from hemaloop.projects import build_plugin
from hemaloop.quarantine import withdraw_damaged
from hemaloop.quick import learning
from hemaloop.targets import the_incumbent
from hemaloop.workplace import Workplace, project_id

log = logging.getLogger(__name__)

RECHECK_SECONDS = 3600
"""Until images that could not be had are tried again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one control.

    state: "promoted", "kept", "waits", or what became of a representation (`quick.learning`). why: in words for people.
    """

    state: str
    why: str
    version: str | None = None
    figures: Mapping[str, float] | None = None
    incumbent: Mapping[str, float] | None = None
    notes: tuple[str, ...] = ()
    again_in: float | None = None


def train_project(place: Workplace, project: str, reason: str) -> dict[str, Any]:
    """Train each bound control of a project that is due. Returns what came of each, by control.

    Events that arrive from here on lead to one more look afterwards.
    """
    Debounce(place.queues.redis, "train").give_up(project)
    asked = place.queues.ledger.take_ask(project)
    try:
        with WorkLock(place.queues.redis, f"train:{project}") as lock:
            return _train_controls(place, project, reason, asked, lock)
    except Busy:
        if asked:
            place.queues.ledger.ask(project)
        place.queues.request_training(project, "another training was at work", delay=LOCK_SECONDS)
        return {"outcome": "later", "why": "another worker trains this project; looked at again after it"}
    except (Exception, Interrupted) as error:
        if asked and not isinstance(error, Cancelled):
            place.queues.ledger.ask(project)  # the retry is asked for too
        raise


def _train_controls(place: Workplace, project: str, reason: str, asked: bool, lock: WorkLock) -> dict[str, Any]:
    info = place.studio.project(project_id(project))
    if info.key != project:
        place.queues.ledger.forget(project)
        return {"outcome": "gone", "why": f"project {project} is gone; its number now belongs to {info.key}"}
    config = parse_label_config(info.label_config)
    if withdraw_damaged(place.store, project, config):
        place.queues.request_scores(project, "a damaged model was withdrawn")
    tasks = list(place.studio.tasks(info.id, only="annotated"))
    outcomes: dict[str, Outcome] = {}
    failures: list[HemaloopError] = []
    searches: list[doubts.Search] = []
    for control in config.require_bound():
        try:
            outcomes[control.name] = _train_control(place, project, control, tasks, asked, lock, searches)
            log.info("project %s, %s (%s): %s: %s", project, control.name, reason, *_said(outcomes[control.name]))
        except Cancelled:
            raise
        except HemaloopError as error:  # another control of the project is not to blame
            outcomes[control.name] = Outcome("failed", str(error))
            failures.append(error)
    for control in config.bound:
        if control.binding is not None and control.name in outcomes:
            outcome = outcomes[control.name].state
            metrics.count(place.queues.redis, "trainings", family=control.binding.family, outcome=outcome)
    told = _conclude(place, project, outcomes, failures)
    _search(project, searches)
    return told


def _search(project: str, searches: Sequence[doubts.Search]) -> None:
    """Look for labels to check, now that what was trained is on its way; what fails here fails no training."""
    for search in searches:
        try:
            search()
        except (HemaloopError, OSError, ValueError, RuntimeError) as error:
            log.warning("project %s: labels to check were not looked for: %s", project, error)


def _conclude(
    place: Workplace, project: str, outcomes: Mapping[str, Outcome], failures: Sequence[HemaloopError]
) -> dict[str, Any]:
    told = {name: {key: value for key, value in asdict(one).items() if value} for name, one in outcomes.items()}
    place.queues.ledger.note(project, "training", {"controls": told})
    if any(one.state == "promoted" for one in outcomes.values()):
        place.queues.request_scores(project, "a model was promoted")
    waits = [one.again_in for one in outcomes.values() if one.again_in is not None]
    if waits:
        place.queues.request_training(project, "the minimum interval is over", delay=min(waits) + 1)
    if failures:
        raise failures[0]
    return {"outcome": "done", "controls": told}


def _train_control(
    place: Workplace,
    project: str,
    control: Control,
    tasks: Sequence[Mapping[str, Any]],
    asked: bool,
    lock: WorkLock,
    searches: list[doubts.Search],
) -> Outcome:
    binding = _binding(control)
    if learning.represents(control):
        return _learn(place, project, control, asked, lock)
    found = dataset.survey(tasks, control, registry.find(binding.family).version)
    trained = policy.latest(place.store, project, control.name)
    _finish_promotion(place, project, control.name, trained)
    situation = situation_of(place.settings, place.queues.ledger, project, control.name, found, trained, asked)
    decision = policy.decide(found, binding, place.settings, situation)
    if not decision.start:
        return Outcome("waits", decision.why, again_in=decision.again_in)
    if asked:
        place.queues.ledger.clear_attempts(project)
    with _attempt(place, project, control.name, found.fingerprint):
        return _train(place, project, control, found, trained, lock, searches)


def _learn(place: Workplace, project: str, control: Control, asked: bool, lock: WorkLock) -> Outcome:
    """Of a family in two parts only the slow one is learned here; its heads have a queue of their own (`quick`)."""
    came = learning.learn_if_due(place, project, control, asked, lock)
    place.queues.request_refit(project, "after a look for a new representation")
    return Outcome(came.state, came.why, came.version, notes=came.notes)


def situation_of(
    settings: Settings,
    ledger: Ledger,
    project: str,
    control: str,
    found: dataset.Survey,
    trained: Sequence[Manifest],
    asked: bool = False,
) -> policy.Situation:
    """What the policy has to know of a control now."""
    fingerprint = found.fingerprint
    return policy.Situation(
        trained=trained,
        now=time.time(),
        asked=asked,
        paused=ledger.paused(project),
        attempts=ledger.attempts(project, fingerprint),
        set_aside=ledger.aside(project, control, _with_rule(settings, fingerprint)),
    )


def _train(
    place: Workplace,
    project: str,
    control: Control,
    found: dataset.Survey,
    trained: Sequence[Manifest],
    lock: WorkLock,
    searches: list[doubts.Search],
) -> Outcome:
    settings, progress = place.settings, place.progress
    splits = dataset.load(
        found,
        control,
        place.images,
        project,
        gate=settings.gate_fraction,
        tune=settings.tune_fraction,
        progress=progress,
    )
    incumbent = the_incumbent(place.store, project, control, _device(settings.device))
    gate = splits.gate.without(incumbent.seen)
    seen = splits.gate.pictures - gate.pictures
    stopped = hindrance(place, splits, trained, gate.pictures, seen)
    if stopped is not None:
        why, seconds = stopped
        place.queues.ledger.set_aside(
            project, control.name, _with_rule(place.settings, found.fingerprint), why, seconds
        )
        return Outcome("waits", why, notes=splits.notes)
    candidate = build_plugin(control, _device(settings.device))
    report = candidate.fit(splits.train, splits.tune, progress)
    metrics.count(place.queues.redis, "training_seconds", report.seconds, family=candidate.family)
    progress.report(0, 1, "measuring on the gate")
    what = "images" if control.regions is None else f"regions of {gate.pictures} images"
    verdict = promotion.judge(candidate, incumbent.plugin, gate, what)
    lock.check()
    notes = (*splits.notes, *report.notes)
    manifest = Manifest.of_fit(
        candidate,
        report,
        train=splits.train.keys,
        tune=splits.tune.keys,
        gate=splits.gate.keys,
        annotations=splits.used.annotations,
        fingerprint=splits.used.fingerprint,
        objects=objects.count((*splits.train.records, *splits.tune.records), control.model_labels, candidate),
        notes=notes,
        incumbent=incumbent.version,
        promoted=verdict.promote,
        verdict=verdict.why,
        figures=finite(verdict.candidate),
        incumbent_figures=finite(verdict.incumbent),
    )
    version = place.store.put(project, control.name, candidate, manifest)
    if verdict.promote:
        place.store.promote(project, control.name, version)
    judging = doubts.judges(candidate, version, splits, incumbent)
    searches.append(doubts.after_training(place.store, project, control, judging, splits, progress))
    state = "promoted" if verdict.promote else "kept"
    return Outcome(state, verdict.why, version, manifest.figures, manifest.incumbent_figures, notes)


def hindrance(
    place: Workplace, splits: dataset.Splits, trained: Sequence[Manifest], gate: int, seen: int
) -> tuple[str, int] | None:
    """Why a training on these images would be in vain, known before it costs anything, and for how many seconds."""
    month = 30 * 24 * 3600
    fault = promotion.too_few(gate, place.settings.gate_min_images, seen)
    if fault is not None:
        return fault, month
    if not len(splits.train):
        return "no annotated image fell into the training split yet", month
    if any(manifest.fingerprint == splits.used.fingerprint for manifest in trained):
        return "nothing changed but tasks whose images cannot be had; " + "; ".join(splits.notes[:3]), RECHECK_SECONDS
    return None


def _finish_promotion(place: Workplace, project: str, control: str, trained: Sequence[Manifest]) -> None:
    """A worker that ended between storing a better model and promoting it left this to do."""
    if trained and trained[-1].promoted and place.store.promoted(project, control) != trained[-1].version:
        place.store.promote(project, control, trained[-1].version)
        place.queues.request_scores(project, "a promotion was finished")


@contextlib.contextmanager
def _attempt(place: Workplace, project: str, control: str, fingerprint: str) -> Iterator[None]:
    """Count an attempt while it runs; one that ends with its process stays counted, so retries are bounded."""
    ledger = place.queues.ledger
    ledger.begin(project, fingerprint)
    try:
        yield
    except Cancelled:
        ledger.set_aside(
            project,
            control,
            _with_rule(place.settings, fingerprint),
            "cancelled by hand; new annotations start another",
        )
        ledger.take_back(project, fingerprint)
        raise
    except DatasetError as error:
        ledger.set_aside(project, control, _with_rule(place.settings, fingerprint), str(error))
        raise
    except Interrupted:
        ledger.take_back(project, fingerprint)
        raise
    else:
        ledger.take_back(project, fingerprint)


def _with_rule(settings: Settings, fingerprint: str) -> str:
    """What was set aside is looked at again when the gate's rule changes."""
    return f"{fingerprint}:{settings.gate_min_images}:{settings.gate_fraction}"


def _binding(control: Control) -> Binding:
    if control.binding is None:
        raise QueueError(f"control {control.name!r} is not bound to a model")
    return control.binding


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _said(outcome: Outcome) -> tuple[str, str]:
    return outcome.state, outcome.why
