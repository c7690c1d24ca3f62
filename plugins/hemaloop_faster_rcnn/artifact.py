"""A detector on disk: `detector.safetensors` and `detector.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pydantic
from torch import nn

from hemaloop.networks import artifact

WEIGHTS = "detector.safetensors"
DESCRIPTION = "detector.json"


class Description(artifact.Description):
    """What must be known to build the network again.

    image_size: shorter side in use, px. cell_side: median side of the boxes it learned from, at that size, px; 0 where
    it is not known. thresholds: fitted on the tune images, if they were. dropout: share of the box head's units that
    training dropped. boxes: how many of each label it learned from; empty where that is not known.
    """

    family: Literal["faster_rcnn"] = "faster_rcnn"
    backbone: Literal["resnet18_fpn", "resnet50_fpn", "mobilenet_v3_large_fpn", "vgg16"]
    normalisation: Literal["batch", "frozen"]
    image_size: int = pydantic.Field(ge=1)
    cell_side: float = pydantic.Field(default=0.0, ge=0)
    thresholds: Mapping[str, float] = pydantic.Field(default_factory=dict)
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)
    boxes: Mapping[str, int] = pydantic.Field(default_factory=dict)


def write(directory: Path, weights: artifact.Weights, description: Description) -> None:
    """Write both files into an existing directory."""
    artifact.write_weights(directory / WEIGHTS, weights)
    artifact.write_description(directory / DESCRIPTION, description)


def read_description(directory: Path, labels: tuple[str, ...]) -> Description:
    """Raises `StoreError` where it is missing, unreadable, or made for other labels."""
    return artifact.read_description(directory / DESCRIPTION, Description, labels)


def read_tensors(directory: Path, network: nn.Module) -> None:
    """Fill `network` from the directory, as float32. Raises `StoreError` naming the tensor that does not fit."""
    artifact.fill(network, directory / WEIGHTS)
