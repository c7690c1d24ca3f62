"""Patches through an encoder that has learned: one vector a patch, whatever else is in the batch."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hemaloop.networks.arithmetic import Arithmetic, fold_normalisation
from hemaloop.networks.pictures import checked_images
from hemaloop.plugin import Image
from hemaloop_cell_vae.network import LOG_VARIANCES, AutoEncoder, placed
from hemaloop_cell_vae.options import CellVAEOptions
from hemaloop_cell_vae.patches import as_pixels, square
from hemaloop_cell_vae.representation import as_encoded

AT_ONCE = 32
"""Patches in one pass."""


class Embedder:
    """The encoder as it is used: frozen, its normalisations folded into the convolutions. Thread-safe."""

    def __init__(self, network: AutoEncoder, options: CellVAEOptions, arithmetic: Arithmetic) -> None:
        used = copy.deepcopy(network).eval().requires_grad_(False)
        fold_normalisation(used.encoder)
        self._network = placed(used, arithmetic)
        self._options = options
        self.arithmetic = arithmetic

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(N, D). Raises `ImageError` naming the one that is not an image."""
        checked = checked_images(images)
        found = np.zeros((len(checked), self._options.latent), np.float32)
        for start in range(0, len(checked), AT_ONCE):
            part = checked[start : start + AT_ONCE]
            pixels = torch.cat([as_pixels(square(image, self._options.image_size)) for image in part])
            mean, log_variance = self.encode(pixels)
            found[start : start + len(part)] = self._kept(mean, log_variance, part)
        return found

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Mean and logarithm of variance (N, D) of patches float32 (N, 3, S, S) in [0, 1], over the views."""
        shown = as_encoded(pixels, self._options)
        means, variances = [], []
        for view in range(self._options.views):
            turned = torch.rot90(shown.flip(-1) if view >= 4 else shown, view % 4, dims=(-2, -1))
            mean, log_variance = self._network.encode(turned.to(self.arithmetic.device), self.arithmetic)
            means.append(mean)
            if log_variance is not None:
                variances.append(log_variance)
        logs = torch.stack(variances).mean(dim=0).clamp(*LOG_VARIANCES).cpu().numpy() if variances else None
        return torch.stack(means).mean(dim=0).cpu().numpy(), logs

    def _kept(
        self, mean: NDArray[np.float32], log_variance: NDArray[np.float32] | None, images: Sequence[Image]
    ) -> NDArray[np.float32]:
        """The mean, or a sample drawn from each image's content."""
        if log_variance is None or self._options.classify == "mean":
            return mean
        drawn = np.stack([_generator(image).standard_normal(mean.shape[1]) for image in images])
        found: NDArray[np.float32] = (mean + np.exp(log_variance / 2) * drawn).astype(np.float32)
        return found

    @torch.no_grad()
    def reconstruct(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Patches (N, S, S, 3) of latents (N, D)."""
        z = torch.from_numpy(np.ascontiguousarray(latents, np.float32)).to(self.arithmetic.device)
        pixels = self._network.decode(z, self.arithmetic).cpu()
        found: NDArray[np.uint8] = (pixels * 255).round().byte().permute(0, 2, 3, 1).numpy()
        return found


def _generator(image: Image) -> np.random.Generator:
    digest = hashlib.sha256(str(image.shape).encode() + image.tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
