"""Rendered smears: their truth is exact, and they are worth looking at."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from hemaloop.formats import read_dataset
from hemaloop.synthetic import LABELS, render_smear, write_voc

SMALL = {"width": 160, "height": 128}


def test_the_same_seed_gives_the_same_smear_and_another_seed_another() -> None:
    first, again, other = render_smear(7, **SMALL), render_smear(7, **SMALL), render_smear(8, **SMALL)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.detections.boxes, again.detections.boxes)
    assert np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.image, other.image)


def test_the_global_random_state_is_left_alone() -> None:
    np.random.seed(5)
    expected = np.random.get_state()[1].copy()
    render_smear(1, **SMALL)
    assert np.array_equal(np.random.get_state()[1], expected)


@pytest.mark.parametrize("seed", range(6))
def test_boxes_keep_the_contract(seed: int) -> None:
    smear = render_smear(seed, **SMALL)
    boxes = smear.detections.boxes
    assert smear.image.shape == (128, 160, 3)
    assert smear.image.dtype == np.uint8
    assert boxes.dtype == np.float32
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= 160).all()
    assert (boxes[:, 3] <= 128).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert (smear.detections.scores == 1).all()


@pytest.mark.parametrize("seed", range(4))
def test_red_cell_boxes_enclose_the_mask_exactly(seed: int) -> None:
    smear = render_smear(seed, cells=5, overlap=0.0)
    drawn = np.zeros_like(smear.masks)
    for x1, y1, x2, y2 in smear.detections.boxes[smear.detections.labels == 0].astype(int):
        inside = smear.masks[y1:y2, x1:x2] > 0
        drawn[y1:y2, x1:x2] = 1
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()
    assert (smear.masks[drawn == 0] == 0).all()


def test_overlap_zero_has_no_overlap_and_overlap_one_has_some() -> None:
    assert all((render_smear(seed, overlap=0.0).masks < 2).all() for seed in range(3))
    assert all((render_smear(seed, overlap=1.0).masks == 2).any() for seed in range(3))


def test_masks_have_three_classes_at_most() -> None:
    assert set(np.unique(render_smear(3).masks)) == {0, 1, 2}


def test_where_cells_overlap_less_light_comes_through() -> None:
    smear = render_smear(2, overlap=0.8)
    green = smear.image[..., 1].astype(float)
    background, one, two = (green[smear.masks == value].mean() for value in (0, 1, 2))
    assert two < one < background


def test_red_cells_are_paler_in_the_middle_than_at_the_rim() -> None:
    middles, rims = [], []
    for seed in range(5):
        smear = render_smear(seed, overlap=0.0)
        green = smear.image[..., 1].astype(float)
        for x1, y1, x2, y2 in smear.detections.boxes[smear.detections.labels == 0].astype(int):
            if x1 > 0 and y1 > 0 and x2 < 640 and y2 < 480:
                across, down = (x1 + x2) // 2, (y1 + y2) // 2
                middles.append(green[down - 4 : down + 4, across - 4 : across + 4].mean())
                rims.append(green[down - 4 : down + 4, x1 + 5 : x1 + 11].mean())
    assert np.median(middles) > np.median(rims) + 5


def test_every_class_occurs_and_sizes_are_those_of_blood() -> None:
    sides: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for seed in range(12):
        truth = render_smear(seed).detections
        for box, label in zip(truth.boxes, truth.labels, strict=True):
            sides[int(label)].append(float(box[2] - box[0]))
    red, white, platelet = (np.median(sides[index]) for index in range(len(LABELS)))
    assert 80 < red < 115
    assert white > 1.3 * red
    assert platelet < 0.6 * red


def test_a_smear_takes_less_than_a_third_of_a_second() -> None:
    seconds = []
    for seed in range(5):
        started = time.process_time()
        render_smear(seed)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.3


def test_more_cells_than_fit_are_not_forced_in() -> None:
    assert 1 <= (render_smear(0, 64, 64, cells=500, overlap=0.0).detections.labels == 0).sum() < 100
    assert (render_smear(0, **SMALL, cells=0).detections.labels != 0).all()


@pytest.mark.parametrize("arguments", [{"width": 8, "height": 8}, {"overlap": 1.5}])
def test_impossible_smears_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected 32 px or more"):
        render_smear(0, **arguments)


def test_a_written_folder_reads_back_as_what_was_drawn(tmp_path: Path) -> None:
    write_voc(tmp_path, 3, seed=4, **SMALL)
    dataset = read_dataset(tmp_path)
    assert dataset.faults == ()
    assert len(dataset) == 3
    expected = render_smear(4 * 100_003, **SMALL).detections
    found = dataset.items[0].truth(LABELS)
    assert np.array_equal(found.boxes, expected.boxes)
    assert np.array_equal(found.labels, expected.labels)
