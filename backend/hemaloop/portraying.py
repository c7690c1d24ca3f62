"""Making a project's portrait (`portrait`): what is labelled, what comes next, what to check, with pictures."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hemaloop import dataset, doubts, policy, portrait, registry, thumbnails
from hemaloop.annotations import select
from hemaloop.client import LabelStudio, ProjectInfo
from hemaloop.client.transport import SLOW
from hemaloop.dataset import Loader
from hemaloop.debounce import Debounce
from hemaloop.errors import DatasetError, HemaloopError
from hemaloop.labelconfig import Control, LabelConfig, parse_label_config
from hemaloop.latent_portrait import Kept, latent_of
from hemaloop.learning_curve import fit_curve
from hemaloop.manifest import Manifest
from hemaloop.plugin import Classification, ClassMap, Detections
from hemaloop.pool import listed_scores
from hemaloop.store import ArtifactStore
from hemaloop.workplace import Workplace, project_id

log = logging.getLogger(__name__)

TOP = 12
"""Images shown that are worth labelling most."""
CHECKED = 18
"""Labels shown that should be checked."""
BINS = 24
MAIN_FIGURES: Mapping[type, str] = {Detections: "map50", ClassMap: "mean_iou", Classification: "accuracy"}
"""The figure that decides on the gate, as manifests name it."""
_CURVE_POINTS = 40


def portray(place: Workplace, project: str) -> dict[str, Any]:
    """Make a project's portrait and keep it with its thumbnails. Returns how much it holds."""
    Debounce(place.queues.redis, "portrait").give_up(project)
    began = time.monotonic()
    info = place.studio.project(project_id(project))
    config = parse_label_config(info.label_config)
    config.require_bound()
    tasks = list(place.studio.tasks(info.id, only="annotated"))
    made = Thumbnails(place.store, place.images, project)
    scores = list(listed_scores(place.studio, info.id))
    place.progress.report(1, 3, "drawing the most relevant images")
    found: dict[str, Any] = {
        "project": project,
        "number": info.id,
        "title": info.title,
        "tasks": info.task_number,
        "annotated": len(tasks),
        "version": info.model_version,
        "controls": [_control(control, tasks) for control in config.bound],
        "relevance": _distribution([1 / score - 1 for score in scores if score > 0]),
        "top": _top(place.studio, info, config, made),
    }
    place.progress.report(2, 3, "drawing labels to check")
    found["doubts"] = {control.name: _doubts(place, project, control, tasks, made) for control in config.bound}
    found["latent"] = {control.name: _latent(place, project, control, tasks, made) for control in config.bound}
    found["curves"] = {control.name: _curve(place.store, project, control) for control in config.bound}
    found |= {"at": time.time(), "seconds": time.monotonic() - began, "thumbnails": sorted(made.names)}
    portrait.write(place.store, project, found)
    place.progress.report(3, 3, "portrait made")
    return {"outcome": "made", "thumbnails": len(made.names), "seconds": round(found["seconds"], 2)}


class Thumbnails:
    """Pictures named by what is on them, so that none is drawn twice and a browser may keep each for ever."""

    def __init__(self, store: ArtifactStore, images: Loader, project: str) -> None:
        self._store, self._images, self._project = store, images, project
        self.names: set[str] = set()

    def regions(self, task: int, uri: str, result: Sequence[Mapping[str, Any]], config: LabelConfig) -> str | None:
        """The name of an image with its regions; None where the image cannot be had."""
        return self._made(task, uri, result, lambda image: thumbnails.of_regions(image, result, config.bound))

    def doubt(self, one: doubts.Doubt, control: Control) -> str | None:
        """The name of a picture of the doubted cell; None where the image cannot be had."""
        colour = thumbnails.colour_of(control, one.said or one.found)
        return self._made(one.task, one.uri, one.box, lambda image: thumbnails.of_doubt(image, one.box, colour))

    def reconstruction(self, one: Kept, version: str) -> str | None:
        """The name of an image beside what a representation keeps of it; None where the image cannot be had."""
        return self._made(one.task, one.uri, ["kept", version], lambda image: thumbnails.of_pair(image, one.made))

    def _made(self, task: int, uri: str, what: object, draw: Any) -> str | None:
        text = json.dumps([1, self._project, task, uri, what], sort_keys=True, default=str)
        name = hashlib.sha256(text.encode()).hexdigest()[:24] + ".jpg"
        if self._store.get_scratch(self._project, portrait.thumbnail_name(name)) is None:
            try:
                image = self._images.load(uri, task, project=self._project)
            except HemaloopError:
                return None
            self._store.put_scratch(self._project, portrait.thumbnail_name(name), draw(image.pixels))
        self.names.add(name)
        return name


