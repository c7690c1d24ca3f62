"""A long work's progress, made of the progress of its stages."""

from __future__ import annotations

from collections.abc import Mapping

from hemaloop.plugin import Progress


class Stage:
    """A `Progress` that is the part from `begin` to `end` of another one of `total` steps, under a title."""

    def __init__(self, progress: Progress, begin: float, end: float, total: float, title: str = "") -> None:
        self._progress = progress
        self._begin = begin
        self._span = end - begin
        self._total = total
        self._title = title

    def report(self, done: float, total: float, message: str, figures: Mapping[str, float] | None = None) -> None:
        """Pass it on."""
        share = done / total if total else 0.0
        text = f"{self._title}: {message}" if self._title else message
        self._progress.report(self._begin + self._span * share, self._total, text, figures)
