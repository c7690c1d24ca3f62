"""A model asked about labelled images, a few at a time, and what it finds held against their truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hemaloop.errors import PluginError
from hemaloop.evaluation.detection import DetectionReport, evaluate_detections
from hemaloop.evaluation.segmentation import SegmentationReport, evaluate_maps
from hemaloop.formats import Examples
from hemaloop.plugin import UNKNOWN, ClassMap, Detections, Example, Image, Plugin, Prediction, Progress, Silent

BATCH = 8
"""Images decoded and predicted at a time."""


def in_batches(examples: Sequence[Example], progress: Progress, message: str) -> Iterator[list[Image]]:
    """The images, decoded a few at a time."""
    for start in range(0, len(examples), BATCH):
        progress.report(start, len(examples), message)
        yield [examples[index].image for index in range(start, min(start + BATCH, len(examples)))]
    progress.report(len(examples), len(examples), message)


def predict(
    plugin: Plugin, examples: Sequence[Example], progress: Progress | None = None, message: str = "measuring"
) -> list[Prediction]:
    """Everything that the model finds, also what it is too unsure of to show: precision-recall curves need it."""
    batches = in_batches(examples, progress or Silent(), message)
    return [one for images in batches for one in plugin.predict_unfiltered(images)]


def shown(plugin: Plugin, found: Sequence[Prediction]) -> list[Prediction]:
    """What annotators get to see of everything that was found: cell counts are of these."""
    return [plugin.visible(one) for one in found]


def detection_report(
    plugin: Plugin, examples: Examples, progress: Progress, message: str, *, coco: bool
) -> DetectionReport:
    """Every figure of a family of boxes: curves from all that it finds, counts from what it shows."""
    found = boxes_of(predict(plugin, examples, progress, message))
    ignored = [item.ignore for item in examples.items]
    visible = boxes_of(shown(plugin, found))
    return evaluate_detections(examples.truths(), found, plugin.labels, shown=visible, ignored=ignored, coco=coco)


def map_report(plugin: Plugin, examples: Examples, progress: Progress, message: str) -> SegmentationReport:
    """Every figure of a family of masks, cell counts among them where the family knows cells.

    Cells are counted on the images of which the truth says everything.
    """
    truths = [item.class_map(examples.labels) for item in examples.items]
    found = maps_of(predict(plugin, examples, progress, message))
    whole = [place for place, truth in enumerate(truths) if not (truth.labels == UNKNOWN).any()]
    wanted, seen = ([plugin.cells(some[place]) for place in whole] for some in (truths, found))
    counts = None
    if whole and all(cells is not None for cells in (*wanted, *seen)):
        counts = [len(cells or ()) for cells in wanted], [len(cells or ()) for cells in seen]
    return evaluate_maps(truths, found, plugin.labels, counts=counts)


def maps_of(predictions: Sequence[Prediction]) -> list[ClassMap]:
    """The predictions of a family that says it produces masks. Raises `PluginError` where one is something else."""
    found = [prediction for prediction in predictions if isinstance(prediction, ClassMap)]
    if len(found) != len(predictions):
        raise PluginError("a prediction is not a ClassMap, although the family says so; report it to its author")
    return found


def boxes_of(predictions: Sequence[Prediction]) -> list[Detections]:
    """The predictions of a family that says it produces boxes. Raises `PluginError` where one is something else."""
    found = [prediction for prediction in predictions if isinstance(prediction, Detections)]
    if len(found) != len(predictions):
        raise PluginError("a prediction is not Detections, although the family says so; report it to its author")
    return found
