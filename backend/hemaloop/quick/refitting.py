"""The quick part: new heads after a few annotations, judged on the gate and versioned like every model.

No image is opened: truth comes from Label Studio, images are their vectors. A head is learned on the newest
representation whose vectors are there and, while the live model is of an earlier one, on that too; the tune images
decide which of them becomes the candidate.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hemaloop import dataset, policy, promotion, registry
from hemaloop.debounce import LOCK_SECONDS, Busy, Debounce, WorkLock
from hemaloop.errors import DatasetError, HemaloopError
from hemaloop.labelconfig import Control, LabelConfig, parse_label_config
from hemaloop.manifest import Manifest, finite
from hemaloop.plugin import Embedded, FitReport, Plugin, Prediction, Representing
from hemaloop.quick import learning, reordering
from hemaloop.quick.vectors import Remembered, Vector, Vectors
from hemaloop.store import ArtifactStore
from hemaloop.targets import Incumbent, the_incumbent
from hemaloop.training import Outcome, hindrance, situation_of
from hemaloop.workplace import Workplace, project_id

log = logging.getLogger(__name__)

REFIT_AFTER = 5
"""New annotations that make a head due (attribute model_min_new_annotations)."""
KEPT = 10
"""Latest models of a control that stay stored, beside those that are in force or were."""


@dataclass(frozen=True, slots=True)
class Base:
    """A representation in memory and the vectors of the project's images, by their address."""

    version: str
    plugin: Representing
    vectors: Mapping[str, Vector]


def refit_project(place: Workplace, project: str, reason: str) -> dict[str, Any]:
    """Learn a new head for each control that is due. Returns what came of each, and of the pool's new order."""
    began = time.monotonic()
    Debounce(place.queues.redis, "refit").give_up(project)
    info = place.studio.project(project_id(project))
    if info.key != project:
        place.queues.ledger.forget(project)
        return {"outcome": "gone", "why": f"project {project} is gone; its number now belongs to {info.key}"}
    config = parse_label_config(info.label_config)
    controls = [control for control in config.bound if learning.represents(control)]
    if not controls:
        return {"outcome": "nothing", "why": "no control has a family of a representation and a head"}
    try:
        with WorkLock(place.queues.redis, f"refit:{project}", wait=LOCK_SECONDS):
            return _refit(place, project, config, controls, reason, began)
    except Busy:
        place.queues.request_refit(project, "another refit was at work")
        return {"outcome": "later", "why": "another worker refits this project; looked at again after it"}


def _refit(
    place: Workplace, project: str, config: LabelConfig, controls: Sequence[Control], reason: str, began: float
) -> dict[str, Any]:
    tasks = list(place.studio.tasks(project_id(project), only="annotated"))
    read = time.monotonic()
    outcomes: dict[str, Outcome] = {}
    bases: dict[str, Base] = {}
    failure: HemaloopError | None = None
    for control in controls:
        try:
            outcomes[control.name] = refit_control(place, project, control, tasks, bases)
        except DatasetError as error:
            outcomes[control.name] = Outcome("waits", str(error))
        except HemaloopError as error:  # another control of the project is not to blame
            outcomes[control.name] = Outcome("failed", str(error))
            failure = error
        log.info("project %s, %s (%s): %s", project, control.name, reason, outcomes[control.name].why)
    fitted = time.monotonic()
    told: dict[str, Any] = {
        "controls": {
            name: {key: getattr(one, key) for key in ("state", "why", "version") if getattr(one, key)}
            for name, one in outcomes.items()
        }
    }
    if any(one.state == "promoted" for one in outcomes.values()):
        told["order"] = reordering.reorder(
            place, project, config, bases, {int(task["id"]) for task in tasks}, "a head was promoted"
        )
    ended = time.monotonic()
    told["seconds"] = {
        name: round(seconds, 3)
        for name, seconds in (("read", read - began), ("fit", fitted - read), ("order", ended - fitted))
    }
    place.queues.ledger.note(project, "refit", told)
    if failure is not None:
        raise failure
    return {"outcome": "done", **told}


