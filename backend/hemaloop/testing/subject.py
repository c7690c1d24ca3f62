"""A model family under examination: small smears with truth, and one fitted model that the laws share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemaloop.plugin import Classification, ClassMap, Detections, Example, Image, Plugin, Prediction, Silent
from hemaloop.synthetic import Smear, render_smear

WIDTH, HEIGHT = 160, 128
"""Of the smears that the laws look at, px: a few cells each, quick to learn from."""


class LawBroken(AssertionError):
    """A family breaks a law of the contract; the message says how to mend it."""


def demand(holds: bool, remedy: str) -> None:
    """Raise `LawBroken` with the remedy unless it holds."""
    if not holds:
        raise LawBroken(remedy)


def _arrays(prediction: Prediction) -> list[NDArray[Any]]:
    if isinstance(prediction, Detections):
        return [prediction.boxes, prediction.labels, prediction.scores]
    return [prediction.labels if isinstance(prediction, ClassMap) else prediction.probabilities]


def same(first: Prediction, second: Prediction, tolerance: float = 1e-5) -> bool:
    """Whether two predictions agree: same shapes, every number within `tolerance` of the largest one."""
    return all(
        a.shape == b.shape
        and np.allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(a).max(initial=0))))
        for a, b in zip(_arrays(first), _arrays(second), strict=True)
    )


@cache
def _smears() -> tuple[Smear, ...]:
    return tuple(render_smear(seed=seed, width=WIDTH, height=HEIGHT) for seed in range(4))


class Subject:
    """Builds what the laws need of one family; the fitted model is made once and never changed by a law."""

    def __init__(self, plugin: type[Plugin], labels: Sequence[str] | None = None) -> None:
        self.plugin = plugin
        self.labels = tuple(labels or self._default_labels())

    def _default_labels(self) -> tuple[str, ...]:
        if self.plugin.produces is Detections:
            return ("RBC", "WBC", "Platelets")
        return ("RBC", "Overlap") if self.plugin.produces is ClassMap else ("many", "few")

    def build(self, seed: int = 0) -> Plugin:
        """A fresh plugin that is not fitted."""
        return self.plugin(self.labels, self.plugin.quick_options, device="cpu", seed=seed)

    def fit(self, seed: int = 0) -> Plugin:
        """A fresh plugin, fitted on the four smears."""
        plugin = self.build(seed)
        plugin.fit(self.examples, self.examples[:2], Silent())
        return plugin

    @property
    def smears(self) -> tuple[Smear, ...]:
        """Four synthetic smears with exact truth, the same for every family."""
        return _smears()

    @cached_property
    def images(self) -> list[Image]:
        """Pictures of the smears; copies, so that a family that writes into one harms only itself."""
        return [smear.image.copy() for smear in self.smears]

    @cached_property
    def examples(self) -> list[Example]:
        """The smears as training examples of the family's own variant."""
        return [
            Example(smear.image, self._truth(smear, index), f"smear-{index}") for index, smear in enumerate(self.smears)
        ]

    def _truth(self, smear: Smear, index: int) -> Prediction:
        if self.plugin.produces is Detections:
            return smear.detections
        if self.plugin.produces is ClassMap:
            return ClassMap(smear.masks)
        return Classification(np.eye(len(self.labels), dtype=np.float32)[index % len(self.labels)])

    @cached_property
    def fitted(self) -> Plugin:
        """The model that the laws share; laws only read from it."""
        return self.fit()


def check_plugin(plugin: type[Plugin], labels: Sequence[str] | None = None) -> list[str]:
    """Run every law; the messages of those that are broken, empty where all hold."""
    from hemaloop.testing.laws import LAWS

    subject = Subject(plugin, labels)
    broken = []
    for law in LAWS:
        try:
            law(subject)
        except LawBroken as error:
            broken.append(f"{law.__name__}: {error}")
    return broken
