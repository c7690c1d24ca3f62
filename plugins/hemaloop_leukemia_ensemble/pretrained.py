"""Weights that both extractors may start from: timm's by name, or a file."""

from __future__ import annotations

import pickle
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hemaloop.errors import StoreError
from hemaloop_leukemia_ensemble.network import Extractor

Weights = dict[str, Tensor]


def read_weights(backbone: str, source: str) -> Weights:
    """Weights ``imagenet`` of a backbone, or those of a .safetensors or .pth file. Raises `StoreError`."""
    return _published(backbone) if source == "imagenet" else _file(Path(source))


def _published(backbone: str) -> Weights:
    try:
        weights: Weights = timm.create_model(backbone, pretrained=True, num_classes=0).state_dict()
    except (OSError, RuntimeError, ValueError) as error:  # no network, or nothing is published for it
        raise StoreError(
            f"weights 'imagenet' of {backbone}: cannot be had ({error}). Download them elsewhere and give their path "
            "as `weights`, or use weights 'none' to train from scratch"
        ) from None
    return weights


def _file(path: Path) -> Weights:
    if not path.is_file():
        raise StoreError(f"weights {str(path)!r}: no such file; expected none, imagenet, or the path of a file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded: Weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise StoreError(f"weights {str(path)!r}: found a file that cannot be read as weights: {error}") from None
    return loaded


def apply_weights(extractor: Extractor, weights: Weights, source: str) -> None:
    """Copy weights into a backbone; a classifier among them is left out. Raises `StoreError` where they do not fit."""
    state = extractor.backbone.state_dict()
    fitting = {name: value.float() for name, value in weights.items() if name in state}
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            fitting.setdefault(name, value)
        elif name not in fitting or fitting[name].shape != value.shape:
            found = tuple(fitting[name].shape) if name in fitting else "nothing"
            raise StoreError(
                f"weights {source!r}: found {found} for {name!r}, expected {tuple(value.shape)}; use the weights of "
                "this backbone"
            )
    extractor.backbone.load_state_dict(fitting)