def refit_control(
    place: Workplace, project: str, control: Control, tasks: Sequence[Mapping[str, Any]], bases: dict[str, Base]
) -> Outcome:
    """Learn a head of one control where one is due; `bases` takes the representation of the model that won."""
    binding = control.binding
    if binding is None:
        return Outcome("waits", "not bound")
    known = learning.known_representations(place.store, project, control)
    if not known:
        return Outcome("waits", "no representation was learned yet")
    found = dataset.survey(tasks, control, registry.find(binding.family).version)
    mixed = hashlib.sha256(f"{found.binding} {known[-1].version}".encode()).hexdigest()[:32]
    found = replace(found, binding=mixed)  # another representation makes another model of the same annotations
    trained = policy.latest(place.store, project, control.name)
    _finish_promotion(place, project, control.name, trained)
    quick = replace(
        binding,
        min_new_annotations=binding.min_new_annotations or REFIT_AFTER,
        min_interval_seconds=binding.min_interval_seconds or 0.0,
    )
    situation = situation_of(place.settings, place.queues.ledger, project, control.name, found, trained)
    anew = bool(trained and found.annotations) and not _fits(trained[-1], control, known[-1])
    decision = policy.decide(found, quick, place.settings, replace(situation, asked=anew))
    if not decision.start:
        return Outcome("waits", decision.why)
    incumbent = the_incumbent(place.store, project, control, _device(place))
    candidates = _candidates(place, project, control, known, incumbent)
    if not candidates:
        return Outcome("waits", "the images have no vectors yet")
    return _fit(place, project, control, found, trained, incumbent, candidates, bases)


def _fit(
    place: Workplace,
    project: str,
    control: Control,
    found: dataset.Survey,
    trained: Sequence[Manifest],
    incumbent: Incumbent,
    candidates: Sequence[Base],
    bases: dict[str, Base],
) -> Outcome:
    base, report, splits = _best(place, project, control, found, candidates)
    gate = splits.gate.without(incumbent.seen)
    seen = splits.gate.pictures - gate.pictures
    stopped = hindrance(place, splits, trained, gate.pictures, seen)
    if stopped is not None:
        return Outcome("waits", stopped[0], notes=splits.notes)

    def ask(plugin: Plugin, examples: Sequence[Any]) -> list[Prediction]:
        return _predicted(place, project, control, plugin, examples, base)

    verdict = promotion.judge(base.plugin, incumbent.plugin, gate.records, ask=ask)
    manifest = Manifest.of_fit(
        base.plugin,
        report,
        train=splits.train.keys,
        tune=splits.tune.keys,
        gate=splits.gate.keys,
        annotations=splits.used.annotations,
        fingerprint=splits.used.fingerprint,
        notes=(*splits.notes, *report.notes, f"{MADE_WITH}{base.version}"),
        incumbent=incumbent.version,
        promoted=verdict.promote,
        verdict=verdict.why,
        figures=finite(verdict.candidate),
        incumbent_figures=finite(verdict.incumbent),
    )
    version = place.store.put(project, control.name, base.plugin, manifest)
    if verdict.promote:
        place.store.promote(project, control.name, version)
        bases[control.name] = base
    _thin(place.store, project, control.name)
    state = "promoted" if verdict.promote else "kept"
    return Outcome(state, verdict.why, version, manifest.figures, manifest.incumbent_figures, manifest.notes)


MADE_WITH = "representation "
"""How the note begins that says which representation a model was made with."""


def _fits(manifest: Manifest, control: Control, representation: Manifest) -> bool:
    """Whether a model is of the control's labels as they are now and of that representation."""
    return manifest.labels == control.model_labels and f"{MADE_WITH}{representation.version}" in manifest.notes


