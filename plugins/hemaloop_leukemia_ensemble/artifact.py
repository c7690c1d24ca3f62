"""An ensemble on disk: `ensemble.safetensors` and `ensemble.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pydantic
from torch import nn

from hemaloop.networks import artifact

WEIGHTS = "ensemble.safetensors"
DESCRIPTION = "ensemble.json"

Three = tuple[float, float, float]


class Description(artifact.Description):
    """What must be known to build the models again and to show them images as they learned to see them.

    image_size: px. temperature: of the calibration. stain: mean and spread in Lab that cells are given, None where they
    are taken as they are.
    """

    family: Literal["leukemia_ensemble"] = "leukemia_ensemble"
    backbone: str
    hidden: int = pydantic.Field(ge=1)
    dropout: float = pydantic.Field(ge=0, lt=1)
    fine_tuned: bool
    image_size: int = pydantic.Field(ge=1)
    patch: Literal["whole", "hull"]
    margin: float = pydantic.Field(ge=0)
    temperature: float = pydantic.Field(default=1.0, gt=0)
    stain: tuple[Three, Three] | None = None


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
