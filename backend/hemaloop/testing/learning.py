"""Laws of fit."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hemaloop.errors import Cancelled, DatasetError
from hemaloop.plugin import Silent
from hemaloop.testing.subject import LawBroken, Subject, demand, same


def _global_random_state() -> tuple[object, ...]:
    torch = sys.modules.get("torch")
    state = np.random.get_state(legacy=False)
    return random.getstate(), str(state), torch.get_rng_state().tolist() if torch else None


def check_global_random_state_is_untouched(subject: Subject) -> None:
    """Predicting and fitting leave the random state of Python, numpy and torch as it was."""
    _ = subject.fitted  # imports what the family needs before the state is read
    before = _global_random_state()
    subject.fitted.score(subject.images)
    demand(before == _global_random_state(), "predicting changed global random state: use a generator of your own")
    subject.fit()
    demand(before == _global_random_state(), "fitting changed global random state: use a generator, or fork it")


def check_no_example_is_an_error(subject: Subject) -> None:
    """Fitting on nothing raises DatasetError."""
    try:
        subject.build().fit([], [], Silent())
    except DatasetError:
        return
    raise LawBroken("fit([]) must raise DatasetError that says how many examples are needed")


class _CancelAfter:
    """A `Progress` that asks to stop at the given report."""

    def __init__(self, reports: int) -> None:
        self.left = reports

    def report(self, done: float, total: float, message: str, figures: Mapping[str, float] | None = None) -> None:
        """Raises `Cancelled` once its reports are used up."""
        self.left -= 1
        if self.left < 0:
            raise Cancelled(f"asked to stop at {done:g} of {total:g}: {message} {figures or ''}")


def check_cancel_leaves_it_usable(subject: Subject) -> None:
    """A cancelled fit raises Cancelled and leaves the model that was there before."""
    with tempfile.TemporaryDirectory() as name:
        subject.fitted.save(Path(name))
        plugin = subject.build()
        plugin.load(Path(name))
    expected = plugin.predict(subject.images[:1])[0]
    try:
        plugin.fit(subject.examples, subject.examples[:1], _CancelAfter(1))
    except Cancelled:
        demand(
            plugin.fitted and same(plugin.predict(subject.images[:1])[0], expected),
            "a cancelled fit must leave the model as it was: train a copy, swap it in at the end",
        )
        return
    raise LawBroken("fit ended although Progress.report raised Cancelled: report often, and let Cancelled pass")


def check_same_seed_same_model(subject: Subject) -> None:
    """Two fits with one seed on one data set predict the same, so an earlier fit leaves no trace."""
    again = subject.fit()
    again.fit(subject.examples, subject.examples[:2], Silent())
    pairs = zip(subject.fitted.predict(subject.images), again.predict(subject.images), strict=True)
    demand(
        all(same(a, b, tolerance=1e-3) for a, b in pairs),
        "fitting again with the same seed gave another model: start from the starting weights and seed everything",
    )
