"""The configurations of section 3.4: six methods with their parameters, and the two baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _grid() -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {
        "VAE-256": {"suppression": "none"},
        "RAE-1024": {"suppression": "none", "representation": "rae", "latent": 1024},
    }
    found |= {f"noise {sigma}": {"suppression": "noise", "noise": sigma} for sigma in (50, 100, 200)}
    found |= {f"fixed {radius}": {"suppression": "fixed", "radius": radius} for radius in (50, 90, 126)}
    found |= {f"sampled {radius}": {"suppression": "sampled", "radius": radius} for radius in (50, 90, 126)}
    found |= {
        "learned": {"suppression": "learned", "radius_penalty": 0.0, "mask_mean": "pixels"},
        "learned penalty": {"suppression": "learned", "radius_penalty": 0.1, "mask_mean": "pixels"},
    }
    for name, side in (("small", 88), ("medium", 172)):
        found |= {
            f"{name} {offset}": {"suppression": "crop", "crop": side, "crop_offset": offset} for offset in (0, 5, 15)
        }
    return {name: {"agreement": 0.0, **options} for name, options in found.items()}


GRID: Mapping[str, Mapping[str, Any]] = _grid()
"""Options by name, as in figures 2 and 3; lengths for patches of 256 px."""
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "noise 100 clean": {**GRID["noise 100"], "noise_target": "clean"},
    "sampled 50 linear": {**GRID["sampled 50"], "mask": "linear"},
    "sampled 50 pixels": {**GRID["sampled 50"], "mask_mean": "pixels"},
    "sampled 50 sample": {**GRID["sampled 50"], "classify": "sample"},
    "sampled 50 agreement": {"suppression": "sampled", "radius": 50},
}
"""Where the paper can be read in two ways, the other reading; and what the family adds, its default."""
QUICK = (
    "VAE-256",
    "RAE-1024",
    "noise 100",
    "fixed 50",
    "sampled 50",
    "sampled 90",
    "learned penalty",
    "medium 5",
    "sampled 50 agreement",
)
"""The methods that matter, one of each with the parameter that is best in the paper, and the family's default."""
EVERYTHING: Mapping[str, Mapping[str, Any]] = {**GRID, **VARIANTS}
