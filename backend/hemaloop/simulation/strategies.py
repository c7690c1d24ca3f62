"""Which of the candidates is labelled first: strategies by name.

A strategy is a score of the model family, chosen by its option `relevance`, and a rule that turns scores and features
into an order. New ones are one line in `STRATEGIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemaloop import selection
from hemaloop.errors import OptionError, PluginError
from hemaloop.plugin import Plugin

OPTION = "relevance"
"""The option by which a family is told what its score is."""
RELEVANCES = ("paper", "paper_per_cell", "doubt", "entropy", "margin", "bald", "bald_per_cell")
RANDOM = "random"
"""The strategy that the others are compared with."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What a rule knows of n images, which come in an order drawn by chance.

    relevances: float64 (n,), larger is more worth labelling. features: float32 (n, F) of the candidates,
    labelled: float32 (m, F) of what has been labelled; None where the rule asks for none. count: how many will be
    labelled. seed: for what a rule draws itself.
    """

    relevances: NDArray[np.float64]
    features: NDArray[np.float32] | None
    labelled: NDArray[np.float32] | None
    count: int
    seed: int


Rule = Callable[[Candidates], NDArray[np.int64]]
"""At least `count` positions of candidates (or all there are), the first to be labelled first."""


def as_drawn(candidates: Candidates) -> NDArray[np.int64]:
    """The order in which they were drawn: chance."""
    return np.arange(len(candidates.relevances), dtype=np.int64)


def most_relevant(candidates: Candidates) -> NDArray[np.int64]:
    """By falling relevance; equal ones as they were drawn."""
    return np.argsort(-candidates.relevances, kind="stable").astype(np.int64)


def spread_out(candidates: Candidates) -> NDArray[np.int64]:
    """Relevant, and unlike one another and what has been labelled: `selection.spread`."""
    features = _features(candidates)
    return selection.spread(candidates.relevances, features, candidates.labelled, candidates.count)


def most_typical(candidates: Candidates) -> NDArray[np.int64]:
    """Typical of the candidates and unlike what has been labelled, whatever the model is sure of."""
    return selection.typical(_features(candidates), candidates.count, candidates.labelled, candidates.seed)


def _features(candidates: Candidates) -> NDArray[np.float32]:
    if candidates.features is None:
        raise PluginError("a rule that needs features was given none")
    return candidates.features


@dataclass(frozen=True, slots=True)
class Strategy:
    """A score and a rule. relevance: value of the family's option `relevance`; None takes the score it has.

    scores: whether the candidates must be scored. features: whether the rule needs those of candidates and labelled
    images.
    """

    name: str
    idea: str
    rule: Rule
    relevance: str | None = None
    scores: bool = True
    features: bool = False

    @property
    def options(self) -> Mapping[str, Any]:
        """What the family is to be told."""
        return {} if self.relevance is None else {OPTION: self.relevance}


_PLAIN = (
    Strategy(RANDOM, "random images", as_drawn, scores=False),
    Strategy("own", "the score that the family's options name", most_relevant),
    Strategy("spread", "the paper's relevance, spread over the pool", spread_out, "paper", features=True),
    Strategy("typical", "typical images, unlike those labelled", most_typical, features=True),
)
_SCORED = tuple(Strategy(name, f"relevance {name}", most_relevant, name) for name in RELEVANCES)
_SPREAD = tuple(
    Strategy(f"spread_{name}", f"relevance {name}, spread over the pool", spread_out, name, features=True)
    for name in RELEVANCES
    if name != "paper"
)
STRATEGIES: Mapping[str, Strategy] = {one.name: one for one in (*_PLAIN, *_SCORED, *_SPREAD)}


def strategies_of(names: Sequence[str], family: type[Plugin], options: Mapping[str, Any]) -> tuple[Strategy, ...]:
    """Strategies by name, each once, for a family with these options.

    Raises `OptionError` for an unknown name, and for a score that the family does not have with these options.
    """
    unknown = [name for name in names if name not in STRATEGIES]
    if unknown or not names:
        raise OptionError(f"strategies: found {', '.join(unknown) or 'none'}, expected some of {', '.join(STRATEGIES)}")
    found = tuple(STRATEGIES[name] for name in dict.fromkeys(names))
    for strategy in found:
        if strategy.relevance is not None and OPTION not in family.Options.model_fields:
            raise OptionError(
                f"strategy {strategy.name!r}: model family {family.family!r} has no option {OPTION!r} to choose a "
                f"score by; it can run {', '.join(one.name for one in STRATEGIES.values() if one.relevance is None)}"
            )
        try:
            family.parse_options({**options, **strategy.options})
        except OptionError as error:
            raise OptionError(f"strategy {strategy.name!r}: {error}") from None
    return found
