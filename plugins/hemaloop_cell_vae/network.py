"""Encoder, decoder, the radius' sub-network and the classifier: sections 3.2 and 3.4 of the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18

from hemaloop.networks.arithmetic import Arithmetic
from hemaloop_cell_vae.options import STRIDE

WIDTHS = (256, 128, 64, 32)
"""Maps before each of the decoder's four layers; the last one gives three colours."""
LOG_VARIANCES = (-12.0, 6.0)
"""Between which the encoder's logarithms of variances are kept."""
ENCODED = 512
"""Features of ResNet-18's last map."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What must be known to build an auto-encoder again. seen: side of what the encoder is shown, px."""

    seen: int
    latent: int
    variational: bool
    learns_radius: bool = False


class Decoder(nn.Module):
    """Four transposed convolutions, each after a bilinear enlargement, ReLU between them and a sigmoid at the end."""

    def __init__(self, latent: int, side: int) -> None:
        super().__init__()
        self.start = side // STRIDE
        self.spread = nn.Linear(latent, WIDTHS[0] * self.start**2)
        outs = (*WIDTHS[1:], 3)
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 3, padding=1) for before, after in zip(WIDTHS, outs, strict=True)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Images (N, 3, S, S) in [0, 1] of latents (N, D)."""
        maps = self.spread(z).view(-1, WIDTHS[0], self.start, self.start)
        maps = maps.contiguous(memory_format=torch.channels_last)
        for place, layer in enumerate(self.layers):
            enlarged = F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)
            maps = layer(F.relu(enlarged) if place else enlarged)
        return torch.sigmoid(maps.float())


class RadiusNet(nn.Module):
    """Section 3.2: "two fully connected layers, which convert the representation into two scalars"."""

    def __init__(self, latent: int, half: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(latent, 64), nn.ReLU(), nn.Linear(64, 2))
        self.reach = half

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """μ and σ of each image's radius, px, both above 0, (N,); with untrained weights about 0.7 of half a patch."""
        mean, deviation = F.softplus(self.layers(z)).unbind(dim=1)
        return mean * self.reach, deviation * self.reach / 4


class AutoEncoder(nn.Module):
    """ResNet-18 as an encoder into a Gaussian (VAE) or a point (RAE), and the decoder."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        backbone: Any = resnet18(weights=None)
        backbone.fc = nn.Identity()
        self.encoder: nn.Module = backbone
        latent = architecture.latent
        self.mean = nn.Linear(ENCODED, latent)
        self.log_variance = nn.Linear(ENCODED, latent) if architecture.variational else None
        self.decoder = Decoder(latent, architecture.seen)
        self.radius = RadiusNet(latent, architecture.seen / 2) if architecture.learns_radius else None

    def encode(self, pixels: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor | None]:
        """Mean and logarithm of the variance (N, D) of each image's latent, the latter None of an RAE.

        pixels: (N, 3, S, S), of [0, 1], noise may reach beyond.
        """
        shown = (pixels * 2 - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(arithmetic.device.type, arithmetic.dtype, enabled=arithmetic.reduced):
            features: Tensor = self.encoder(shown)
        features = features.float()
        mean = self.mean(features)
        return mean, None if self.log_variance is None else self.log_variance(features).clamp(*LOG_VARIANCES)

    def decode(self, z: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Images (N, 3, S, S), float32 in [0, 1]."""
        with torch.autocast(arithmetic.device.type, arithmetic.dtype, enabled=arithmetic.reduced):
            found: Tensor = self.decoder(z)
        return found


def sampled(mean: Tensor, log_variance: Tensor | None, generator: torch.Generator) -> Tensor:
    """z = μ + σ ε, ε ~ N(0, 1): the reparametrisation of Kingma and Welling 2013. Of an RAE, μ itself."""
    if log_variance is None:
        return mean
    return mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=generator)


class Classifier(nn.Module):
    """The shallow classifier: three fully connected layers with ReLU between, on latents of mean 0 and deviation 1.

    centre, scale: (D,), of the labelled latents.
    """

    def __init__(self, latent: int, hidden: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.centre: Tensor
        self.scale: Tensor
        self.register_buffer("centre", torch.zeros(latent))
        self.register_buffer("scale", torch.ones(latent))
        middle = max(2, hidden // 2)
        self.layers = nn.Sequential(
            *(nn.Dropout(dropout), nn.Linear(latent, hidden), nn.ReLU()),
            *(nn.Dropout(dropout), nn.Linear(hidden, middle), nn.ReLU()),
            nn.Linear(middle, classes),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Logits (N, C) of latents (N, D)."""
        found: Tensor = self.layers((latents - self.centre) / self.scale)
        return found


def placed(network: AutoEncoder, arithmetic: Arithmetic) -> AutoEncoder:
    """On its device, filters laid out as convolutions are quickest with."""
    network.to(arithmetic.device)
    network.to(memory_format=torch.channels_last)
    return network
