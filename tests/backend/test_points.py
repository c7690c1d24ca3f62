"""Points become boxes, and cells that nobody pointed at become ignore regions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hemaloop.evaluation.overlap import intersection_over_union, share_inside
from hemaloop.formats import read_dataset
from hemaloop.points import Outlined, outline, usual_side
from hemaloop.synthetic import render_smear
from real_smears import CBC, needs_cbc

WIDTH, HEIGHT, RADIUS = 240, 180, 20
Disc = tuple[float, float, float]


def smear(*discs: Disc, width: int = WIDTH, height: int = HEIGHT, stain: int = 130) -> np.ndarray:
    """Discs (x, y, radius) on an empty field with a little noise."""
    down, across = np.mgrid[:height, :width] + 0.5
    image = np.full((height, width, 3), 225.0)
    for x, y, radius in discs:
        image[np.hypot(across - x, down - y) <= radius] = (200, stain, 190)
    noise = np.random.default_rng(0).normal(0, 1.5, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def pointed(image: np.ndarray, *points: tuple[float, float], side: float = 2 * RADIUS) -> Outlined:
    return outline(image, np.array(points, np.float64).reshape(-1, 2), side)


def square(x: float, y: float, radius: float) -> list[float]:
    return [x - radius, y - radius, x + radius, y + radius]


def test_the_box_is_that_of_the_cell_not_of_the_point() -> None:
    found = pointed(smear((60, 60, 20), (150, 100, 26)), (66, 55), (140, 108))
    assert found.boxes[0] == pytest.approx(square(60, 60, 20), abs=2)
    assert found.boxes[1] == pytest.approx(square(150, 100, 26), abs=2)
    assert not found.guessed.any()
    assert len(found.ignore) == 0


def test_a_stained_cell_without_a_point_is_an_ignore_region_and_a_platelet_is_not() -> None:
    found = pointed(smear((60, 60, 20), (150, 100, 20), (60, 140, 6)), (60, 60))
    assert len(found.ignore) == 1
    assert found.ignore[0] == pytest.approx(square(150, 100, 20), abs=2)


def test_touching_cells_are_parted_whether_both_have_a_point_or_one() -> None:
    image = smear((80, 80, 20), (116, 80, 20))
    both = pointed(image, (80, 80), (116, 80))
    assert (
        intersection_over_union(both.boxes, np.array([square(80, 80, 20), square(116, 80, 20)], np.float32))
        .diagonal()
        .min()
        > 0.8
    )
    one = pointed(image, (80, 80))
    assert one.boxes[0] == pytest.approx(both.boxes[0], abs=1)
    assert intersection_over_union(one.ignore, both.boxes[1:])[0, 0] > 0.9


def test_two_points_on_what_cannot_be_parted_get_a_box_each() -> None:
    found = pointed(smear((80, 80, 20), (90, 80, 20)), (76, 80), (94, 80))
    assert len(found.boxes) == 2
    assert found.boxes[0, 0] < found.boxes[1, 0]
    assert found.boxes[0, 2] < found.boxes[1, 2]
    assert not found.guessed.any()


def test_a_pale_middle_belongs_to_the_cell() -> None:
    image = smear((80, 80, 20))
    image[74:87, 74:87] = 225
    found = pointed(image, (80, 80))
    assert found.boxes[0] == pytest.approx(square(80, 80, 20), abs=2)
    assert len(found.ignore) == 0


def test_a_point_just_beside_its_cell_still_marks_it() -> None:
    assert pointed(smear((80, 80, 20)), (80, 105)).boxes[0] == pytest.approx(square(80, 80, 20), abs=2)


def test_a_point_far_from_every_cell_gets_a_square_of_usual_size_inside_the_image() -> None:
    found = pointed(smear((80, 80, 20)), (80, 80), (180, 140), (1, 170))
    assert found.guessed.tolist() == [False, True, True]
    assert found.boxes[1] == pytest.approx(square(180, 140, 20), abs=0.2)
    assert found.boxes[2] == pytest.approx([0, 150, 21, HEIGHT], abs=0.2)


def test_the_usual_size_is_measured_where_there_are_enough_cells() -> None:
    places = [(30.0 + 56 * column, 30.0 + 56 * row) for column in range(4) for row in range(2)]
    found = pointed(smear(*((x, y, 24) for x, y in places)), *places, (120, 150))
    assert found.boxes[-1] == pytest.approx(square(120, 150, 24), abs=2)


def test_something_far_too_large_is_no_cell() -> None:
    found = pointed(smear((120, 90, 70)), (120, 90))
    assert found.boxes[0] == pytest.approx(square(120, 90, 1.1 * RADIUS), abs=2)
    assert len(found.ignore) == 1


def test_cells_cut_off_by_the_edge_count() -> None:
    found = pointed(smear((0, 60, 20), (240, 120, 20)), (3, 60))
    assert found.boxes[0] == pytest.approx([0, 40, 20, 80], abs=2)
    assert found.ignore[0] == pytest.approx([220, 100, 240, 140], abs=2)


def test_a_field_without_stain_gives_squares_and_no_region() -> None:
    found = pointed(smear(), (100, 100))
    assert found.guessed.all()
    assert len(found.ignore) == 0


def test_an_image_without_a_point_is_all_regions() -> None:
    found = pointed(smear((60, 60, 20), (150, 100, 20)))
    assert found.boxes.shape == (0, 4)
    assert found.boxes.dtype == np.float32
    assert len(found.ignore) == 2


def test_uneven_light_hides_no_cell() -> None:
    image = smear((60, 60, 20), (180, 60, 20), stain=185)
    shaded = (image * np.linspace(1, 0.6, WIDTH)[None, :, None]).astype(np.uint8)
    found = pointed(shaded, (60, 60), (180, 60))
    assert found.boxes == pytest.approx(np.array([square(60, 60, 20), square(180, 60, 20)]), abs=3)


def test_a_dark_nucleus_hides_no_red_cell() -> None:
    image = smear((60, 60, 20), (150, 60, 20), (60, 140, 20), stain=175)
    image[smear((160, 130, 24), stain=0)[..., 1] < 100] = (60, 20, 120)
    found = pointed(image, (60, 60), (150, 60))
    assert found.boxes == pytest.approx(np.array([square(60, 60, 20), square(150, 60, 20)]), abs=2)
    assert len(found.ignore) == 2


def test_a_larger_picture_gives_the_same_boxes_scaled() -> None:
    small = smear((60, 60, 20), (150, 100, 26), (200, 40, 20))
    large = np.asarray(Image.fromarray(small).resize((3 * WIDTH, 3 * HEIGHT), Image.Resampling.BICUBIC))
    one = pointed(small, (60, 60), (150, 100))
    three = pointed(large, (180, 180), (450, 300), side=6 * RADIUS)
    assert three.boxes == pytest.approx(3 * one.boxes, abs=6)
    assert three.ignore == pytest.approx(3 * one.ignore, abs=6)


def test_without_a_hint_the_size_follows_the_picture() -> None:
    assert usual_side(480, 640) == 39
    assert usual_side(960, 1280) == 78


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 159), st.floats(0, 119)), max_size=8), st.floats(8, 90))
def test_wherever_the_points_lie_the_boxes_keep_the_contract(points: list[tuple[float, float]], side: float) -> None:
    image = smear((40, 40, 20), (74, 40, 20), (120, 90, 30), width=160, height=120)
    found = pointed(image, *points, side=side)
    assert len(found.boxes) == len(found.guessed) == len(points)
    for boxes in (found.boxes, found.ignore):
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes[:, 2:] <= (160, 120)).all()


def test_on_rendered_smears_the_boxes_are_those_of_the_cells_and_no_labelled_cell_is_ignored() -> None:
    overlaps, inside = [], []
    for seed in range(4):
        rendered = render_smear(seed)
        truth = rendered.detections.boxes[rendered.detections.labels != 2]
        found = pointed(rendered.image, *((truth[:, :2] + truth[:, 2:]) / 2).tolist(), side=90)
        overlaps += intersection_over_union(found.boxes, truth).diagonal().tolist()
        inside += share_inside(truth, found.ignore).tolist()
    assert np.median(overlaps) > 0.85
    assert np.mean(np.array(overlaps) >= 0.5) > 0.9
    assert np.mean(np.array(inside) >= 0.5) < 0.1


@needs_cbc
def test_on_real_smears_most_boxes_are_those_that_people_drew() -> None:
    overlaps = []
    for item in read_dataset(CBC / "Testing").items[::6]:
        drawn = item.truth(("RBC",)).boxes
        found = pointed(item.image(), *((drawn[:, :2] + drawn[:, 2:]) / 2).tolist(), side=100)
        overlaps += intersection_over_union(found.boxes, drawn).diagonal().tolist()
    assert np.median(overlaps) > 0.65
    assert np.mean(np.array(overlaps) >= 0.5) > 0.8
