"""Which images of a pool to label next, judged together: relevance alone picks near-duplicates.

Features say what an image looks like: images that look alike lie close (Euclidean). Everything here is a pure
function of its arguments; ties go to the image that comes first.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.vq import kmeans2
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from hemaloop.errors import PluginError

NEIGHBOURS = 20
"""Images of its cluster that the typicality of an image looks at (Hacohen et al. 2022, section 3.2)."""
MAX_CLUSTERS = 500
"""More are slow and say nothing new (Hacohen et al. 2022, appendix)."""
SMALL_CLUSTER = 5
"""A cluster of fewer images holds outliers (Hacohen et al. 2022, appendix)."""
_ROUNDS = 50
_STEP = 1e-12


def spread(
    relevances: ArrayLike, features: ArrayLike, labelled: ArrayLike | None = None, count: int | None = None
) -> NDArray[np.int64]:
    """The order in which to label: each next image has the largest relevance times distance to what is had already.

    The distance is that to the nearest image that is labelled or stands before it in the order; while there is none,
    relevance decides. So the order does not depend on the unit of either. With equal relevances this is the greedy
    k-centre of Sener and Savarese 2018 (Active learning for convolutional neural networks: a core-set approach,
    algorithm 1), which the relevance weighs here. Where the product ties, as among copies of what is had already, the
    more relevant comes first, then the more distant.

    relevances: (n,), finite, >= 0. features: (n, F), finite. labelled: (m, F), of images that need no label.
    Returns indices int64 (count,), all n where count is None or larger. Raises `PluginError` for other arguments.
    """
    worth = _relevances(relevances)
    points = _points(features, "features")
    if len(points) != len(worth):
        raise PluginError(f"features: found {len(points)} rows, expected one for each of {len(worth)} relevances")
    before = _labelled(labelled, points)
    nearest = cdist(points, before).min(axis=1) if len(before) else np.ones(len(points))
    unlimited = not len(before)
    waiting = np.ones(len(points), bool)
    order: list[int] = []
    for _ in range(_limit(count, len(points))):
        gain = np.where(waiting, worth * nearest, -1.0)
        tied = np.flatnonzero(gain == gain.max())
        chosen = int(tied[np.lexsort((-nearest[tied], -worth[tied]))[0]])
        order.append(chosen)
        waiting[chosen] = False
        distances = cdist(points, points[chosen : chosen + 1])[:, 0]
        nearest = distances if unlimited else np.minimum(nearest, distances)
        unlimited = False
    return np.array(order, np.int64)


def typical(features: ArrayLike, count: int, labelled: ArrayLike | None = None, seed: int = 0) -> NDArray[np.int64]:
    """Typical and diverse images, for when no model can say yet what is relevant.

    TypiClust (Hacohen, Dekel and Weinshall 2022, Active learning on a budget: opposite strategies suit high and low
    budgets, algorithm 1): k-means into as many clusters as images will then be labelled; of the clusters with the
    fewest labelled images, the largest first, the most typical image: the one with the smallest mean distance to its
    `NEIGHBOURS` nearest in the cluster. Clusters of outliers come last: those of fewer than `SMALL_CLUSTER` images, in
    a small pool those of less than half the mean size.

    features: (n, F), finite, in units in which distances mean something. labelled: (m, F).
    Returns indices int64 (count,), all n where count is larger. Raises `PluginError` for other arguments.
    """
    points = _points(features, "features")
    before = _labelled(labelled, points)
    count = _limit(count, len(points))
    everything = np.concatenate([points, before])
    clusters = _clusters(everything, min(count + len(before), MAX_CLUSTERS), seed)
    sizes = np.bincount(clusters)
    taken = np.bincount(clusters[len(points) :], minlength=len(sizes))
    few = min(SMALL_CLUSTER, len(everything) / max(np.count_nonzero(sizes), 1) / 2)
    waiting = _by_typicality(everything, clusters, len(points))
    order: list[int] = []
    while len(order) < count:
        open_ones = (one for one in waiting if waiting[one])
        cluster = min(open_ones, key=lambda one: (sizes[one] < few, taken[one], -sizes[one]))
        order.append(waiting[cluster].pop(0))
        taken[cluster] += 1
    return np.array(order, np.int64)


def spread_relevances(relevances: ArrayLike, order: ArrayLike) -> NDArray[np.float64]:
    """The pool's own relevances dealt out anew, so that they fall strictly along an order.

    What Label Studio is told then follows from a relevance as it does everywhere, and the pool's distribution stays as
    it was. Images that the order leaves out follow it by falling relevance.

    relevances: (n,), finite, >= 0. order: indices (k,), each at most once. Returns float64 (n,).
    """
    own = _relevances(relevances)
    first = np.asarray(order, np.int64)
    rest = np.setdiff1d(np.arange(len(own)), first)
    everyone = np.concatenate([first, rest[np.argsort(-own[rest], kind="stable")]])
    if len(everyone) != len(own) or len(np.unique(first)) != len(first):
        raise PluginError(f"order: found {first.tolist()}, expected indices below {len(own)}, each at most once")
    dealt = np.empty(len(own))
    step = _STEP * (1 + own.max(initial=0.0))
    dealt[everyone] = np.sort(own)[::-1] + step * np.arange(len(own))[::-1]
    return dealt


def _by_typicality(points: NDArray[np.float64], clusters: NDArray[np.int64], candidates: int) -> dict[int, list[int]]:
    """The candidates of each cluster, which are the first of the points, the most typical first."""
    found = {}
    for cluster in np.unique(clusters).tolist():
        members = np.flatnonzero(clusters == cluster)
        neighbours = min(NEIGHBOURS, len(members) - 1)
        if neighbours:
            distances = KDTree(points[members]).query(points[members], neighbours + 1)[0][:, 1:].mean(axis=1)
            members = members[np.argsort(distances, kind="stable")]
        found[cluster] = members[members < candidates].tolist()
    return found


def _clusters(points: NDArray[np.float64], count: int, seed: int) -> NDArray[np.int64]:
    """The cluster of each point, int64 (n,), of at most `count`; equal points share one."""
    count = min(count, len(np.unique(points, axis=0)))
    if count < 2:
        return np.zeros(len(points), np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)
        _, clusters = kmeans2(points, count, iter=_ROUNDS, minit="++", seed=seed)
    return np.asarray(clusters, np.int64)


def _relevances(relevances: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(relevances, np.float64)
    if found.ndim != 1 or not np.isfinite(found).all() or (found < 0).any():
        raise PluginError(f"relevances: found shape {found.shape}, {found}, expected (n,) finite numbers >= 0")
    return found


def _points(features: ArrayLike, name: str) -> NDArray[np.float64]:
    found = np.asarray(features, np.float64)
    if found.ndim != 2 or not np.isfinite(found).all():
        raise PluginError(f"{name}: found shape {found.shape}, expected (n, F) finite numbers, a row for each image")
    return found


def _labelled(labelled: ArrayLike | None, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The features of what is labelled, (m, F); none where nothing is."""
    found = np.asarray(() if labelled is None else labelled, np.float64)
    if not found.size:
        return np.empty((0, points.shape[1]))
    if _points(found, "labelled").shape[1] != points.shape[1]:
        raise PluginError(f"labelled: found {found.shape[1]} features, expected {points.shape[1]} as in the pool")
    return found


def _limit(count: int | None, available: int) -> int:
    return available if count is None else max(0, min(count, available))
