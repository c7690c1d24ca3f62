"""A detector on disk: `detector.safetensors` and `detector.json`.

Matrices and filters are kept as float16, which is exact: a training ends by rounding them to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pydantic
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hemaloop.errors import StoreError

WEIGHTS = "detector.safetensors"
DESCRIPTION = "detector.json"


class Description(pydantic.BaseModel):
    """What must be known to build the network again.

    image_size: shorter side in use, px. cell_side: median side of the boxes it learned from, at that size, px; 0 where
    it is not known. thresholds: fitted on the tune images, if they were. dropout: share of the box head's units that
    training dropped. boxes: how many of each label it learned from; empty where that is not known.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    family: Literal["faster_rcnn"] = "faster_rcnn"
    version: str
    labels: tuple[str, ...]
    backbone: Literal["resnet18_fpn", "resnet50_fpn", "mobilenet_v3_large_fpn", "vgg16"]
    normalisation: Literal["batch", "frozen"]
    image_size: int = pydantic.Field(ge=1)
    cell_side: float = pydantic.Field(default=0.0, ge=0)
    thresholds: Mapping[str, float] = pydantic.Field(default_factory=dict)
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)
    boxes: Mapping[str, int] = pydantic.Field(default_factory=dict)


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
        raise StoreError(f"{path}: expected the description of a faster_rcnn artifact: {error}") from None
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
        raise StoreError(f"{path}: expected the weights of a detector: {error}") from None
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
