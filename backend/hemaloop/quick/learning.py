"""The slow part: a representation of a project's images, learned once there are enough, and anew once many came.

A representation is an artifact of its own beside the models of its control. Images of the gate take no part in it.
Models that were made with an earlier one stay in force until a head on the new one beats them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hemaloop import registry, scratch
from hemaloop.dataset import group_of, split_of
from hemaloop.errors import HemaloopError, ImageError, PluginError
from hemaloop.labelconfig import Control, parse_label_config
from hemaloop.manifest import Manifest, finite
from hemaloop.plugin import Image, Progress, Representing
from hemaloop.pool import listed
from hemaloop.projects import build_plugin
from hemaloop.quick import listing
from hemaloop.quick.vectors import Vector, Vectors
from hemaloop.store import ArtifactStore
from hemaloop.workplace import Workplace, project_id

log = logging.getLogger(__name__)

LEAST_IMAGES = 20
"""Images without which no representation is learned."""
GROWTH = 1.5
"""Times as many images as a representation was learned from make another one due (attribute model_pool_growth)."""
BATCH = 32
"""Images embedded between two looks at whether somebody cancelled."""
_NOTES = 10


def represents(control: Control) -> bool:
    """Whether a control's family is made of a representation and a head, and the control is about whole images."""
    binding = control.binding
    return binding is not None and control.regions is None and issubclass(registry.find(binding.family), Representing)


def slot_of(control: str) -> str:
    """The name under which the representations of a control are stored: none that a labelling config could hold."""
    return f"{control}\x1frepresentation"


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of a look. state: "learned", "embedding" (images without a vector are on their way) or "waits"."""

    state: str
    why: str
    version: str | None = None
    notes: tuple[str, ...] = ()


class Lock(Protocol):
    """`debounce.WorkLock`, as far as this module needs it."""

    def check(self) -> None:
        """Raises `QueueError` where another worker is at the same work."""


def learn_if_due(place: Workplace, project: str, control: Control, asked: bool, lock: Lock) -> Learned:
    """Learn a representation of all images where one is due, and see to it that every image has a vector."""
    place.queues.ledger.mark_quick(project)
    every = list(listed(place.studio, project_id(project)))
    listing.remember(place, project, control, every)
    tasks = [task for task in every if task["data"].get(control.data_key)]
    known = known_representations(place.store, project, control)
    why = due(control, len(tasks), known, asked)
    if why is None:
        return _complete(place, project, control, tasks, known)
    if place.queues.ledger.paused(project):
        return Learned("waits", "paused; `hemaloop resume` lets trainings start again")
    pool = PoolImages(place, project, control, tasks)
    pool.open(place.progress)
    if len(pool) < LEAST_IMAGES:
        return Learned("waits", f"{len(pool)} of the {LEAST_IMAGES} images needed can be had", notes=pool.notes)
    plugin = build_representing(control, place.settings.device)
    report = plugin.learn(pool, place.progress)
    lock.check()
    manifest = Manifest.of_fit(
        plugin,
        report,
        train=pool.keys,
        fingerprint=binding_of(control),
        figures=finite({**report.figures, "pool": float(len(tasks))}),
        verdict=why,
        notes=(*pool.notes, *report.notes),
    )
    version = place.store.put(project, slot_of(control.name), plugin, manifest)
    log.info("project %s, %s: representation %s: %s", project, control.name, version, why)
    _embed(place, project, control, version, tasks)
    return Learned("learned", why, version, manifest.notes)


def due(control: Control, images: int, known: Sequence[Manifest], asked: bool) -> str | None:
    """Why a representation should be learned now, in words for people, or None."""
    binding = control.binding
    if binding is None or not binding.train or images < LEAST_IMAGES:
        return None
    if not known:
        return f"{images} images and no representation of them"
    before = known[-1].figures.get("pool", 0.0)
    growth = binding.pool_growth or GROWTH
    if images >= growth * before or (asked and images > before):
        return f"{images} images, {before:.0f} when {known[-1].version} was learned"
    return None


def known_representations(store: ArtifactStore, project: str, control: Control) -> list[Manifest]:
    """Representations that were learned for the control as it is bound now, oldest first; labels do not matter."""
    slot = slot_of(control.name)
    found = [store.manifest(project, slot, version) for version in store.versions(project, slot)]
    return [manifest for manifest in found if manifest.fingerprint == binding_of(control)]


def binding_of(control: Control) -> str:
    """A hash of what a representation depends on beside the images: family, its version, preset and options."""
    binding = control.binding
    if binding is None:
        raise PluginError(f"control {control.name!r} is not bound to a model")
    said = [
        binding.family,
        registry.find(binding.family).version,
        binding.preset,
        sorted(binding.options.items()),
        control.data_key,
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


def build_representing(control: Control, device: str) -> Representing:
    """The control's plugin. Raises `PluginError` where its family has no representation."""
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    plugin = build_plugin(control, device)
    if not isinstance(plugin, Representing):
        raise PluginError(f"model family {plugin.family!r} has no representation")
    return plugin


