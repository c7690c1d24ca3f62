"""A model on disk: `representation.safetensors`, `cells.json`, and where there is a classifier, `head.safetensors`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import pydantic
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hemaloop.errors import StoreError
from hemaloop.networks import artifact
from hemaloop_cell_vae.head import Head
from hemaloop_cell_vae.network import Architecture, AutoEncoder, Classifier

DESCRIPTION = "cells.json"
REPRESENTATION = "representation.safetensors"
CLASSIFIER = "head.safetensors"
KNOWN = "known.safetensors"


class HeadDescription(pydantic.BaseModel):
    """Of a classifier. reach: the usual distance between labelled cells (`relevance.novelty`)."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    hidden: int = pydantic.Field(ge=1)
    temperature: float = pydantic.Field(gt=0)
    reach: float = pydantic.Field(gt=0)


class Description(artifact.Description):
    """What must be known to build the networks again and to show them patches as they learned to see them.

    options: those that decide what the encoder is shown, by name. head: None of a representation alone.
    """

    family: Literal["cell_vae"] = "cell_vae"
    seen: int = pydantic.Field(ge=16)
    latent: int = pydantic.Field(ge=1)
    variational: bool
    learns_radius: bool
    options: dict[str, str | int | float]
    head: HeadDescription | None = None

    @property
    def architecture(self) -> Architecture:
        """Of the auto-encoder."""
        return Architecture(self.seen, self.latent, self.variational, self.learns_radius)


def name_of(network: AutoEncoder, shown: dict[str, str | int | float]) -> str:
    """What vectors are kept under: a hash of the weights and of how patches are shown."""
    digest = hashlib.sha256(json.dumps(shown, sort_keys=True).encode())
    for name, value in sorted(network.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(name.encode())
            digest.update(value.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def write(directory: Path, description: Description, weights: artifact.Weights, head: Head | None) -> None:
    """Write the files into an existing directory. weights: of the representation."""
    artifact.write_weights(directory / REPRESENTATION, weights)
    if head is not None:
        artifact.write_network(directory / CLASSIFIER, head.classifier)
        save_file({"known": torch.from_numpy(head.known).half()}, directory / KNOWN)
    artifact.write_description(directory / DESCRIPTION, description)


def read_description(directory: Path, labels: tuple[str, ...] | None) -> Description:
    """labels: those that it must have been made for, None for any. Raises `StoreError`."""
    path = directory / DESCRIPTION
    if labels is None:
        try:
            labels = tuple(json.loads(path.read_text(encoding="utf-8"))["labels"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}: expected the description of an artifact of 'cell_vae': {error}") from None
    return artifact.read_description(path, Description, labels)


def read_network(directory: Path, description: Description) -> AutoEncoder:
    """Raises `StoreError` naming the tensor that does not fit."""
    network = AutoEncoder(description.architecture)
    artifact.fill(network, directory / REPRESENTATION)
    return network.eval()


def read_head(directory: Path, description: Description) -> Head | None:
    """None of a representation alone. Raises `StoreError` naming the tensor that does not fit."""
    said = description.head
    if said is None:
        return None
    classifier = Classifier(description.latent, said.hidden, len(description.labels))
    artifact.fill(classifier, directory / CLASSIFIER)
    classifier.eval().requires_grad_(False)
    path = directory / KNOWN
    try:
        known = load_file(path)["known"].float()
    except (OSError, SafetensorError, KeyError) as error:
        raise StoreError(f"{path}: expected the latents of labelled cells: {error}") from None
    if known.ndim != 2 or known.shape[1] != description.latent or not known.isfinite().all():
        raise StoreError(f"{path}: found shape {tuple(known.shape)}, expected (M, {description.latent}) finite numbers")
    return Head(classifier, said.temperature, known.numpy(), said.reach)
