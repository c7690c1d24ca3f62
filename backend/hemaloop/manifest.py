"""What is written down of a trained model, and of what a project shows."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hemaloop.errors import StoreError
from hemaloop.plugin import FitReport, Plugin

_Record = TypeVar("_Record", "Manifest", "Published")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an artifact is and what it has seen.

    train, tune, gate: image keys. inherited: keys that the starting weights had learned from. annotations: short
    hashes of the annotations' ids and dates. fingerprint: of the data and the binding together. objects: labelled cells
    of train and tune by label, empty where nobody counted them. figures: measured on the gate. verdict: why it was
    promoted or kept. files: sha256 by name.
    """

    family: str
    plugin_version: str
    labels: tuple[str, ...]
    options: Mapping[str, Any]
    seed: int = 0
    version: str = ""
    created: float = 0.0
    train: tuple[str, ...] = ()
    tune: tuple[str, ...] = ()
    gate: tuple[str, ...] = ()
    inherited: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    fingerprint: str = ""
    objects: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    incumbent: str = ""
    incumbent_figures: Mapping[str, float] = field(default_factory=dict)
    promoted: bool = False
    verdict: str = ""
    epochs: tuple[Mapping[str, float], ...] = ()
    fit_figures: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def seen(self) -> frozenset[str]:
        """Keys of the images that the model, or the weights it began with, learned from or was tuned on."""
        return frozenset(self.train) | frozenset(self.tune) | frozenset(self.inherited)

    @classmethod
    def of_fit(cls, plugin: Plugin, report: FitReport, **more: Any) -> Manifest:
        """The manifest of a model that was just trained; `more` are fields that the fit does not know of."""
        return cls(
            family=plugin.family,
            plugin_version=plugin.version,
            labels=plugin.labels,
            options=plugin.options.model_dump(mode="json"),
            seed=plugin.seed,
            created=time.time(),
            inherited=report.inherited,
            epochs=tuple(finite(epoch) for epoch in report.epochs),
            fit_figures=finite(report.figures),
            seconds=report.seconds,
            **{"notes": report.notes, **more},
        )


@dataclass(frozen=True, slots=True)
class Published:
    """What annotators see: the version of the project, and of each of its controls.

    created: when, in seconds since the epoch. reason: why, shown to people.
    """

    version: str
    parts: Mapping[str, str]
    created: float = 0.0
    reason: str = ""


def finite(figures: Mapping[str, float]) -> dict[str, float]:
    """JSON has no NaN; a figure that is none is left out."""
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}


def from_json(kind: type[_Record], found: Mapping[str, Any], where: str) -> _Record:
    """A record as JSON holds it. Raises `StoreError` that names where it was found."""
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in found.items()
        if name in kind.__dataclass_fields__
    }
    try:
        return kind(**known)
    except TypeError as error:
        raise StoreError(f"{where}: {error}; it was not written by hemaloop") from None
