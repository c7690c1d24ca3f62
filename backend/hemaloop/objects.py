"""How many labelled cells there are: what a learning curve is drawn over, because images hold different numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from hemaloop.dataset import Record
from hemaloop.plugin import Classification, ClassMap, Detections, Plugin

CELLS = "cells"
"""The name of what a family of masks counts: its cells have no label."""


def count(records: Iterable[Record], labels: Sequence[str], plugin: Plugin) -> dict[str, int]:
    """Labelled objects of the records by label: boxes, choices, or the cells that the family finds in drawn masks.

    A map of a family that knows no cells counts one for each label that is drawn on it.
    """
    found: Counter[str] = Counter()
    for record in records:
        truth = record.truth
        if isinstance(truth, Detections):
            found.update(labels[index] for index in truth.labels.tolist())
        elif isinstance(truth, Classification):
            found[labels[int(truth.probabilities.argmax())]] += 1
        else:
            found.update(_in_map(truth, labels, plugin))
    return dict(found)


def _in_map(truth: ClassMap, labels: Sequence[str], plugin: Plugin) -> Counter[str]:
    cells = plugin.cells(truth)
    if cells is not None:
        return Counter({CELLS: len(cells)})
    return Counter(label for index, label in enumerate(labels) if (truth.labels == index + 1).any())
