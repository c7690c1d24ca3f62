"""What smears look like without a model, and the order that follows from it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow

from hemaloop.appearance import appearance
from hemaloop.cold_start import HEAD, ROUND, standardised, typical_first
from hemaloop.plugin import Image
from hemaloop.selection import typical


def smear(cells: int, colour: tuple[int, int, int] = (190, 110, 120), radius: int = 14, seed: int = 0) -> Image:
    """uint8 (240, 320, 3): bright ground with discs of one colour on a grid."""
    draw = np.random.default_rng(seed)
    image = (np.full((240, 320, 3), 232) + draw.integers(-3, 4, (240, 320, 3))).astype(np.uint8)
    rows, columns = np.mgrid[:240, :320]
    places = [(24 + 38 * y, 24 + 38 * x) for y in range(6) for x in range(8)]
    for y, x in (places[index] for index in draw.permutation(len(places))[:cells]):
        image[np.hypot(rows - y, columns - x) < radius] = colour
    return image


def distance(one: Image, other: Image, pool: list[Image]) -> float:
    """Between two images, on the scale of a pool."""
    found = standardised(np.stack([appearance(image) for image in (one, other, *pool)]))
    return float(np.linalg.norm(found[0] - found[1]))


POOL = [smear(count, seed=count) for count in range(0, 48, 6)] + [smear(20, (110, 70, 150)), smear(20, radius=9)]


@pytest.mark.parametrize(
    "odd",
    [
        smear(0),
        np.full((1, 1, 3), 127, np.uint8),
        np.full((1, 50, 3), 200, np.uint8),
        np.zeros((90, 31, 3), np.uint8),
        np.full((64, 64, 3), 255, np.uint8),
    ],
)
def test_every_image_has_as_many_finite_numbers(odd: Image) -> None:
    found = appearance(odd)
    assert found.dtype == np.float32
    assert found.shape == appearance(smear(12)).shape
    assert np.isfinite(found).all()


def test_smears_that_differ_by_chance_lie_closer_than_those_of_another_number_colour_or_size_of_cells() -> None:
    like = distance(smear(20, seed=1), smear(20, seed=2), POOL)
    assert like < distance(smear(20, seed=1), smear(4, seed=2), POOL) / 2
    assert like < distance(smear(20, seed=1), smear(20, (110, 70, 150), seed=2), POOL) / 2
    assert like < distance(smear(20, seed=1), smear(20, radius=9, seed=2), POOL) / 2


def test_a_larger_picture_of_the_same_smear_looks_alike() -> None:
    large = np.asarray(Pillow.fromarray(smear(20)).resize((960, 720), Pillow.Resampling.BICUBIC))
    assert distance(smear(20), large, POOL) < distance(smear(20), smear(20, (110, 70, 150)), POOL)


def test_standardised_features_have_one_scale_and_nothing_small_is_blown_up() -> None:
    found = standardised(np.array([[0.0, 5.0, 1000.0, 0.2], [4.0, 5.0, 3000.0, 0.6]], np.float32))
    assert found == pytest.approx(np.array([[-1, 0, -1, -0.2], [1, 0, 1, 0.2]]))


def test_the_first_round_is_what_typiclust_chooses() -> None:
    features = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) * (1, 10, 100)
    features = features.astype(np.float32)
    chosen = typical_first(features, np.empty((0, 3), np.float32))[:ROUND]
    assert chosen.tolist() == typical(standardised(features), ROUND).tolist()


def test_every_image_of_a_small_pool_has_a_place_and_of_a_large_one_the_first_ones() -> None:
    none = np.empty((0, 2), np.float32)
    small = np.random.default_rng(0).normal(size=(33, 2)).astype(np.float32)
    assert sorted(typical_first(small, none).tolist()) == list(range(33))
    large = np.random.default_rng(0).normal(size=(HEAD + 60, 2)).astype(np.float32)
    order = typical_first(large, none).tolist()
    assert len(order) == len(set(order)) == HEAD


def test_what_is_labelled_already_is_not_asked_for_first() -> None:
    draw = np.random.default_rng(2)
    groups = [middle + draw.normal(size=(30, 2)) for middle in (0.0, 60.0)]
    pool = np.concatenate(groups).astype(np.float32)
    labelled = (draw.normal(size=(15, 2))).astype(np.float32)  # of the first group
    first = typical_first(pool, labelled)[:8]
    assert (first >= 30).sum() > (first < 30).sum()
