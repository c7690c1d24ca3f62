"""Red cells counted on cbc/Testing by the overlap family and by the detector, and in its clumps.

PYTHONPATH=tests python -m benchmarks.overlap_counts ../shared/data/cbc/Testing
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy.sparse.csgraph import connected_components

from hemaloop.evaluation.overlap import intersection_over_union
from hemaloop.evaluation.segmentation import count_error
from hemaloop.formats import read_dataset
from hemaloop.model_folder import open_model
from hemaloop.plugin import ClassMap, Detections

MODELS = ("starter:rbc_overlap", "starter:rbc_overlap_classical", "starter:cbc")
TOUCHING = 2.0
"""px by which boxes are grown before they count as touching."""
SURE = 3
"""Red cells boxed from which an image counts: the labels of some images are missing."""


def clumps(boxes: NDArray[np.float32]) -> list[NDArray[np.int64]]:
    """Indices of the boxes of each connected group of two or more boxes that touch."""
    grown = boxes + np.array([-TOUCHING, -TOUCHING, TOUCHING, TOUCHING], np.float32)
    joined = intersection_over_union(grown, grown) > 0
    _, group = connected_components(joined, directed=False)
    found = [np.flatnonzero(group == number) for number in range(group.max(initial=-1) + 1)]
    return [members for members in found if len(members) >= 2]


def inside(middles: NDArray[np.float64], boxes: NDArray[np.float32]) -> int:
    """How many middles (N, 2) lie in any of the boxes."""
    if not len(middles):
        return 0
    x, y = middles[:, :1], middles[:, 1:]
    return int(((x >= boxes[:, 0]) & (x < boxes[:, 2]) & (y >= boxes[:, 1]) & (y < boxes[:, 3])).any(axis=1).sum())


def main(folder: str) -> None:
    """Print the mean absolute percentage error of each model, by image and by clump."""
    console = Console()
    dataset = read_dataset(Path(folder))
    truths = [item.truth(["RBC"]).boxes for item in dataset.items]
    for name in MODELS:
        plugin = open_model(name).plugin
        counted: list[int] = []
        in_clumps: list[int] = []
        for item, boxes in zip(dataset.items, truths, strict=True):
            [found] = plugin.predict([item.image()])
            if isinstance(found, Detections):
                red = found.boxes[found.labels == plugin.labels.index("RBC")]
                middles = (red[:, :2] + red[:, 2:]).astype(np.float64) / 2
            elif isinstance(found, ClassMap):
                cells = plugin.cells(found) or ()
                middles = np.array([(one.outline.min(0) + one.outline.max(0)) / 2 for one in cells]).reshape(-1, 2)
            else:
                raise TypeError(f"{name}: found {type(found).__name__}, expected boxes or masks")
            counted.append(len(middles))
            in_clumps += [inside(middles, boxes[members]) for members in clumps(boxes)]
        wanted = [len(boxes) for boxes in truths]
        known = [index for index, count in enumerate(wanted) if count >= SURE]
        images = count_error([wanted[i] for i in known], [counted[i] for i in known])
        sizes = [len(members) for boxes in truths for members in clumps(boxes)]
        groups = count_error(sizes, in_clumps)
        console.print(
            f"{name}: {len(known)} images, {images.found} cells for {images.truth} boxes, error "
            f"{images.percentage_error:.1f} % an image; {len(sizes)} clumps, {groups.found} for {groups.truth}, error "
            f"{groups.percentage_error:.1f} % a clump, {groups.error_per_image:.2f} cells",
            highlight=False,
            soft_wrap=True,
        )


if __name__ == "__main__":
    main(sys.argv[1])
