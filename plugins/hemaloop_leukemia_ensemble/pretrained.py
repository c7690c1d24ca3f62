"""Weights that both extractors may start from: timm's by name, or a file."""

from __future__ import annotations

import timm

from hemaloop.errors import StoreError
from hemaloop.networks.weights import Weights, read_file
from hemaloop_leukemia_ensemble.network import Extractor


def read_weights(backbone: str, source: str) -> Weights:
    """Weights ``imagenet`` of a backbone, or those of a .safetensors or .pth file. Raises `StoreError`."""
    return _published(backbone) if source == "imagenet" else read_file(source, ("none", "imagenet"))


def _published(backbone: str) -> Weights:
    try:
        weights: Weights = timm.create_model(backbone, pretrained=True, num_classes=0).state_dict()
    except (OSError, RuntimeError, ValueError) as error:  # no network, or nothing is published for it
        raise StoreError(
            f"weights 'imagenet' of {backbone}: cannot be had ({error}). Download them elsewhere and give their path "
            "as `weights`, or use weights 'none' to train from scratch"
        ) from None
    return weights


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
