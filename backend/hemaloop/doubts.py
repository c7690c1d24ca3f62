"""Labels worth a second look: where an annotator and a model that never learned from the image strongly disagree.

Every image is judged by a model that it has not taught, so that no model repeats what it was told:

* images of tune and gate by the model that was just trained (tune chose its epochs and thresholds, not its weights);
* images of train that came since the training before by the model that was live until now, which has not seen them.

A doubt about an image of train stays until its annotation is changed, because no later model can judge it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemaloop import promotion
from hemaloop.agreement import overlap
from hemaloop.dataset import Examples, Record, Splits
from hemaloop.labelconfig import Control
from hemaloop.plugin import Classification, ClassMap, Detections, Plugin, Prediction, Progress
from hemaloop.scratch import get, put
from hemaloop.store import ArtifactStore
from hemaloop.targets import Incumbent

log = logging.getLogger(__name__)

SURE = 0.8
"""Score from which a box that nobody drew is doubted, in [0, 1]."""
CLASS_LEAD = 0.5
"""How much surer a model must be of its own class than of the annotator's, in [0, 1]."""
NOTHING = 0.9
"""How sure it must be that a drawn box is empty: 1 - the best score of any box there."""
SAME_CELL = 0.5
SOMETHING = 0.3
"""IoU from which two boxes are about the same cell, and from which a box says that something is there."""
MAP_IOU = 0.5
"""IoU of a label's mask under which an image of masks is doubted."""
MAP_PIXELS = 64
LATEST = 400
"""Images that are looked at after a training, the newest tasks first."""
KEPT = 60


@dataclass(frozen=True, slots=True)
class Doubt:
    """One strong disagreement.

    kind: "class" (another label), "missed" (the model sees what nobody drew), "extra" (it sees nothing there), "area"
    (masks differ). said, found: labels as people know them, of the annotator and of the model, "" for none. strength:
    in [0, 1], how sure the model is. box: x1 y1 x2 y2 px, None for the image as a whole. stamp: of the annotations.
    """

    kind: str
    said: str
    found: str
    strength: float
    box: tuple[float, ...] | None = None
    task: int = 0
    uri: str = ""
    stamp: str = ""
    model: str = ""


def compare(truth: Prediction, found: Prediction, visible: Prediction, labels: Sequence[str]) -> Iterator[Doubt]:
    """Where a prediction strongly disagrees with a truth of the same kind and label indices.

    found: everything the model sees (`predict_unfiltered`); visible: what people get to see of it.
    """
    if isinstance(truth, Detections) and isinstance(found, Detections) and isinstance(visible, Detections):
        yield from _boxes(truth, found, visible, labels)
    elif isinstance(truth, Classification) and isinstance(found, Classification):
        yield from _classes(truth, found, labels)
    elif isinstance(truth, ClassMap) and isinstance(visible, ClassMap):
        yield from _maps(truth, visible, labels)


def _boxes(truth: Detections, found: Detections, visible: Detections, labels: Sequence[str]) -> Iterator[Doubt]:
    every = overlap(truth.boxes, found.boxes)  # (T, D)
    for row in range(len(truth)):
        here = every[row] >= SAME_CELL
        said = int(truth.labels[row])
        box = tuple(truth.boxes[row].tolist())
        best = _best(found.scores, here)
        if best is not None:
            other = int(found.labels[best])
            same = _best(found.scores, here & (found.labels == said))
            lead = float(found.scores[best]) - (0.0 if same is None else float(found.scores[same]))
            if other != said and lead >= CLASS_LEAD:
                yield Doubt("class", labels[said], labels[other], lead, box)
            continue
        near = _best(found.scores, every[row] >= SOMETHING)
        empty = 1.0 - (0.0 if near is None else float(found.scores[near]))
        if empty >= NOTHING:
            yield Doubt("extra", labels[said], "", empty, box)
    shown = overlap(visible.boxes, truth.boxes)  # (V, T)
    for row in range(len(visible)):
        if float(visible.scores[row]) >= SURE and not (shown[row] >= SOMETHING).any():
            box = tuple(visible.boxes[row].tolist())
            yield Doubt("missed", "", labels[int(visible.labels[row])], float(visible.scores[row]), box)


def _best(scores: NDArray[np.float32], chosen: NDArray[np.bool_]) -> int | None:
    return int(np.where(chosen, scores, -1).argmax()) if chosen.any() else None


def _classes(truth: Classification, found: Classification, labels: Sequence[str]) -> Iterator[Doubt]:
    said, best = int(truth.probabilities.argmax()), int(found.probabilities.argmax())
    lead = float(found.probabilities[best] - found.probabilities[said])
    if lead >= CLASS_LEAD:
        yield Doubt("class", labels[said], labels[best], lead)


