"""A trained detector: its network, and how its boxes are shown and scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from hemaloop.plugin import Detections, Image, Scored
from hemaloop_faster_rcnn import artifact
from hemaloop_faster_rcnn.arithmetic import arithmetic_for
from hemaloop_faster_rcnn.artifact import Description
from hemaloop_faster_rcnn.detector import Architecture, build
from hemaloop_faster_rcnn.inference import Finder, checked_image
from hemaloop_faster_rcnn.options import FasterRCNNOptions
from hemaloop_faster_rcnn.relevance import expected_doubtful, review_marks
from hemaloop_faster_rcnn.thresholds import operating_thresholds, shown


class Model:
    """Immutable once made, so that threads may share it."""

    def __init__(self, network: nn.Module, description: Description, options: FasterRCNNOptions, device: str) -> None:
        self._network = network
        self._description = description
        self.labels = description.labels
        named = operating_thresholds(self.labels, options, description.thresholds)
        self.thresholds = [named[label] for label in self.labels]
        usual_side = description.cell_side if options.magnification == "auto" else 0.0
        arithmetic = arithmetic_for(device, options.precision)
        self._finder = Finder(network, description.image_size, usual_side, arithmetic)

    def find(self, images: Sequence[Image]) -> list[Detections]:
        """Every box of each uint8 (H, W, 3) image after NMS. Raises `ImageError` naming the one that is not."""
        checked = [checked_image(image, index) for index, image in enumerate(images)]
        return [self._finder.find(image) for image in checked]

    def visible(self, found: Detections) -> Detections:
        """The boxes that reach the threshold of their class."""
        kept = shown(found, self.thresholds)
        return Detections(found.boxes[kept], found.labels[kept], found.scores[kept])

    def scored(self, found: Detections) -> Scored:
        """The visible boxes of an image, its relevance in boxes, and which boxes to look at."""
        visible = self.visible(found)
        parts = expected_doubtful(found, self.thresholds, self.labels)
        marks = review_marks(visible, found, self.thresholds, self.labels)
        return Scored(visible, float(sum(parts.values())), marks, parts)

    def save(self, directory: Path) -> None:
        """Write the artifact into an existing directory."""
        artifact.write(directory, self._network, self._description)

    @classmethod
    def load(cls, directory: Path, labels: tuple[str, ...], options: FasterRCNNOptions, device: str) -> Model:
        """Raises `StoreError` naming what does not fit."""
        description = artifact.read_description(directory, labels)
        architecture: Any = Architecture(description.backbone, len(labels), description.normalisation)
        network = build(architecture, options.nms, options.score_floor)
        artifact.read_tensors(directory, network)
        return cls(network, description, options, device)