def _control(control: Control, tasks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A control and how often each of its labels stands in what annotators submitted."""
    counts: Counter[str] = Counter()
    for task in tasks:
        for annotation in select(task):
            counts.update(_labels_in(annotation.get("result") or (), control))
    family = registry.find(control.binding.family) if control.binding else None
    return {
        "name": control.name,
        "family": control.binding.family if control.binding else "",
        "figure": MAIN_FIGURES[family.produces] if family else "",
        "labels": [{"name": label, "count": counts[label]} for label in control.labels],
    }


def _labels_in(result: Iterable[Mapping[str, Any]], control: Control) -> list[str]:
    names = []
    for region in result:
        value = region.get("value")
        if region.get("from_name") == control.name and isinstance(value, Mapping):
            names += [str(name) for name in value.get(str(region.get("type"))) or ()]
    return names


def _distribution(relevances: Sequence[float]) -> dict[str, Any]:
    """How many images have which relevance. The highest percent shares the last bar, or one image would flatten all."""
    if not relevances:
        return {"images": 0, "counts": [], "high": 0.0, "median": 0.0, "largest": 0.0}
    values = np.asarray(relevances, np.float64)
    high = float(np.quantile(values, 0.99)) or float(values.max()) or 1.0
    counts, _ = np.histogram(values.clip(0, high), bins=BINS, range=(0, high))
    return {
        "images": len(values),
        "counts": counts.tolist(),
        "high": high,
        "median": float(np.median(values)),
        "largest": float(values.max()),
    }


def _top(studio: LabelStudio, info: ProjectInfo, config: LabelConfig, made: Thumbnails) -> list[dict[str, Any]]:
    """The tasks that come next, with what the model sees on them."""
    if info.model_version is None:
        return []
    shown = []
    fields = {control.name: control.data_key for control in config.bound}
    boxes = {label for control in config.bound if control.kind == "rectanglelabels" for label in control.labels}
    for task in _queue(studio, info):
        mine = [one for one in task.get("predictions") or () if one.get("model_version") == info.model_version]
        if not mine:
            continue
        one = min(mine, key=lambda prediction: float(prediction.get("score") or 0))
        uri = next((task["data"].get(key) for key in fields.values() if task["data"].get(key)), None)
        if not isinstance(uri, str):
            continue
        result = one.get("result") or []
        score = float(one.get("score") or 1.0)
        counts = Counter(name for control in config.bound for name in _labels_in(result, control))
        shown.append(
            {
                "task": int(task["id"]),
                "relevance": 1 / score - 1 if score > 0 else 0.0,
                # of each label how many boxes there are; masks and choices are there or not
                "regions": {name: counts[name] if name in boxes else None for name, _ in counts.most_common()},
                "thumbnail": made.regions(int(task["id"]), uri, result, config),
            }
        )
    return shown


def _queue(studio: LabelStudio, info: ProjectInfo) -> list[dict[str, Any]]:
    items = [
        {"filter": "filter:tasks:total_annotations", "operator": "equal", "type": "Number", "value": 0},
        {"filter": "filter:tasks:predictions_score", "operator": "greater", "type": "Number", "value": -1},
    ]
    query = {"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:predictions_score"]}
    params = {
        "project": info.id,
        "page_size": TOP,
        "fields": "all",
        "resolve_uri": "false",
        "query": json.dumps(query),
    }
    return list(studio.request("GET", "/api/tasks", params=params, timeout=SLOW)["tasks"])


def _doubts(
    place: Workplace, project: str, control: Control, tasks: Sequence[Mapping[str, Any]], made: Thumbnails
) -> list[dict[str, Any]]:
    """The strongest doubt about each task that nobody has changed since, and how many others there are."""
    known = doubts.kept(place.store, project, control.name)
    if not known or control.binding is None:
        return []
    found = dataset.survey(tasks, control, registry.find(control.binding.family).version)
    now = {task: doubts.stamp_of(stamps) for task, stamps in found.stamps.items()}
    current = [one for one in known if now.get(one.task) == one.stamp]
    others = Counter(one.task for one in current)
    strongest = {one.task: one for one in reversed(current)}
    current = [one for one in current if strongest[one.task] is one]
    return [
        {
            "task": one.task,
            "kind": one.kind,
            "said": one.said,
            "found": one.found,
            "strength": one.strength,
            "others": others[one.task] - 1,
            "model": one.model,
            "thumbnail": made.doubt(one, control),
        }
        for one in current[:CHECKED]
    ]


def _curve(store: ArtifactStore, project: str, control: Control) -> dict[str, Any]:
    """The fitted curve of the models with the labels and options of the last one, over labelled cells."""
    trained = [one for one in policy.latest(store, project, control.name) if one.objects]
    figure = MAIN_FIGURES[registry.find(control.binding.family).produces] if control.binding else ""
    last = trained[-1] if trained else None
    alike = [one for one in trained if last is not None and _alike(one, last) and figure in one.figures]
    cells = [sum(one.objects.values()) for one in alike]
    try:
        curve = fit_curve(cells, [one.figures[figure] for one in alike])
    except DatasetError as error:
        return {"line": [], "why": str(error)}
    places = np.geomspace(min(cells), 1.6 * max(cells), _CURVE_POINTS).tolist()
    return {"line": [[x, curve.at(x)] for x in places], "limit": curve.limit, "why": ""}


def _latent(
    place: Workplace, project: str, control: Control, tasks: Sequence[Mapping[str, Any]], made: Thumbnails
) -> dict[str, Any] | None:
    """Of a family with a representation; a page is drawn without it where it cannot be had."""
    labels = {}
    for task in tasks:
        for annotation in select(task):
            said = _labels_in(annotation.get("result") or (), control)
            if said:
                labels[int(task["id"])] = said[0]
    try:
        latent = latent_of(place, project, control, labels)
    except HemaloopError as error:
        log.warning("project %s, %s: no picture of the latent space: %s", project, control.name, error)
        return None
    if latent is None:
        return None
    examples = [(one.task, made.reconstruction(one, latent.version)) for one in latent.examples]
    return {**latent.plane, "examples": [{"task": task, "thumbnail": name} for task, name in examples if name]}


def _alike(one: Manifest, last: Manifest) -> bool:
    return (one.labels, one.options) == (last.labels, last.options)