def _maps(truth: ClassMap, found: ClassMap, labels: Sequence[str]) -> Iterator[Doubt]:
    for index, label in enumerate(labels):
        drawn, seen = truth.labels == index + 1, found.labels == index + 1
        either = int(np.count_nonzero(drawn | seen))
        if max(np.count_nonzero(drawn), np.count_nonzero(seen)) < MAP_PIXELS:
            continue
        agreement = float(np.count_nonzero(drawn & seen)) / either
        if agreement < MAP_IOU:
            yield Doubt("area", label if drawn.any() else "", label if seen.any() else "", 1.0 - agreement)


@dataclass(frozen=True, slots=True)
class Judge:
    """A model, its version's name and the images that it has not learned from."""

    plugin: Plugin
    version: str
    images: Examples


def judges(candidate: Plugin, version: str, splits: Splits, incumbent: Incumbent) -> list[Judge]:
    """Who judges which images. incumbent: the model that was live until now."""
    found = [Judge(candidate, version, splits.tune), Judge(candidate, version, splits.gate)]
    if incumbent.plugin is not None and incumbent.plugin.fitted:
        found.append(Judge(incumbent.plugin, incumbent.version, splits.train.without(incumbent.seen)))
    return found


def search(
    judging: Sequence[Judge],
    control: Control,
    labels: Sequence[str],
    stamps: Mapping[int, tuple[str, ...]],
    progress: Progress,
) -> tuple[list[Doubt], frozenset[int]]:
    """The doubts about the newest images that the judges may judge, and the tasks that were looked at.

    labels: of the truths, which the judges' own are brought to. stamps: of each task's annotations.
    """
    pairs = [(judge, index, judge.images.records[index]) for judge in judging for index in range(len(judge.images))]
    pairs.sort(key=lambda pair: -pair[2].task_id)
    doubts: list[Doubt] = []
    for done, (judge, index, record) in enumerate(pairs[:LATEST]):
        progress.report(done, min(len(pairs), LATEST), "looking for labels to check")
        image = judge.images[index].image
        (found,) = judge.plugin.predict_unfiltered([image])
        own = judge.plugin.labels
        everything = promotion.align(found, own, labels)
        visible = promotion.align(judge.plugin.visible(found), own, labels)
        names = [control.shown_label(label) or label for label in labels]
        said = compare(record.truth, everything, visible, names)
        doubts += [_placed(one, record, judge.version, stamps) for one in said if not _ignored(one, record)]
    return doubts, frozenset(record.task_id for _, _, record in pairs[:LATEST])


def _ignored(one: Doubt, record: Record) -> bool:
    """Whether it lies where the truth says nothing."""
    if one.box is None or one.kind != "missed" or not len(record.ignore):
        return False
    x, y = (one.box[0] + one.box[2]) / 2, (one.box[1] + one.box[3]) / 2
    inside = (record.ignore[:, 0] <= x) & (x <= record.ignore[:, 2])
    return bool((inside & (record.ignore[:, 1] <= y) & (y <= record.ignore[:, 3])).any())


def _placed(one: Doubt, record: Record, model: str, stamps: Mapping[int, tuple[str, ...]]) -> Doubt:
    stamp = stamp_of(stamps.get(record.task_id, ()))
    box = one.box if record.box is None else record.box
    return replace(one, task=record.task_id, uri=record.uri, stamp=stamp, model=model, box=box)


def stamp_of(stamps: Sequence[str]) -> str:
    """The annotations of a task, as a text that changes with any of them."""
    return " ".join(stamps)


def keep(store: ArtifactStore, project: str, control: str, doubts: Sequence[Doubt], looked: frozenset[int]) -> None:
    """Replace what is known of the tasks that were looked at; doubts about others stay."""
    earlier = [one for one in kept(store, project, control) if one.task not in looked]
    strongest = sorted((*doubts, *earlier), key=lambda one: (-one.strength, one.task))[:KEPT]
    entry = {"at": time.time(), "looked": len(looked), "doubts": [asdict(one) for one in strongest]}
    put(store, project, _name(control), entry)


def kept(store: ArtifactStore, project: str, control: str) -> list[Doubt]:
    """The doubts about a control's labels, the strongest first."""
    if store.get_scratch(project, _name(control)) is None:
        return []
    entries: list[dict[str, Any]] = get(store, project, _name(control))["doubts"]
    return [Doubt(**{**one, "box": tuple(one["box"]) if one["box"] else None}) for one in entries]


def _name(control: str) -> str:
    return f"doubts/{control}"


Search = Callable[[], None]
"""A search that waits until the training's outcome is told: nobody waits for it."""


def after_training(
    store: ArtifactStore, project: str, control: Control, judging: Sequence[Judge], splits: Splits, progress: Progress
) -> Search:
    """The search of one control, to be done when the new model is on its way to people."""

    def run() -> None:
        labels = control.model_labels
        doubts, looked = search(judging, control, labels, splits.used.stamps, progress)
        keep(store, project, control.name, doubts, looked)
        log.info("project %s, %s: %d labels to check in %d images", project, control.name, len(doubts), len(looked))

    return run
