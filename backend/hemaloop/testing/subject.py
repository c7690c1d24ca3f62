"""A model family under examination: small smears with truth, and the fitted models that the laws share."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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


def arrays(prediction: Prediction) -> Mapping[str, NDArray[Any]]:
    """The arrays of a prediction by name."""
    if isinstance(prediction, Detections):
        return {"boxes": prediction.boxes, "labels": prediction.labels, "scores": prediction.scores}
    if isinstance(prediction, ClassMap):
        centres = {} if prediction.centres is None else {"centres": prediction.centres}
        return {"labels": prediction.labels, **centres}
    return {"probabilities": prediction.probabilities}


def same(first: Prediction, second: Prediction, tolerance: float = 1e-5) -> bool:
    """Whether two predictions agree: same variant and shapes, every number within `tolerance` of the largest one."""
    return (
        type(first) is type(second)
        and arrays(first).keys() == arrays(second).keys()
        and all(
            a.shape == b.shape
            and np.allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(a).max(initial=0))))
            for a, b in zip(arrays(first).values(), arrays(second).values(), strict=True)
        )
    )


def random_state() -> tuple[object, ...]:
    """The global random state of Python, numpy and, where it is imported, torch."""
    torch = sys.modules.get("torch")
    state = np.random.get_state(legacy=False)
    return random.getstate(), str(state), torch.get_rng_state().tolist() if torch else None


def _stir() -> None:
    """Draw once, so that a family which seeds the process does not find the state that it left there before."""
    random.random()
    np.random.random_sample()
    if torch := sys.modules.get("torch"):
        torch.rand(1)


@cache
def _smears() -> tuple[Smear, ...]:
    return tuple(render_smear(seed=seed, width=WIDTH, height=HEIGHT) for seed in range(4))


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fit that was watched. examples: as they are afterwards. undisturbed: global random state is as it was."""

    plugin: Plugin
    report: object
    examples: Sequence[Example]
    undisturbed: bool


class Subject:
    """Builds what the laws need of one family; a shared model is made once and never changed by a law."""

    def __init__(self, plugin: type[Plugin], labels: Sequence[str] | None = None) -> None:
        """labels: to examine it with; as many as its variant usually has if not given."""
        self.plugin = plugin
        self.labels = tuple(labels or self._default_labels())

    def _default_labels(self) -> tuple[str, ...]:
        usual: Mapping[type, tuple[str, ...]] = {ClassMap: ("RBC", "Overlap"), Classification: ("many", "few")}
        return usual.get(self.plugin.produces, ("RBC", "WBC", "Platelets"))

    def build(self, seed: int = 0, labels: Sequence[str] | None = None, **options: Any) -> Plugin:
        """A fresh plugin that is not fitted, with the family's `quick_options` and `options` over them."""
        return self.plugin(labels or self.labels, {**self.plugin.quick_options, **options}, device="cpu", seed=seed)

    @property
    def smears(self) -> tuple[Smear, ...]:
        """Four synthetic smears with exact truth, the same for every family."""
        return _smears()

    @cached_property
    def images(self) -> list[Image]:
        """Pictures of the smears; copies, so that a family that writes into one harms only itself."""
        return [smear.image.copy() for smear in self.smears]

    def examples(self) -> list[Example]:
        """The smears as training examples of the family's own variant; new copies each time."""
        return [
            Example(smear.image.copy(), self._truth(smear, index), f"smear-{index}")
            for index, smear in enumerate(self.smears)
        ]

    def one_label(self) -> list[Example]:
        """Two of the examples, as if there were only one label."""
        found = []
        for example in self.examples()[:2]:
            truth: Prediction = Classification(np.ones(1, np.float32))
            if isinstance(example.truth, Detections):
                truth = replace(example.truth, labels=np.zeros_like(example.truth.labels))
            elif isinstance(example.truth, ClassMap):
                truth = ClassMap(np.minimum(example.truth.labels, 1))
            found.append(replace(example, truth=truth))
        return found

    def _truth(self, smear: Smear, index: int) -> Prediction:
        if self.plugin.produces is ClassMap:
            return ClassMap(np.minimum(smear.masks, len(self.labels)).astype(np.uint8))
        if self.plugin.produces is Classification:
            return Classification(np.eye(len(self.labels), dtype=np.float32)[index % len(self.labels)])
        found = smear.detections
        return replace(found, boxes=found.boxes.copy(), labels=np.minimum(found.labels, len(self.labels) - 1))

    def _watched(self) -> Fit:
        examples, plugin = self.examples(), self.build()
        _stir()
        before = random_state()
        report = plugin.fit(examples, examples[:2], Silent())
        return Fit(plugin, report, examples, before == random_state())

    @cached_property
    def first(self) -> Fit:
        """A fit on the four smears."""
        return self._watched()

    @cached_property
    def second(self) -> Fit:
        """Another one of a fresh plugin, with the same seed and data."""
        _ = self.first  # imports what the family needs, before the random state is read
        return self._watched()

    @property
    def fitted(self) -> Plugin:
        """The model that the laws share; laws only read from it."""
        return self.first.plugin
