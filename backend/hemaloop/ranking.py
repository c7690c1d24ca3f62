"""What each task of a pool is told to Label Studio: by its own relevance, by the pool as a whole, or by lot.

scored tasks ─▶ relevance   as the model family gave it                       the default
             ├▶ spread      dealt out anew, so that like images lie apart     model_order="spread"
             └▶ typical      typical and diverse images first                 nothing trained yet
gate images  ─▶ a drawn place among these, whatever the model finds of them
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hemaloop.cold_start import typical_first
from hemaloop.labelconfig import LabelConfig
from hemaloop.pool import at_quantile, gate_place, quantiles
from hemaloop.projects import LiveModel
from hemaloop.results import score_for_label_studio
from hemaloop.selection import spread, spread_relevances

Order = Literal["relevance", "spread", "typical"]

HEAD = 1000
"""Images that are spread; who has labelled as many has a new model and a new order."""


def order_of(config: LabelConfig, model: LiveModel) -> Order:
    """The order that a project's images come in."""
    return "typical" if model.blank else "spread" if config.spreads else "relevance"


def rank(
    scored: Sequence[dict[str, Any]], order: Order, version: str, distribution: Sequence[float] = (), head: int = HEAD
) -> tuple[list[float], list[str]]:
    """Set the `score` of each scored task. Returns the distribution of the pool's relevances, and remarks for people.

    scored: tasks as `priorities.score` gives them. Those that are `labelled` already only keep others away.
    distribution: of the pool that these tasks join; empty where they are the pool. head: images that are spread.
    """
    known = [one for one in scored if one["error"] is None]
    pool = [one for one in known if not one["gate"] and not one["labelled"]]
    labelled = [one for one in known if not one["gate"] and one["labelled"]]
    own = np.array([float(one["relevance"]) for one in pool])
    relevances, notes = _relevances(own, pool, labelled, order, head)
    for one, relevance in zip(pool, relevances.tolist(), strict=True):
        one["score"] = score_for_label_studio(relevance)
    found = list(distribution) or quantiles(relevances.tolist())
    for one in known:
        if one["gate"] and not one["labelled"]:
            one["score"] = score_for_label_studio(at_quantile(found, gate_place(one["key"], version)))
    return found, notes


def _relevances(
    own: NDArray[np.float64],
    pool: Sequence[Mapping[str, Any]],
    labelled: Sequence[Mapping[str, Any]],
    order: Order,
    head: int,
) -> tuple[NDArray[np.float64], list[str]]:
    """The relevance that each task of the pool, (n,), is given for its order, and remarks."""
    if order == "relevance" or not len(own):
        return own, []
    if any(one["features"] is None for one in (*pool, *labelled)):
        return own, ['model_order="spread": the model family gives no features, so images come by relevance alone']
    features = np.stack([unpacked(one["features"]) for one in pool])
    had = np.array([unpacked(one["features"]) for one in labelled], np.float32).reshape(-1, features.shape[1])
    if order == "spread":
        return spread_relevances(own, spread(own, features, had, head)), []
    places = np.arange(1, len(own) + 1) / len(own)  # there is nothing but the order, so shares of the pool will do
    return spread_relevances(places, typical_first(features, had)), []


def packed(features: NDArray[np.float32] | None) -> str | None:
    """Features as text, for a file between two jobs: many numbers, so not as decimals."""
    return None if features is None else base64.b64encode(np.asarray(features, "<f4").tobytes()).decode()


def unpacked(text: str) -> NDArray[np.float32]:
    """What `packed` wrote, (F,)."""
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)
