"""Files of weights that a training may start from."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hemaloop.errors import StoreError

Weights = dict[str, Tensor]


def read_file(source: str, names: Sequence[str]) -> Weights:
    """Weights of a .safetensors or .pth file, in float32. names: what could have been asked for in place of a path.

    Raises `StoreError` for a file that is not there or cannot be read.
    """
    path = Path(source)
    if not path.is_file():
        raise StoreError(f"weights {source!r}: no such file; expected {', '.join(names)}, or the path of a file")
    try:
        if path.suffix == ".safetensors":
            loaded: Weights = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise StoreError(f"weights {source!r}: found a file that cannot be read as weights: {error}") from None
    return {name: value.float() if value.is_floating_point() else value for name, value in loaded.items()}
