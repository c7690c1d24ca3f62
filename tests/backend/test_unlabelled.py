"""Images that look unlabelled are found by a rule, and hardly any others."""

from __future__ import annotations

import numpy as np
import pytest

from hemaloop.formats import read_dataset
from hemaloop.plugin import Detections
from hemaloop.synthetic import LABELS, render_smear
from hemaloop.unlabelled import uncovered_share, unlabelled_looking
from real_smears import CBC, needs_cbc

BARE = ["134", "147", "150", "152", "224", "249", "250", "258", "267", "268", "303", "322", "327", "330"]
NEARLY_BARE = ["072", "157", "235", "270"]


def truth(reds: int, whites: int = 1) -> Detections:
    count = reds + whites
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (count, 1))
    return Detections.truth(boxes, [0] * reds + [1] * whites)


def test_an_image_without_a_class_that_all_others_have_is_suspicious() -> None:
    found = unlabelled_looking([truth(11), truth(12), truth(0), truth(10), truth(3)], ("RBC", "WBC"))
    assert [(one.index, one.label, one.found, one.usual) for one in found] == [(2, "RBC", 0, 10.0)]
    assert str(found[0]) == "no RBC boxes where 10 are usual"


def test_few_boxes_are_suspicious_only_against_many() -> None:
    assert [one.found for one in unlabelled_looking([truth(11)] * 9 + [truth(3)], ("RBC", "WBC"))] == [3]
    assert unlabelled_looking([truth(11)] * 9 + [truth(4)], ("RBC", "WBC")) == []


def test_a_smear_without_a_white_cell_is_not_suspicious() -> None:
    assert unlabelled_looking([truth(11)] * 9 + [truth(11, whites=0)], ("RBC", "WBC")) == []


def test_a_class_that_many_images_lack_says_nothing() -> None:
    assert unlabelled_looking([truth(11), truth(0), truth(9), truth(0)], ("RBC", "WBC")) == []


def test_no_image_at_all_is_not_suspicious() -> None:
    assert unlabelled_looking([], LABELS) == []
    assert unlabelled_looking([Detections.empty()], LABELS) == []


def test_the_uncovered_share_falls_as_boxes_are_drawn() -> None:
    smear = render_smear(3)
    half = Detections.truth(smear.detections.boxes[::2], smear.detections.labels[::2])
    shares = [uncovered_share(smear.image, boxes) for boxes in (Detections.empty(), half, smear.detections)]
    assert shares[0] == pytest.approx(1.0)
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 0.1


def test_ignore_regions_cover_like_boxes() -> None:
    smear = render_smear(3)
    assert uncovered_share(smear.image, Detections.empty(), smear.detections.boxes) == uncovered_share(
        smear.image, smear.detections
    )


def test_an_empty_field_has_nothing_uncovered() -> None:
    assert uncovered_share(np.full((60, 80, 3), 200, np.uint8), Detections.empty()) == 0.0


@needs_cbc
def test_cbc_has_eighteen_such_training_images_and_no_false_alarm() -> None:
    dataset = read_dataset(CBC / "Training")
    found = unlabelled_looking(dataset.truths(dataset.labels), dataset.labels)
    names = [dataset.items[one.index].path.stem[-3:] for one in found]
    assert sorted(names) == sorted(BARE + NEARLY_BARE)
    assert all(one.label == "RBC" for one in found)
    testing = read_dataset(CBC / "Testing")
    assert unlabelled_looking(testing.truths(testing.labels), testing.labels) == []


@needs_cbc
def test_the_pictures_of_those_images_confirm_it() -> None:
    dataset = read_dataset(CBC / "Training")
    truths = dataset.truths(dataset.labels)
    for one in unlabelled_looking(truths, dataset.labels):
        assert uncovered_share(dataset.items[one.index].image(), truths[one.index]) > 0.5
