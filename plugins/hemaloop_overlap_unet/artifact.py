"""A U-Net on disk: `unet.safetensors` and `unet.json`. The classical segmentation alone: `unet.json` only."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pydantic
from torch import nn

from hemaloop.networks import artifact
from hemaloop_overlap_unet.network import Architecture, build
from hemaloop_overlap_unet.options import DecoderName, EncoderName

WEIGHTS = "unet.safetensors"
DESCRIPTION = "unet.json"


class Description(artifact.Description):
    """What must be known to build the model again. kind: a network, or classical: no network at all.

    diameter: of a red cell as the network sees it, px. centres: whether it sees centres; version 1.0 did not.
    """

    family: Literal["overlap_unet"] = "overlap_unet"
    kind: Literal["unet", "classical"]
    encoder: EncoderName = "resnet18"
    depth: int = pydantic.Field(default=4, ge=3, le=5)
    decoder: DecoderName = "nearest"
    diameter: float = pydantic.Field(default=40.0, ge=12, le=160)
    centres: bool = False

    @property
    def architecture(self) -> Architecture:
        """Of the network."""
        return Architecture(self.encoder, self.depth, self.decoder, self.centres)


def write(directory: Path, weights: artifact.Weights | None, description: Description) -> None:
    """Write into an existing directory."""
    if weights is not None:
        artifact.write_weights(directory / WEIGHTS, weights)
    artifact.write_description(directory / DESCRIPTION, description)


def read_description(directory: Path, labels: tuple[str, ...]) -> Description:
    """Raises `StoreError` where it is missing, unreadable, or made for other labels."""
    return artifact.read_description(directory / DESCRIPTION, Description, labels)


def read_network(directory: Path, description: Description) -> nn.Module:
    """The network of a directory, as float32. Raises `StoreError` naming the tensor that does not fit."""
    network = build(description.architecture)
    artifact.fill(network, directory / WEIGHTS)
    return network.eval()
