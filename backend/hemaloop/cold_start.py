"""The first images to label, when nothing was trained yet and no starter fits: typical and diverse ones.

No model says anything about these images, so what they look like (`appearance`) does. Their order reaches Label
Studio as predictions without a region, under the version of the model that does not exist yet: there is no other way
to order its queue, and an empty prediction shows an annotator nothing. The first model's predictions replace them.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import HemaloopError
from hemaloop.images import ImageLoader
from hemaloop.labelconfig import LabelConfig
from hemaloop.results import score_for_label_studio
from hemaloop.scoring import TaskRef, TaskScore, image_address
from hemaloop.selection import typical

ROUND = 20
"""Images that are chosen at a time: each round looks at what the ones before it have left uncovered."""
HEAD = 200
"""Images that are put in order; by then a model can say more."""
_FETCHERS = 4


def looks(
    images: ImageLoader, project: str, config: LabelConfig, version: str, tasks: Sequence[TaskRef]
) -> list[TaskScore]:
    """What the images of tasks look like, as their `features`; without a region, and with no relevance yet.

    A task whose image cannot be had has an `error`, as where a model scores.
    """
    from hemaloop.appearance import appearance  # scikit-image takes a second to import, and models need none of it

    def look(task: TaskRef) -> TaskScore:
        try:
            keys = dict.fromkeys(image_address(task, control) for control in config.bound)
            loaded = [images.load(uri, task.id, project=project) for uri in keys]
        except HemaloopError as error:
            return TaskScore(task.id, version, error=str(error))
        features = np.concatenate([appearance(one.pixels) for one in loaded])
        score = score_for_label_studio(0.0)
        return TaskScore(task.id, version, [], score, 0.0, key=loaded[0].key, features=features)

    with ThreadPoolExecutor(_FETCHERS, thread_name_prefix="look") as pool:
        return list(pool.map(look, tasks))


def typical_first(features: NDArray[np.float32], labelled: NDArray[np.float32]) -> NDArray[np.int64]:
    """The first `HEAD` images to label, typical and diverse after each round of `ROUND` (`selection.typical`).

    features: (n, F), as `appearance` gives them. labelled: (m, F). Returns indices int64, at most n.
    """
    points = standardised(np.concatenate([features, labelled]))
    pool, had = points[: len(features)], points[len(features) :]
    order = np.zeros(0, np.int64)
    while len(order) < min(HEAD, len(pool)):
        left = np.setdiff1d(np.arange(len(pool)), order)
        chosen = typical(pool[left], ROUND, np.concatenate([had, pool[order]]))
        order = np.concatenate([order, left[chosen]])
    return order


def standardised(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each feature of (n, F) with mean 0 and standard deviation 1 at most, so that none outweighs the others.

    One that differs by less than its unit keeps it: what nobody would notice must not be blown up.
    """
    if not len(features):
        return features.astype(np.float64)
    centred = features - features.mean(axis=0, dtype=np.float64)
    return np.asarray(centred / np.maximum(centred.std(axis=0), 1.0))
