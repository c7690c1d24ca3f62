"""Selection from a pool, on points that can be checked by eye."""

from __future__ import annotations

import numpy as np
import pytest

from hemaloop.errors import PluginError
from hemaloop.results import score_for_label_studio
from hemaloop.selection import spread, spread_relevances, typical


def test_spread_takes_the_most_relevant_image_first_while_nothing_is_labelled() -> None:
    assert spread([1.0, 3.0, 2.0], [[0.0], [1.0], [2.0]]).tolist()[0] == 1


def test_spread_leaves_a_copy_of_what_it_took_to_the_end() -> None:
    features = [[0.0, 0.0], [0.0, 0.0], [5.0, 0.0]]
    assert spread([9.0, 8.0, 1.0], features).tolist() == [0, 2, 1]


def test_spread_weighs_distance_by_relevance() -> None:
    # After 0, image 1 gains 2 x 3 = 6 and image 2 gains 1 x 5 = 5; then image 3 (4 x 1, beside image 0) beats image 2.
    order = spread([10.0, 2.0, 1.0, 4.0], [[0.0], [3.0], [5.0], [-1.0]])
    assert order.tolist() == [0, 1, 3, 2]


def test_spread_keeps_away_from_what_is_labelled() -> None:
    assert spread([5.0, 1.0], [[0.0], [10.0]], labelled=[[0.0]]).tolist() == [1, 0]


def test_spread_with_equal_relevances_is_the_greedy_k_centre() -> None:
    features = [[0.0], [1.0], [4.0], [10.0]]
    assert spread([1.0] * 4, features, labelled=[[0.0]]).tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_spread_does_not_depend_on_units(scale: float) -> None:
    draw = np.random.default_rng(3)
    relevances, features, labelled = draw.random(30), draw.normal(size=(30, 4)), draw.normal(size=(5, 4))
    expected = spread(relevances, features, labelled)
    assert spread(relevances * scale, features / scale, labelled / scale).tolist() == expected.tolist()


def test_spread_orders_every_image_once_and_count_takes_the_head_of_that_order() -> None:
    draw = np.random.default_rng(0)
    relevances, features = draw.random(25) * (draw.random(25) > 0.3), draw.normal(size=(25, 3))
    order = spread(relevances, features)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(25))
    assert spread(relevances, features, count=7).tolist() == order[:7].tolist()
    assert spread(relevances, features, count=99).tolist() == order.tolist()


def test_spread_gives_ties_to_the_image_that_comes_first() -> None:
    assert spread([1.0, 1.0, 1.0], [[2.0], [2.0], [2.0]]).tolist() == [0, 1, 2]
    assert spread([0.0, 0.0], [[1.0], [2.0]]).tolist() == [0, 1]


def test_spread_puts_images_without_relevance_last_and_the_distant_ones_of_them_first() -> None:
    assert spread([0.0, 0.0, 1.0], [[1.0], [9.0], [0.0]]).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("relevances", "features", "labelled", "named"),
    [
        ([1.0, np.nan], [[0.0], [1.0]], None, "relevances"),
        ([1.0, -1.0], [[0.0], [1.0]], None, "relevances"),
        ([1.0], [[np.inf]], None, "features"),
        ([1.0], [0.0], None, "features"),
        ([1.0], [[0.0], [1.0]], None, "2 rows"),
        ([1.0], [[0.0]], [[0.0, 1.0]], "labelled"),
    ],
)
def test_spread_names_what_is_wrong(relevances: object, features: object, labelled: object, named: str) -> None:
    with pytest.raises(PluginError, match=named):
        spread(relevances, features, labelled)  # type: ignore[arg-type]


def test_an_empty_pool_has_an_empty_order() -> None:
    assert spread([], np.empty((0, 3))).tolist() == []
    assert typical(np.empty((0, 3)), 5).tolist() == []
    assert spread_relevances([], []).tolist() == []


def _three_groups() -> np.ndarray:
    """12 points round (0, 0), 8 round (10, 0), 5 round (0, 10), each with one in its very middle, and an outlier."""
    draw = np.random.default_rng(1)
    groups = [
        np.concatenate([[middle], middle + draw.uniform(-1, 1, size=(size - 1, 2))])
        for middle, size in (((0.0, 0.0), 12), ((10.0, 0.0), 8), ((0.0, 10.0), 5))
    ]
    return np.concatenate([*groups, [[90.0, 90.0]]])


def _group(index: int) -> int:
    return int(np.searchsorted([12, 20, 25], index, side="right"))


def test_typical_takes_one_image_of_each_group_the_largest_group_first_and_outliers_last() -> None:
    chosen = typical(_three_groups(), 4).tolist()
    assert [_group(index) for index in chosen[:3]] == [0, 1, 2]
    assert _group(chosen[3]) != 3
    assert 25 not in typical(_three_groups(), 6).tolist()


def test_typical_takes_the_image_with_the_nearest_neighbours_of_its_group() -> None:
    line = [[0.0], [1.0], [2.0], [3.0], [4.0]]
    # Mean distances to the other four: 2.5, 1.75, 1.5, 1.75, 2.5.
    assert typical(line, 1).tolist() == [2]


def test_typical_begins_where_nothing_is_labelled() -> None:
    features = _three_groups()
    labelled = features[:3] + 0.01  # of the largest group
    assert [_group(index) for index in typical(features, 2, labelled).tolist()] == [1, 2]


def test_typical_takes_each_image_at_most_once_and_all_where_asked_for_more() -> None:
    features = np.repeat(np.eye(3), 4, axis=0)
    chosen = typical(features, 99)
    assert chosen.dtype == np.int64
    assert sorted(chosen.tolist()) == list(range(12))
    assert sorted(typical(features, 3).tolist()) == [0, 4, 8]


def test_typical_is_the_same_under_the_same_seed() -> None:
    features = np.random.default_rng(5).normal(size=(60, 6))
    assert typical(features, 10, seed=4).tolist() == typical(features, 10, seed=4).tolist()


def test_dealt_relevances_fall_along_the_order_and_are_the_pools_own() -> None:
    dealt = spread_relevances([5.0, 1.0, 3.0], [1, 2, 0])
    assert dealt == pytest.approx([1.0, 5.0, 3.0], rel=1e-9)


def test_what_an_order_leaves_out_follows_by_its_own_relevance() -> None:
    assert np.argsort(-spread_relevances([1.0, 4.0, 3.0, 9.0], [0])).tolist() == [0, 3, 1, 2]


def test_scores_of_dealt_relevances_rise_strictly_even_where_relevances_tie() -> None:
    relevances = np.array([0.0] * 500 + [2000.0] * 500)
    order = np.random.default_rng(2).permutation(1000)
    scores = [score_for_label_studio(relevance) for relevance in spread_relevances(relevances, order)[order].tolist()]
    assert (np.diff(scores) > 0).all()


@pytest.mark.parametrize("order", [[0, 0], [0, 5], [-1]])
def test_an_order_that_is_none_is_refused(order: list[int]) -> None:
    with pytest.raises(PluginError, match="order"):
        spread_relevances([1.0, 2.0], order)
