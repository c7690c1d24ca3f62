"""Pictures of single cells for tests: a dark cell on a bright smear with red cells, or a bright one on black."""

from __future__ import annotations

import numpy as np

from hemaloop.plugin import Classification, Example, Image

LABELS = ("ALL", "HEM")


def _disk(side: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(columns - x, rows - y) <= radius


def on_smear(label: int, seed: int, side: int = 96) -> Image:
    """A white cell in the middle of red ones; of ALL (0) it is violet, of HEM (1) blue and smaller."""
    rng = np.random.default_rng((seed, label))
    image = np.full((side, side, 3), (250, 235, 215), np.float64)
    for _ in range(7):
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.36, 0.5) * side
        at = side / 2 + far * np.cos(angle), side / 2 + far * np.sin(angle)
        image[_disk(side, *at, 0.11 * side)] = (215, 165, 155)
    middle = side / 2 + rng.uniform(-0.03, 0.03, 2) * side
    radius = (0.2 if label == 0 else 0.15) * side * rng.uniform(0.95, 1.05)
    image[_disk(side, *middle, radius)] = (95, 30, 120) if label == 0 else (40, 50, 130)
    noise = rng.normal(0, 4, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def on_black(radius: float = 20, at: tuple[float, float] = (48, 48), side: int = 96) -> Image:
    """A segmented cell as in C-NMC: violet on black."""
    image = np.zeros((side, side, 3), np.uint8)
    image[_disk(side, *at, radius)] = (150, 80, 170)
    return image


def truth(label: int, classes: int = 2) -> Classification:
    """1 for a class."""
    return Classification(np.eye(classes, dtype=np.float32)[label])


def examples(count: int, first: int = 0) -> list[Example]:
    """Twice as many of ALL as of HEM."""
    labels = [0 if index % 3 else 1 for index in range(count)]
    return [
        Example(on_smear(label, first + index), truth(label), f"cell {first + index}")
        for index, label in enumerate(labels)
    ]
