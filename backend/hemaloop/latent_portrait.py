"""The latent space of a control's images as the page shows it: places in a plane, labels, relevances, examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import PluginError
from hemaloop.labelconfig import Control
from hemaloop.plane import far_apart, principal_plane
from hemaloop.plugin import Image, Representing
from hemaloop.projects import build_plugin
from hemaloop.quick import learning, listing
from hemaloop.quick.vectors import Vectors
from hemaloop.workplace import Workplace

POINTS = 600
"""Images shown at most."""
LEAST = 3


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """An image of a task, and what can be made of its vector alone."""

    task: int
    uri: str
    made: Image


@dataclass(frozen=True, slots=True, eq=False)
class Latent:
    """plane: as `plane_of` gives it. examples: far apart in it; none of a family that makes no image of a vector."""

    version: str
    plane: dict[str, Any]
    examples: tuple[Kept, ...]


def latent_of(place: Workplace, project: str, control: Control, labels: Mapping[int, str]) -> Latent | None:
    """What the newest representation makes of a control's images; None where there is none, or too few images.

    labels: of annotated tasks. Relevances are those of the promoted model, where it is of that representation.
    """
    if not learning.represents(control):
        return None
    known = learning.known_representations(place.store, project, control)
    shown = listing.remembered(place, project, control)
    if not known or not shown:
        return None
    plugin = learning.build_representing(control, "cpu")
    plugin.load_representation(place.store.directory(project, learning.slot_of(control.name), known[-1].version))
    by_uri = Vectors(place.store, project, control.name, plugin.representation).by_uri()
    uris = {task: uri for task, uri, _ in shown if uri in by_uri}
    vectors = {task: by_uri[uri].embedding for task, uri in uris.items()}
    plane = plane_of(vectors, labels, _relevances(place, project, control, plugin.representation, vectors))
    if plane is None:
        return None
    return Latent(known[-1].version, plane, _examples(plugin, plane, vectors, uris))


def _examples(
    plugin: Representing, plane: Mapping[str, Any], vectors: Mapping[int, NDArray[np.float32]], uris: Mapping[int, str]
) -> tuple[Kept, ...]:
    points = plane["points"]
    chosen = far_apart(np.array([(point["x"], point["y"]) for point in points]))
    tasks = [points[one]["task"] for one in chosen]
    try:
        made = plugin.reconstruct(np.stack([vectors[task] for task in tasks]))
    except PluginError:
        return ()
    return tuple(Kept(task, uris[task], image) for task, image in zip(tasks, made, strict=True))


def _relevances(
    place: Workplace, project: str, control: Control, representation: str, vectors: Mapping[int, NDArray[np.float32]]
) -> dict[int, float]:
    version = place.store.promoted(project, control.name)
    if version is None or not vectors:
        return {}
    plugin = build_plugin(control, "cpu")
    plugin.load(place.store.directory(project, control.name, version))
    if not isinstance(plugin, Representing) or plugin.representation != representation:
        return {}
    scored = plugin.score_embedded(np.stack(list(vectors.values())))
    return {task: float(one.relevance) for task, one in zip(vectors, scored, strict=True)}


def plane_of(
    vectors: Mapping[int, NDArray[np.float32]], labels: Mapping[int, str], relevances: Mapping[int, float]
) -> dict[str, Any] | None:
    """At most `POINTS` tasks, those with a label first, the others evenly by id; None for fewer than three vectors.

    vectors: (D,) by task. labels, relevances: by task, where there is one. The plane is that of the tasks shown; x
    and y are in [0, 1] over what is shown, share is of its variance.
    """
    labelled = sorted(task for task in vectors if task in labels)
    others = sorted(task for task in vectors if task not in labels)
    tasks = _evenly(labelled, POINTS)
    tasks += _evenly(others, POINTS - len(tasks))
    if len(tasks) < LEAST:
        return None
    places, share = principal_plane([vectors[task] for task in tasks])
    low, size = places.min(axis=0), np.ptp(places, axis=0)
    scaled = np.where(size > 0, (places - low) / np.where(size > 0, size, 1.0), 0.5)
    return {
        "images": len(vectors),
        "share": list(share),
        "points": [
            {
                "task": task,
                "x": round(float(x), 4),
                "y": round(float(y), 4),
                "label": labels.get(task),
                "relevance": relevances.get(task),
            }
            for task, (x, y) in zip(tasks, scaled, strict=True)
        ],
    }


def _evenly(tasks: list[int], most: int) -> list[int]:
    return tasks if len(tasks) <= most else [tasks[place * len(tasks) // most] for place in range(most)]
