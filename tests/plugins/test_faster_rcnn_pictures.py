"""What a training shows the network: augmentation, truth, unlabelled images, sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hemaloop.errors import DatasetError
from hemaloop.plugin import Classification, Detections, Example
from hemaloop.synthetic import render_smear
from hemaloop_faster_rcnn.augment import Picture, blemish, clip_boxes, compose, restain, whole
from hemaloop_faster_rcnn.recipe import DEFAULT, PAPER, QUICK
from hemaloop_faster_rcnn.resampling import fitted_size, to_network
from hemaloop_faster_rcnn.training import Pictures
from hemaloop_faster_rcnn.truth import Smear, read_training_set

LABELS = ("RBC", "WBC", "Platelets")


def dotted(height: int = 120, width: int = 160) -> Smear:
    """A white field with one dark rectangle and the box around it."""
    pixels = np.full((height, width, 3), 240, np.uint8)
    pixels[40:70, 50:90] = (150, 60, 110)
    return Smear(pixels, np.array([[50, 40, 90, 70]], np.float32), np.array([1]))


def composed(smear: Smear, seed: int, mosaic: float = 0.0, stain: float = 0.0) -> Picture:
    strength = type(DEFAULT.exploring)(zoom=(0.9, 1.1), mosaic=mosaic, stain=stain, blemish=0.0)
    return compose(smear, lambda: smear, 100, 128, strength, np.random.default_rng(seed))


def dark_bounds(pixels: torch.Tensor) -> list[float]:
    """Bounding box of what is darker than half-way in green."""
    rows, columns = torch.where(pixels[1] < 0.55)
    return [float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)]


@pytest.mark.parametrize("seed", range(24))
def test_a_box_stays_on_its_cell_through_zoom_turn_and_mirror(seed: int) -> None:
    picture = composed(dotted(), seed)
    if len(picture.boxes) == 1:
        np.testing.assert_allclose(picture.boxes[0].numpy(), dark_bounds(picture.pixels), atol=1.6)


def test_the_same_seed_gives_the_same_picture() -> None:
    first, second = (composed(dotted(), 5, mosaic=0.5, stain=1.0) for _ in range(2))
    assert torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.boxes, second.boxes)


def crowd(labels: list[int]) -> Smear:
    """Cells far apart in a row, one of each of these labels."""
    boxes = [[x, 30, x + 20, 50] for x in range(10, 200 * len(labels), 200)]
    return Smear(np.full((80, 200 * len(labels), 3), 240, np.uint8), np.array(boxes, np.float32), np.array(labels))


def shown_labels(smears: list[Smear], balance: float) -> list[set[int]]:
    recipe = replace(QUICK, balance=balance, image_size=80, window=80)
    lesson = Pictures(torch.nn.Identity(), smears, recipe, torch.device("cpu"), seed=3)
    pictures = [one for epoch in range(20) for batch in lesson.batches(epoch, True) for one in batch]
    return [set(picture.labels.tolist()) for picture in pictures]


def test_balanced_pictures_are_placed_on_rare_cells_as_often_as_on_common_ones() -> None:
    smears = [crowd([0] * 10), crowd([0] * 9 + [1]), crowd([0] * 10), crowd([0] * 10)]
    balanced, as_they_come = (shown_labels(smears, balance) for balance in (1.0, 0.0))
    assert all(balanced)  # each shows the cell that it was placed on
    assert 0.35 < np.mean([1 in labels for labels in balanced]) < 0.65
    assert np.mean([1 in labels for labels in as_they_come]) < 0.1


def test_a_picture_holds_the_cell_that_it_was_placed_on_also_at_an_edge() -> None:
    smear = crowd([0, 1, 0, 2])
    for cell in range(4):
        for seed in range(12):
            strength = type(DEFAULT.exploring)(zoom=(0.9, 1.1), mosaic=0.0, stain=0.0, blemish=0.0)
            picture = compose(smear, lambda: smear, 80, 80, strength, np.random.default_rng(seed), cell)
            assert int(smear.labels[cell]) in picture.labels.tolist()


def test_a_mosaic_shows_boxes_of_several_smears_inside_the_picture() -> None:
    shown = [composed(dotted(), seed, mosaic=1.0) for seed in range(8)]
    assert max(len(picture.boxes) for picture in shown) > 1
    for picture in shown:
        assert picture.pixels.shape == (3, 128, 128)
        assert bool(((picture.boxes >= 0) & (picture.boxes <= 128)).all())


def test_a_cell_that_is_mostly_outside_the_window_is_dropped() -> None:
    boxes = np.array([[-80, 10, 20, 50], [-20, 10, 80, 50]], np.float32)
    clipped, kept = clip_boxes(boxes, 100, 100)
    assert kept.tolist() == [False, True]
    assert clipped[1].tolist() == [0, 10, 80, 50]


def test_restaining_keeps_values_between_black_and_white_and_changes_them() -> None:
    pixels = torch.from_numpy(render_smear(seed=1, width=96, height=64).image).permute(2, 0, 1).float() / 255
    for seed in range(10):
        stained = restain(pixels, 1.0, np.random.default_rng(seed))
        assert 0 <= float(stained.min()) <= float(stained.max()) <= 1
        assert not torch.allclose(stained, pixels, atol=0.01)


def test_nothing_happens_at_strength_zero() -> None:
    pixels = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0))
    random = np.random.default_rng(0)
    assert torch.equal(blemish(restain(pixels, 0.0, random), 0.0, random), pixels)


@pytest.mark.parametrize("seed", range(12))
def test_blemishes_keep_shape_and_range(seed: int) -> None:
    pixels = torch.rand(3, 48, 40, generator=torch.Generator().manual_seed(seed))
    shown = blemish(pixels, 1.0, np.random.default_rng(seed))
    assert shown.shape == pixels.shape
    assert 0 <= float(shown.min()) <= float(shown.max()) <= 1


def test_the_paper_recipe_shows_whole_images_at_torchvisions_size() -> None:
    picture = whole(dotted(), PAPER.image_size)
    assert picture.pixels.shape == (3, 800, 1067)
    np.testing.assert_allclose(picture.boxes[0].numpy(), dark_bounds(picture.pixels), atol=4)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (300, 400)), ((1, 1), (300, 300)), ((1, 5000), (1, 500)), ((1512, 2024), (300, 402))],
)
def test_any_image_size_fits_the_network(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted_size(*size, 300) == expected


def test_factors_bring_boxes_back_to_the_image() -> None:
    pixels, back = to_network(np.zeros((480, 640, 3), np.uint8), 300)
    assert pixels.shape == (3, 300, 400)
    np.testing.assert_allclose(np.array([400, 300, 400, 300]) * back, [640, 480, 640, 480], rtol=1e-6)


def example(key: str, boxes: object, labels: object, seed: int = 0) -> Example:
    return Example(render_smear(seed=seed, width=96, height=64).image, Detections.truth(boxes, labels), key)


def test_boxes_without_area_inverted_or_not_finite_are_left_out_and_named() -> None:
    boxes = [[5, 5, 5, 20], [30, 30, 20, 20], [-10, -10, 20, 20], [90, 10, 300, 40], [np.nan, 0, 5, 5]]
    data = read_training_set([example("picture", boxes, [0] * 5)], ["RBC"], 300)
    assert data.smears[0].boxes.tolist() == [[0, 0, 20, 20], [90, 10, 96, 40]]
    assert any("picture (3)" in note for note in data.notes)


def test_an_unknown_label_is_refused_with_the_image_named() -> None:
    with pytest.raises(DatasetError, match=r"image odd: found labels \[7\], expected 0 to 2"):
        read_training_set([example("odd", [[0, 0, 9, 9]], [7])], LABELS, 300)


def test_truth_of_another_kind_is_refused() -> None:
    wrong = Example(np.zeros((4, 4, 3), np.uint8), Classification(np.ones(1, np.float32)), "wrong")
    with pytest.raises(DatasetError, match="expected Detections"):
        read_training_set([wrong], LABELS, 300)


def test_images_without_any_box_at_all_cannot_be_learned_from() -> None:
    with pytest.raises(DatasetError, match="no box on any of 1 images"):
        read_training_set([example("empty", [], [])], LABELS, 300)


def test_a_class_without_an_example_is_told() -> None:
    data = read_training_set([example("one", [[2, 2, 30, 30]], [0])], LABELS, 300)
    assert [note.split(":")[0] for note in data.notes] == ["WBC", "Platelets"]


def test_large_images_are_kept_only_as_large_as_they_are_used() -> None:
    big = Example(np.full((600, 900, 3), 200, np.uint8), Detections.truth([[300, 200, 600, 400]], [0]), "big")
    smear = read_training_set([big], ["RBC"], 200).smears[0]
    assert smear.pixels.shape == (200, 300, 3)
    np.testing.assert_allclose(smear.boxes, [[100, 200 / 3, 200, 400 / 3]], rtol=1e-5)


def test_an_image_full_of_cells_without_a_box_is_not_learned_as_background() -> None:
    smears = [render_smear(seed=seed, width=240, height=180) for seed in range(8)]
    examples = [
        Example(smear.image, Detections.empty() if index == 3 else smear.detections, f"image {index}")
        for index, smear in enumerate(smears)
    ]
    data = read_training_set(examples, LABELS, 300)
    assert len(data.smears) == 7
    assert any("image 3" in note and "RBC" in note for note in data.notes)


def test_an_empty_field_without_a_box_is_learned() -> None:
    smears = [render_smear(seed=seed, width=240, height=180) for seed in range(8)]
    examples = [Example(smear.image, smear.detections, str(index)) for index, smear in enumerate(smears)]
    blank = Example(np.full((180, 240, 3), 235, np.uint8), Detections.empty(), "blank")
    assert len(read_training_set([*examples, blank], LABELS, 300).smears) == 9


def test_quick_pictures_are_smaller_than_those_of_the_default_recipe() -> None:
    assert (QUICK.window or 0) < (DEFAULT.window or 0)
