"""The three models: A and B, and the combined one, section 2.4 and figure 3 of the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

from hemaloop.errors import OptionError
from hemaloop.networks.arithmetic import Arithmetic

MEAN = (0.5, 0.5, 0.5)
SPREAD = (0.5, 0.5, 0.5)
"""Of pixels in [0, 1], as the Inception networks are trained; other pretrained networks name their own."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What must be known to build the models again. fine_tuned: the combined model has extractors of its own."""

    backbone: str
    classes: int
    hidden: int
    dropout: float
    fine_tuned: bool


class Extractor(nn.Module):
    """A backbone up to its last map, and the mean over it (the penultimate layer)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.backbone = _backbone(name)
        self.width = int(self.backbone.num_features)
        given: Any = self.backbone.pretrained_cfg
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", _channels(given.get("mean", MEAN)), persistent=False)
        self.register_buffer("spread", _channels(given.get("std", SPREAD)), persistent=False)

    def maps(self, pixels: Tensor, arithmetic: Arithmetic) -> Tensor:
        """The last map (N, F, h, w), float32. pixels: (N, 3, S, S) in [0, 1]."""
        normal = ((pixels - self.mean) / self.spread).contiguous(memory_format=torch.channels_last)
        backbone: Any = self.backbone
        # weights stay float32 and are reduced where they are used
        with torch.autocast(arithmetic.device.type, arithmetic.dtype, enabled=arithmetic.reduced):
            maps: Tensor = backbone.forward_features(normal)
        return maps.float()

    def pooled(self, maps: Tensor) -> Tensor:
        """The penultimate layer (N, F): global average pooling."""
        found: Tensor = maps.mean(dim=(2, 3))
        return found


class Member(nn.Module):
    """Model A or B (first stage): an extractor and one layer to the classes."""

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        self.extractor = Extractor(name)
        self.head = nn.Linear(self.extractor.width, classes)

    def forward(self, pixels: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Logits (N, C) of pixels (N, 3, S, S)."""
        found: Tensor = self.head(self.extractor.pooled(self.extractor.maps(pixels, arithmetic)))
        return found


class CombinedHead(nn.Module):
    """The combined model on top of both extractors (figure 3).

    Each feature vector is batch-normalised, "for reducing the influences of possible large magnitude differences"; then
    concatenated; two layers of `hidden` units with dropout; the classes.
    """

    def __init__(self, width: int, architecture: Architecture) -> None:
        super().__init__()
        hidden, dropout = architecture.hidden, architecture.dropout
        self.norm_a, self.norm_b = nn.BatchNorm1d(width), nn.BatchNorm1d(width)
        self.layers = nn.Sequential(
            *(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(hidden, architecture.classes),
        )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Logits (N, C) of penultimate features a and b, (N, F) each."""
        found: Tensor = self.layers(torch.cat([self.norm_a(a), self.norm_b(b)], dim=1))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Of one batch: maps (N, F, h, w) and pooled features (N, F) that the combined model sees, and logits (3, N, C)."""

    maps: tuple[Tensor, Tensor]
    pooled: tuple[Tensor, Tensor]
    logits: Tensor


class Ensemble(nn.Module):
    """Models A, B and combined. `own` are the combined model's extractors where they learned on, empty where frozen."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.a, self.b = (Member(architecture.backbone, architecture.classes) for _ in range(2))
        self.combined = CombinedHead(self.a.extractor.width, architecture)
        count = 2 if architecture.fine_tuned else 0
        self.own = nn.ModuleList(Extractor(architecture.backbone) for _ in range(count))

    def look(self, pixels: Tensor, arithmetic: Arithmetic) -> Look:
        """All three models; two passes through a backbone, four where the combined model has extractors of its own."""
        a, b = (member.extractor.maps(pixels, arithmetic) for member in (self.a, self.b))
        logits_a, logits_b = self.a.head(self.a.extractor.pooled(a)), self.b.head(self.b.extractor.pooled(b))
        if len(self.own):
            own_a, own_b = self.own
            a, b = own_a.maps(pixels, arithmetic), own_b.maps(pixels, arithmetic)  # type: ignore[operator]
        pooled_a, pooled_b = a.mean(dim=(2, 3)), b.mean(dim=(2, 3))
        logits = torch.stack([logits_a, logits_b, self.combined(pooled_a, pooled_b)])
        return Look((a, b), (pooled_a, pooled_b), logits)


def placed(network: Ensemble, arithmetic: Arithmetic) -> Ensemble:
    """On its device, filters laid out as convolutions are quickest with."""
    network.to(arithmetic.device)
    network.to(memory_format=torch.channels_last)
    return network


def _backbone(name: str) -> Any:
    """timm's network without its classifier. Raises `OptionError` for a name that timm does not have."""
    try:
        return timm.create_model(name, pretrained=False, num_classes=0)
    except RuntimeError as error:
        like = ", ".join(timm.list_models(f"*{name[:6]}*")[:8]) or "see timm.list_models()"
        raise OptionError(f"backbone {name!r}: timm has none of that name ({error}); like it: {like}") from None


def _channels(values: Any) -> Tensor:
    return torch.tensor([float(value) for value in values]).view(1, 3, 1, 1)
