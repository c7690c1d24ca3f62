"""The latent space of a control's images as the page shows it: places in a plane, labels and relevances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemaloop.plane import principal_plane

POINTS = 600
"""Images shown at most."""
LEAST = 3


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
