"""A network on disk: a safetensors file, and a description in JSON of what must be known to build it again.

Matrices and filters are kept as float16, which is exact: a training ends by rounding them to it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, TypeVar

import pydantic
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hemaloop.errors import StoreError


class Description(pydantic.BaseModel):
    """Base of a family's description. version: of the family's code. labels: in the order of the network's classes."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    family: str
    version: str
    labels: tuple[str, ...]


Weights = dict[str, Tensor]
"""By name, as they are on disk."""
Described = TypeVar("Described", bound=Description)


def write_description(path: Path, description: Description) -> None:
    """As JSON."""
    path.write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_description(path: Path, kind: type[Described], labels: tuple[str, ...]) -> Described:
    """Raises `StoreError` where it is missing, unreadable, of another family, or made for other labels."""
    try:
        description = kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        family = kind.model_fields["family"].default
        raise StoreError(f"{path}: expected the description of an artifact of {family!r}: {error}") from None
    if description.labels != labels:
        raise StoreError(
            f"{path}: made for labels {list(description.labels)}, expected {list(labels)} in this order; "
            "train for these labels"
        )
    return description


def _halved(value: Tensor) -> bool:
    return value.is_floating_point() and value.ndim > 1


@torch.no_grad()
def round_weights(network: nn.Module) -> None:
    """Round matrices and filters to what float16 can hold, in place, so that saving changes nothing."""
    for value in network.state_dict().values():
        if _halved(value):
            value.copy_(value.half().float())


def _kept(network: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}


def weights_of(network: nn.Module) -> Weights:
    """A copy of what is written of a network: all that a model must keep once it has another copy to predict with."""
    return {
        name: value.detach().to("cpu", torch.float16 if _halved(value) else value.dtype, copy=True).contiguous()
        for name, value in _kept(network).items()
    }


def write_weights(path: Path, weights: Weights) -> None:
    """Write what `weights_of` gave."""
    save_file(weights, path)


def write_network(path: Path, network: nn.Module) -> None:
    """Write the weights of a network."""
    write_weights(path, weights_of(network))


def fill(network: nn.Module, path: Path) -> None:
    """Fill a network from a file, as float32. Raises `StoreError` naming the tensor that does not fit."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path}: expected the weights of a network: {error}") from None
    state = _kept(network)
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
    network.load_state_dict(tensors, strict=False)  # into the float32 that is there
