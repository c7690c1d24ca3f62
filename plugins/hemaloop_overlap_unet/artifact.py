"""A U-Net on disk: `unet.safetensors` and `unet.json`. The classical segmentation alone: `unet.json` only.

Filters are kept as float16, which is exact: a training ends by rounding them to it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pydantic
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hemaloop.errors import StoreError
from hemaloop_overlap_unet.network import Architecture, build
from hemaloop_overlap_unet.options import DecoderName, EncoderName

WEIGHTS = "unet.safetensors"
DESCRIPTION = "unet.json"


class Description(pydantic.BaseModel):
    """What must be known to build the model again. kind: a network, or classical: no network at all.

    diameter: of a red cell as the network sees it, px.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    family: Literal["overlap_unet"] = "overlap_unet"
    version: str
    kind: Literal["unet", "classical"]
    labels: tuple[str, ...]
    encoder: EncoderName = "resnet18"
    depth: int = pydantic.Field(default=4, ge=3, le=5)
    decoder: DecoderName = "nearest"
    diameter: float = pydantic.Field(default=40.0, ge=12, le=160)

    @property
    def architecture(self) -> Architecture:
        """Of the network."""
        return Architecture(self.encoder, self.depth, self.decoder)


def _halved(value: Tensor) -> bool:
    return value.is_floating_point() and value.ndim > 1


@torch.no_grad()
def round_weights(network: nn.Module) -> None:
    """Round filters to what float16 can hold, in place, so that saving changes nothing."""
    for value in network.state_dict().values():
        if _halved(value):
            value.copy_(value.half().float())


def write(directory: Path, network: nn.Module | None, description: Description) -> None:
    """Write into an existing directory."""
    if network is not None:
        tensors = {
            name: (value.half() if _halved(value) else value).cpu().contiguous()
            for name, value in network.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
        save_file(tensors, directory / WEIGHTS)
    (directory / DESCRIPTION).write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_description(directory: Path, labels: tuple[str, ...]) -> Description:
    """Raises `StoreError` where it is missing, unreadable, or made for other labels."""
    path = directory / DESCRIPTION
    try:
        description = Description.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: expected the description of an overlap_unet artifact: {error}") from None
    if description.labels != labels:
        raise StoreError(
            f"{path}: made for labels {list(description.labels)}, expected {list(labels)} in this order; "
            "train for these labels"
        )
    return description


def read_network(directory: Path, description: Description) -> nn.Module:
    """The network of a directory, as float32. Raises `StoreError` naming the tensor that does not fit."""
    network = build(description.architecture)
    fill(network, directory / WEIGHTS)
    return network.eval()


def fill(network: nn.Module, path: Path) -> None:
    """Copy the tensors of a file into a network. Raises `StoreError` naming the one that does not fit."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path}: expected the weights of a U-Net: {error}") from None
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    if unlike := sorted(set(state) ^ set(tensors)):
        side = "missing" if unlike[0] in state else "not part of this network"
        raise StoreError(f"{path}: tensor {unlike[0]!r} is {side}; the file belongs to another architecture")
    for name, value in tensors.items():
        if value.shape != state[name].shape:
            raise StoreError(
                f"{path}: tensor {name!r} has shape {tuple(value.shape)}, expected {tuple(state[name].shape)}"
            )
        if not value.isfinite().all():
            raise StoreError(f"{path}: tensor {name!r} holds values that are not finite; the file is damaged")
    network.load_state_dict({name: value.float() for name, value in tensors.items()}, strict=False)
