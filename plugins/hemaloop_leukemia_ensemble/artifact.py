"""An ensemble on disk: `ensemble.safetensors` and `ensemble.json`.

Matrices and filters are kept as float16, which is exact: a training ends by rounding them to it.
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

WEIGHTS = "ensemble.safetensors"
DESCRIPTION = "ensemble.json"

Three = tuple[float, float, float]


class Description(pydantic.BaseModel):
    """What must be known to build the models again and to show them images as they learned to see them.

    image_size: px. temperature: of the calibration. stain: mean and spread in Lab that cells are given, None where they
    are taken as they are.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    family: Literal["leukemia_ensemble"] = "leukemia_ensemble"
    version: str
    labels: tuple[str, ...]
    backbone: str
    hidden: int = pydantic.Field(ge=1)
    dropout: float = pydantic.Field(ge=0, lt=1)
    fine_tuned: bool
    image_size: int = pydantic.Field(ge=1)
    patch: Literal["whole", "hull"]
    margin: float = pydantic.Field(ge=0)
    temperature: float = pydantic.Field(default=1.0, gt=0)
    stain: tuple[Three, Three] | None = None


def _halved(value: Tensor) -> bool:
    return value.is_floating_point() and value.ndim > 1


@torch.no_grad()
def round_weights(network: nn.Module) -> None:
    """Round matrices and filters to what float16 can hold, in place, so that saving changes nothing."""
    for value in network.state_dict().values():
        if _halved(value):
            value.copy_(value.half().float())


def write(directory: Path, network: nn.Module, description: Description) -> None:
    """Write both files into an existing directory."""
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
        raise StoreError(f"{path}: expected the description of a leukemia_ensemble artifact: {error}") from None
    if description.labels != labels:
        raise StoreError(
            f"{path}: made for labels {list(description.labels)}, expected {list(labels)} in this order; "
            "train for these labels"
        )
    return description


def read_tensors(directory: Path, network: nn.Module) -> None:
    """Fill `network` from the directory, as float32. Raises `StoreError` naming the tensor that does not fit."""
    path = directory / WEIGHTS
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path}: expected the weights of an ensemble: {error}") from None
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
