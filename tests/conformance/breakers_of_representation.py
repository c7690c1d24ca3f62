"""Families in two parts that break one law of `Representing`, and no other; and the one that keeps them all."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import stub_plugin

sys.path.append(str(stub_plugin.DISTRIBUTION))

from hemaloop_stub.parts import Parts

from hemaloop.errors import DatasetError
from hemaloop.plugin import Embedded, Example, FitReport, Image, Progress, Scored


class DoubleVectors(Parts):
    """Gives vectors in double precision."""

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        return super().embed(images).astype(np.float64)  # type: ignore[return-value]


class OtherAnswer(Parts):
    """Scores vectors with another relevance than images."""

    def score(self, images: Sequence[Image]) -> list[Scored]:
        return [replace(one, relevance=one.relevance + 1) for one in super().score(images)]


class Drifting(Parts):
    """Moves its representation with each head."""

    def fit_head(self, train: Sequence[Embedded], tune: Sequence[Embedded], progress: Progress) -> FitReport:
        report = super().fit_head(train, tune, progress)
        self._centre = self._learned() + np.float32(0.01)
        return report


class HeadLost(Parts):
    """Forgets its head before it has another."""

    def fit_head(self, train: Sequence[Embedded], tune: Sequence[Embedded], progress: Progress) -> FitReport:
        self._head = None
        return super().fit_head(train, tune, progress)


class HeadOfNothing(Parts):
    """Accepts no example at all."""

    def fit_head(self, train: Sequence[Embedded], tune: Sequence[Embedded], progress: Progress) -> FitReport:
        try:
            return super().fit_head(train, tune, progress)
        except DatasetError:
            return FitReport((), {}, (), 0.0)


class OneName(Parts):
    """Gives every representation the same name."""

    @property
    def representation(self) -> str:
        self._learned()
        return "mine"

    def learn(self, images: Sequence[Image], progress: Progress) -> FitReport:
        return super().learn(images[:1], progress)

    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        other = Parts(self.labels, self.options, self.device, self.seed)
        report = other.fit(train, tune, progress)
        self._centre, self._head = other._centre, other._head
        return report


class OwnLabelsOnly(Parts):
    """Takes a representation from an artifact of its own labels alone, keeping the head."""

    def load_representation(self, directory: Path) -> None:
        super().load_representation(directory)
        self._head = np.zeros((1, len(self._learned())), np.float32), np.eye(len(self.labels), dtype=np.float32)[:1]
