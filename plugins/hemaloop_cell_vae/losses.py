"""What the auto-encoders minimise: section 3.4 of the paper."""

from __future__ import annotations

import torch
from torch import Tensor


def pixel_l1(first: Tensor, second: Tensor) -> Tensor:
    """L(x, y): |I₁ - I₂| of each pixel, mean over the colours. (N, 3, S, S) → (N, S, S)."""
    return (first - second).abs().mean(dim=1)


def reconstruction(losses: Tensor, weights: Tensor | None, mean_of: str) -> Tensor:
    """One number of pixel losses (N, S, S) and weights (S, S) or (N, S, S), none if None.

    mean_of: "pixels" (equation 3 and its mean) or "weights" (Σ w L / Σ w).
    """
    if weights is None:
        return losses.mean()
    weighted = losses * weights
    if mean_of == "pixels":
        return weighted.mean()
    return weighted.sum() / weights.expand_as(losses).sum().clamp(min=torch.finfo(losses.dtype).tiny)


def divergence(mean: Tensor, log_variance: Tensor, reduction: str) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) of the variational bound: ½ (μ² + σ² - 1 - ln σ²), mean over the batch.

    mean, log_variance: (N, D). reduction: "sum" or "mean" over the D dimensions.
    """
    each = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)  # (N, D)
    return each.sum(dim=1).mean() if reduction == "sum" else each.mean()