class PoolImages(Sequence[Image]):
    """Images of tasks that take part in a representation, each decoded when it is asked for.

    keys: of the images. notes: images that cannot be had.
    """

    def __init__(self, place: Workplace, project: str, control: Control, tasks: Sequence[Mapping[str, Any]]) -> None:
        self._place, self._project = place, project
        self._control, self._tasks = control, tasks
        self._chosen: list[Mapping[str, Any]] = []
        self.keys: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()

    def open(self, progress: Progress) -> None:
        """Look at every image once: those of the gate, copies, and those that cannot be had are left out."""
        settings, keys, faults = self._place.settings, dict[str, Mapping[str, Any]](), list[str]()
        for done, task in enumerate(self._tasks):
            progress.report(done, len(self._tasks), "looking at the pool")
            try:
                key = self._load(task).key
            except HemaloopError as error:
                faults.append(f"task {task['id']} is left out: {error}")
                continue
            shares = {"gate": settings.gate_fraction, "tune": settings.tune_fraction}
            if split_of(key, group_of(task["data"]), **shares) != "gate":
                keys.setdefault(key, task)
        self._chosen, self.keys = list(keys.values()), tuple(keys)
        more = (f"and {len(faults) - _NOTES} more images cannot be had",) if len(faults) > _NOTES else ()
        self.notes = (*faults[:_NOTES], *more)

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._load(self._chosen[index]).pixels

    def _load(self, task: Mapping[str, Any]):  # type: ignore[no-untyped-def]
        return self._place.images.load(task["data"][self._control.data_key], task["id"], project=self._project)


def _complete(
    place: Workplace, project: str, control: Control, tasks: Sequence[Mapping[str, Any]], known: Sequence[Manifest]
) -> Learned:
    """Vectors for images that have none under the newest representation."""
    if not known:
        return Learned("waits", f"{len(tasks)} of the {LEAST_IMAGES} images needed for a representation")
    version = known[-1].version
    missing = _embed(place, project, control, version, tasks)
    if missing:
        return Learned("embedding", f"{missing} images have no vector of {version} yet", version)
    return Learned("waits", f"{len(tasks)} images, all with a vector of {version}", version)


def _embed(place: Workplace, project: str, control: Control, version: str, tasks: Sequence[Mapping[str, Any]]) -> int:
    """Queue shards that embed what has no vector yet. Returns how many images that are."""
    plugin = build_representing(control, "cpu")
    plugin.load_representation(place.store.directory(project, slot_of(control.name), version))
    have = Vectors(place.store, project, control.name, plugin.representation).by_uri()
    missing = [task for task in tasks if task["data"][control.data_key] not in have]
    failed = place.queues.ledger.failed(project, version)
    missing = [task for task in missing if task["id"] not in failed]
    if not missing:
        return 0
    size, plan = place.settings.score_shard_size, uuid.uuid4().hex
    shards = [missing[start : start + size] for start in range(0, len(missing), size)]
    for index, shard in enumerate(shards):
        said = [{"id": task["id"], "uri": task["data"][control.data_key]} for task in shard]
        scratch.put(place.store, project, f"{plan}/images-{index}", said)
    place.queues.request_vectors(project, control.name, version, plan, len(shards))
    return len(missing)


def embed_shard(
    place: Workplace, project: str, control_name: str, version: str, plan: str, index: int
) -> dict[str, Any]:
    """Embed one shard of images; what was embedded meanwhile is not embedded again."""
    config = parse_label_config(place.studio.project(project_id(project)).label_config)
    control = config.control(control_name)
    plugin = build_representing(control, place.settings.device)
    plugin.load_representation(place.store.directory(project, slot_of(control_name), version))
    vectors = Vectors(place.store, project, control_name, plugin.representation)
    have = vectors.by_uri()
    images = [one for one in scratch.get(place.store, project, f"{plan}/images-{index}") if one["uri"] not in have]
    made: list[Vector] = []
    faults: dict[int, str] = {}
    for start in range(0, len(images), BATCH):
        place.progress.report(start, len(images), f"embedding with {version}")
        made += _embedded(place, project, plugin, images[start : start + BATCH], faults)
    vectors.add(made)
    place.store.drop_scratch(project, f"{plan}/images-{index}")
    place.queues.ledger.keep_failed(project, version, faults)
    for fault in list(faults.values())[:_NOTES]:
        log.warning("project %s: no vector: %s", project, fault)
    return {"embedded": len(made), "faults": list(faults.values())[:_NOTES]}


def _embedded(
    place: Workplace, project: str, plugin: Representing, images: Sequence[Mapping[str, Any]], faults: dict[int, str]
) -> list[Vector]:
    loaded = []
    for one in images:
        try:
            loaded.append((one["uri"], place.images.load(one["uri"], one["id"], project=project)))
        except ImageError as error:
            faults[one["id"]] = f"task {one['id']}: {error}"
    rows = plugin.embed([image.pixels for _, image in loaded])
    return [
        Vector(uri, image.key, image.width, image.height, row) for (uri, image), row in zip(loaded, rows, strict=True)
    ]