def _candidates(
    place: Workplace, project: str, control: Control, known: Sequence[Manifest], incumbent: Incumbent
) -> list[Base]:
    """The newest representation that has vectors, and that of the live model where it is another one."""
    found: list[Base] = []
    live = incumbent.plugin.representation if isinstance(incumbent.plugin, Representing) else None
    for manifest in reversed(known):
        plugin = learning.build_representing(control, place.settings.device)
        plugin.load_representation(place.store.directory(project, learning.slot_of(control.name), manifest.version))
        if found and plugin.representation != live:
            continue
        vectors = Vectors(place.store, project, control.name, plugin.representation).by_uri()
        if vectors:
            found.append(Base(manifest.version, plugin, vectors))
        if found and (live is None or any(one.plugin.representation == live for one in found)):
            break
    if found:
        kept = [one.plugin.representation for one in found]
        place.store.keep_vectors(project, control.name, [*kept, *_coming(place, project, control, known, found)])
    return found


def _coming(
    place: Workplace, project: str, control: Control, known: Sequence[Manifest], found: Sequence[Base]
) -> list[str]:
    """Representations that are newer than those found: their vectors are on their way."""
    names = []
    for manifest in known[[one.version for one in known].index(found[0].version) + 1 :]:
        plugin = learning.build_representing(control, place.settings.device)
        plugin.load_representation(place.store.directory(project, learning.slot_of(control.name), manifest.version))
        names.append(plugin.representation)
    return names


def _best(
    place: Workplace, project: str, control: Control, found: dataset.Survey, candidates: Sequence[Base]
) -> tuple[Base, FitReport, dataset.Splits]:
    """The representation whose head is best on the tune images, the newest on a tie, with that head."""
    made = []
    for base in candidates:
        splits = dataset.load(
            found,
            control,
            Remembered(base.vectors),
            project,
            gate=place.settings.gate_fraction,
            tune=place.settings.tune_fraction,
        )
        train, tune = (_embedded(part, base.vectors) for part in (splits.train, splits.tune))
        report = base.plugin.fit_head(train, tune, place.progress)
        made.append((base, report, splits))
    return max(made, key=lambda one: one[1].figures.get("accuracy", 0.0))


def _embedded(examples: dataset.Examples, vectors: Mapping[str, Vector]) -> list[Embedded]:
    return [Embedded(vectors[one.uri].embedding, one.truth, one.key) for one in examples.records]


def _predicted(
    place: Workplace, project: str, control: Control, plugin: Plugin, examples: Sequence[Any], base: Base
) -> list[Prediction]:
    """Of records: from the vectors of the plugin's own representation, from the images where there are none."""
    vectors: Mapping[str, Vector] = {}
    if isinstance(plugin, Representing):
        own = plugin.representation == base.plugin.representation
        vectors = base.vectors if own else Vectors(place.store, project, control.name, plugin.representation).by_uri()
    if isinstance(plugin, Representing) and all(one.uri in vectors for one in examples):
        rows = reordering.stacked([vectors[one.uri] for one in examples])
        return [scored.prediction for scored in plugin.score_embedded(rows)]
    return [plugin.predict([place.images.load(one.uri, one.task_id, project=project).pixels])[0] for one in examples]


def _finish_promotion(place: Workplace, project: str, control: str, trained: Sequence[Manifest]) -> None:
    """A worker that ended between storing a better model and promoting it left this to do."""
    if trained and trained[-1].promoted and place.store.promoted(project, control) != trained[-1].version:
        place.store.promote(project, control, trained[-1].version)
        place.queues.request_scores(project, "a promotion was finished")


def _thin(store: ArtifactStore, project: str, control: str) -> None:
    """Models come every few annotations, each with its representation: those that nobody can go back to are dropped."""
    pointed = {part for entry in store.history(project) for part in entry.parts.values()}
    pointed |= set(store.promotions(project, control))
    for version in store.versions(project, control)[:-KEPT]:
        if version not in pointed:
            store.drop(project, control, version)


def _device(place: Workplace) -> str:
    return "cpu" if place.settings.device == "auto" else place.settings.device
