"""Weights that a training may start from: torchvision's by name, or a file."""

from __future__ import annotations

from typing import Any

import torchvision
from torch import nn

from hemaloop.errors import StoreError
from hemaloop.networks.weights import Weights, read_file
from hemaloop_faster_rcnn.backbone import body_of

PUBLISHED: dict[tuple[str, str], Any] = {
    ("resnet18_fpn", "imagenet"): lambda: torchvision.models.ResNet18_Weights.IMAGENET1K_V1,
    ("resnet50_fpn", "imagenet"): lambda: torchvision.models.ResNet50_Weights.IMAGENET1K_V1,
    ("mobilenet_v3_large_fpn", "imagenet"): lambda: torchvision.models.MobileNet_V3_Large_Weights.IMAGENET1K_V1,
    ("vgg16", "imagenet"): lambda: torchvision.models.VGG16_Weights.IMAGENET1K_V1,
    ("resnet50_fpn", "coco"): lambda: torchvision.models.detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
}
"""What torchvision publishes, by backbone and name."""

NAMES = ("none", "imagenet", "coco", "starter")
"""What `weights` may be besides a path."""


def read_weights(backbone: str, name: str) -> Weights:
    """Weights ``imagenet`` or ``coco`` of a backbone, or those of a .safetensors or .pth file. Raises `StoreError`."""
    published = PUBLISHED.get((backbone, name))
    return _published(backbone, name, published()) if published else read_file(name, NAMES)


def _published(backbone: str, name: str, entry: Any) -> Weights:
    try:
        weights: Weights = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # no network, or a download that does not match its hash
        raise StoreError(
            f"weights {name!r} of {backbone}: {entry.url} could not be had ({error}). Download it elsewhere and give "
            "its path as `weights`, or use weights 'none' to train from scratch"
        ) from None
    return weights


def apply_weights(network: nn.Module, weights: Weights, source: str) -> tuple[str, ...]:
    """Copy what fits into `network`: all of a backbone, and those parts of a head that have the same shape.

    Names the parts that are of another shape in the weights, as the class layers of other labels are: they begin anew.
    weights: of a whole detector (``backbone.body.…``) or of a classifier with that body. Raises `StoreError` where the
    backbone does not fit.
    """
    own: Any = network
    inside = any(name.startswith("backbone.") for name in weights)
    target: nn.Module = network if inside else body_of(own.backbone)
    # VGG and MobileNet classifiers keep their body in `features`
    named = {name if inside else name.removeprefix("features."): value for name, value in weights.items()}
    state = target.state_dict()
    fitting = {name: value for name, value in named.items() if name in state and state[name].shape == value.shape}
    prefix = "backbone.body." if inside else ""
    missing = [
        name
        for name in state
        if name.startswith(prefix) and name not in fitting and not name.endswith("num_batches_tracked")
    ]
    if missing:
        raise StoreError(
            f"weights {source!r}: found nothing that fits {missing[0]!r} and {len(missing) - 1} other parts of the "
            "backbone; use the weights of this backbone"
        )
    target.load_state_dict({**state, **fitting})
    return tuple(name for name, value in named.items() if name in state and state[name].shape != value.shape)
