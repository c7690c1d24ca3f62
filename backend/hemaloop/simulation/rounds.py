"""The experiment of one seed and strategy: choose, label, train, measure, again and again.

A model depends on seed, round and labelled images alone, so whatever is missing after a kill is made again as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hemaloop import registry
from hemaloop.errors import DatasetError, PluginError
from hemaloop.formats import Examples
from hemaloop.manifest import Manifest, finite
from hemaloop.measuring import detection_report, in_batches
from hemaloop.model_folder import write_model
from hemaloop.plugin import FitReport, Plugin, Progress, Scored
from hemaloop.simulation.folder import START, Choice, Folder, Point
from hemaloop.simulation.images import Images
from hemaloop.simulation.strategies import Candidates, Strategy
from hemaloop.stages import Stage

_SEEDS_APART = 1000
"""Rounds whose trainings have random numbers of their own, before those of the next seed begin."""


@dataclass(frozen=True, slots=True)
class _Trained:
    plugin: Plugin
    report: FitReport
    seconds: float


class Rounds:
    """The steps of the experiment in a folder, on these images; those that are there are not made again.

    between: called before each training, when everything before it is kept; what it raises ends the work there.
    """

    def __init__(self, folder: Folder, images: Images, between: Callable[[], None] | None = None) -> None:
        self.folder = folder
        self._between = between or (lambda: None)
        self.images = images
        self.experiment = folder.experiment()
        self.family = registry.find(self.experiment.family)

    def start(self, seed: int, progress: Progress) -> None:
        """Train and measure the model that every strategy of a seed begins with. `progress` counts trainings."""
        known = self.folder.model(seed).is_dir()
        if known and self.folder.point(seed, START, 0) is not None:
            return
        whole = Stage(progress, 0, 1, 1, f"seed {seed}, start")
        keys = self.images.start(seed, self.experiment.start)
        trained = self._train(self._plugin(seed, 0), keys, Stage(whole, 0, 3, 4))
        write_model(self.folder.model(seed), trained.plugin, Manifest.of_fit(trained.plugin, trained.report))
        self._measure(trained, seed, START, 0, keys, Stage(whole, 3, 4, 4))

    def follow(self, seed: int, strategy: Strategy, rounds: int, progress: Progress) -> None:
        """Every round of a strategy that is not there yet. `progress` counts rounds.

        Raises `DatasetError`, `PluginError` and `Cancelled`; finished steps are kept.
        """
        labelled = self.images.start(seed, self.experiment.start)
        plugin: Plugin | None = None
        for number in range(1, rounds + 1):
            whole = Stage(progress, number - 1, number, rounds, f"seed {seed}, {strategy.name}, round {number}")
            choice = self.folder.choice(seed, strategy.name, number)
            if choice is None:
                if plugin is None and strategy.scores:
                    plugin = self._model(seed, strategy, number - 1, labelled, whole)
                choice = self._choose(plugin, seed, strategy, number, labelled, Stage(whole, 0, 1, 6))
                self.folder.keep(choice)
            labelled = (*labelled, *choice.chosen)
            plugin = None  # one network at a time in memory
            if self.folder.point(seed, strategy.name, number) is None:
                trained = self._train(self._plugin(seed, number, strategy.options), labelled, Stage(whole, 1, 5, 6))
                plugin = self._measure(trained, seed, strategy.name, number, labelled, Stage(whole, 5, 6, 6))
                del trained

    # -- steps

    def _plugin(self, seed: int, number: int, options: Mapping[str, Any] | None = None) -> Plugin:
        chosen = {**self.experiment.options, **(options or {})}
        return self.family(self.experiment.labels, chosen, self.experiment.device, seed * _SEEDS_APART + number)

    def _model(self, seed: int, strategy: Strategy, number: int, labelled: Sequence[str], progress: Progress) -> Plugin:
        """The model of a round that is over: the one that is kept, or made again."""
        plugin = self._plugin(seed, number, strategy.options)
        if number:
            return self._train(plugin, labelled, progress).plugin
        plugin.load(self.folder.model(seed))
        return plugin

    def _train(self, plugin: Plugin, labelled: Sequence[str], progress: Progress) -> _Trained:
        self._between()
        began = time.monotonic()
        train, tune = self.images.train_and_tune(labelled, self.experiment.tune)
        report = plugin.fit(train, tune, progress)
        judged = {item.key for item in self.images.test.items}
        seen = judged & set(report.inherited)
        if seen:
            raise DatasetError(
                f"the starting weights have learned from {len(seen)} of the {len(judged)} test images, so these judge "
                "nothing; start from other weights, such as --option weights=none"
            )
        return _Trained(plugin, report, time.monotonic() - began)

    def _choose(
        self,
        plugin: Plugin | None,
        seed: int,
        strategy: Strategy,
        number: int,
        labelled: Sequence[str],
        progress: Progress,
    ) -> Choice:
        began = time.monotonic()
        keys = self.images.candidates(seed, number, labelled, self.experiment.candidates)
        count = min(self.experiment.batch, len(keys))
        known = labelled if strategy.features else ()  # m images, whose features the rule needs too
        scored: list[Scored] = []
        if plugin is not None and strategy.scores:
            scored = _scored(plugin, self.images.examples((*keys, *known)), progress)
        features = _features(scored, strategy, self.family) if strategy.features else None  # (n + m, F)
        relevances = [one.relevance for one in scored[: len(keys)]]
        candidates = Candidates(
            relevances=np.array(relevances or [0.0] * len(keys), np.float64),
            features=None if features is None else features[: len(keys)],
            labelled=None if features is None else features[len(keys) :],
            count=count,
            seed=seed * _SEEDS_APART + number,
        )
        chosen = tuple(keys[place] for place in strategy.rule(candidates)[:count])
        if len(set(chosen)) != count:
            raise PluginError(f"strategy {strategy.name!r} chose {len(set(chosen))} images, expected {count}")
        seconds = time.monotonic() - began
        return Choice(seed, strategy.name, number, keys, tuple(relevances), chosen, seconds)

    def _measure(
        self,
        trained: _Trained,
        seed: int,
        strategy: str,
        number: int,
        labelled: Sequence[str],
        progress: Progress,
    ) -> Plugin:
        """Keep the figures of a model, and give it back."""
        began = time.monotonic()
        figures = detection_report(trained.plugin, self.images.test, progress, "measuring", coco=False).figures()
        seconds = {"train": trained.seconds, "measure": time.monotonic() - began}
        cells = dict(self.images.cells(labelled))
        self.folder.keep(
            Point(seed, strategy, number, tuple(labelled), cells, finite(figures), trained.report.notes, seconds)
        )
        return trained.plugin


def _scored(plugin: Plugin, examples: Examples, progress: Progress) -> list[Scored]:
    return [one for images in in_batches(examples, progress, "choosing") for one in plugin.score(images)]


def _features(scored: Sequence[Scored], strategy: Strategy, family: type[Plugin]) -> Any:
    found = [one.features for one in scored if one.features is not None]
    if len(found) < len(scored):
        raise PluginError(
            f"strategy {strategy.name!r} needs what images look like to the model, and family {family.family!r} gives "
            "no features; choose another strategy"
        )
    return np.stack(found)
