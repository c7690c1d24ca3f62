"""Which classes are rare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hemaloop_faster_rcnn.options import FasterRCNNOptions

RARE_SHARE = 0.5
"""Of an even share of the training boxes; a class with less is rare."""


def rare_labels(labels: Sequence[str], options: FasterRCNNOptions, boxes: Mapping[str, int]) -> tuple[str, ...]:
    """The rare ones of `labels`, as the options ask.

    auto: of C classes, those with fewer than 0.5 / C of all training boxes; none where the counts are not known.
    boxes: training boxes of each label.
    """
    if options.rare_classes != "auto":
        return options.named_rare_classes
    few = RARE_SHARE / len(labels) * sum(boxes.values())
    return tuple(label for label in labels if boxes.get(label, 0) < few)
