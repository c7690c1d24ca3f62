"""A trained detector: its network, how its boxes are shown, and how much an image is worth labelling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hemaloop.errors import OptionError
from hemaloop.networks.arithmetic import arithmetic_for
from hemaloop.networks.artifact import weights_of
from hemaloop.networks.pictures import checked_images
from hemaloop.plugin import Detections, Image, Scored
from hemaloop_faster_rcnn import artifact
from hemaloop_faster_rcnn.artifact import Description
from hemaloop_faster_rcnn.detector import Architecture, build
from hemaloop_faster_rcnn.features import image_features
from hemaloop_faster_rcnn.inference import Finder
from hemaloop_faster_rcnn.options import STOCHASTIC, FasterRCNNOptions
from hemaloop_faster_rcnn.rare import rare_labels
from hemaloop_faster_rcnn.relevance import Evidence, relevance
from hemaloop_faster_rcnn.stochastic import content_seed
from hemaloop_faster_rcnn.thresholds import operating_thresholds, shown


class Model:
    """Immutable once made, so that threads may share it."""

    def __init__(self, network: nn.Module, description: Description, options: FasterRCNNOptions, device: str) -> None:
        self._weights = weights_of(network)
        self._description = description
        self._options = options
        self.labels = description.labels
        named = operating_thresholds(self.labels, options, description.thresholds)
        self.thresholds = [named[label] for label in self.labels]
        self.rare = rare_labels(self.labels, options, description.boxes)
        usual_side = description.cell_side if options.magnification == "auto" else 0.0
        arithmetic = arithmetic_for(device, options.precision)
        self._finder = Finder(network, description.image_size, usual_side, arithmetic)

    def find(self, images: Sequence[Image]) -> list[Detections]:
        """Every box of each uint8 (H, W, 3) image after NMS. Raises `ImageError` naming the one that is not."""
        return [self._finder.find(image).detections for image in checked_images(images)]

    def visible(self, found: Detections) -> Detections:
        """The boxes that reach the threshold of their class."""
        kept = shown(found, self.thresholds)
        return Detections(found.boxes[kept], found.labels[kept], found.scores[kept])

    def score(self, images: Sequence[Image]) -> list[Scored]:
        """The visible boxes of each image, its relevance, and which boxes to look at.

        Raises `ImageError`, and `OptionError` for a relevance that needs dropout where the model has none.
        """
        if self._options.relevance in STOCHASTIC and not self._description.dropout:
            raise OptionError(
                f"relevance {self._options.relevance!r} needs stochastic passes, and this model was trained without "
                "dropout: train again with dropout=0.2, or choose relevance doubt, entropy, margin or random"
            )
        return [self._scored(image) for image in checked_images(images)]

    def _scored(self, image: Image) -> Scored:
        found, seed = self._finder.find(image), content_seed(image)
        cells = np.flatnonzero(shown(found.detections, self.thresholds))
        origins = found.origins[torch.from_numpy(cells)]
        passes = None
        if self._options.relevance in STOCHASTIC:
            passes = self._finder.passes(found, cells, self._options.passes, self._description.dropout, seed)
        evidence = Evidence(
            cells=self.visible(found.detections),
            found=found.detections,
            probabilities=found.seen.probabilities[origins].double().cpu().numpy(),
            passes=passes,
            thresholds=self.thresholds,
            labels=self.labels,
            rare=self.rare,
            seed=seed,
        )
        worth = relevance(evidence, self._options)
        return Scored(evidence.cells, worth.value, worth.marks, worth.parts, image_features(found.seen, origins))

    def save(self, directory: Path) -> None:
        """Write the artifact into an existing directory."""
        artifact.write(directory, self._weights, self._description)

    @classmethod
    def load(cls, directory: Path, labels: tuple[str, ...], options: FasterRCNNOptions, device: str) -> Model:
        """Raises `StoreError` naming what does not fit."""
        description = artifact.read_description(directory, labels)
        architecture = Architecture(description.backbone, len(labels), description.normalisation, description.dropout)
        network = build(architecture, options.nms, options.score_floor)
        artifact.read_tensors(directory, network)
        return cls(network, description, options, device)
