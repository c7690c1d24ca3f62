from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import stub_plugin
from hemaloop.dataset import group_of, load, split_of, survey
from hemaloop.errors import DatasetError, ImageError
from hemaloop.images import LoadedImage, decode_image
from hemaloop.labelconfig import Control, parse_label_config
from hemaloop.plugin import Detections
from loop_stage import region

CONTROL: Control = parse_label_config(stub_plugin.config("bare")).bound[0]
SHARES = {"gate": 0.3, "tune": 0.2}


class Images:
    """Pictures by address; `opened` counts how often each was asked for."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.opened: dict[str, int] = {}

    def load(self, uri: str, task_id: int | None = None, *, project: str) -> LoadedImage:
        self.opened[uri] = self.opened.get(uri, 0) + 1
        if uri not in self.data:
            raise ImageError(f"image {uri!r}: is gone")
        return decode_image(self.data[uri])


@pytest.fixture
def images() -> Images:
    return Images()


def task(number: int, images: Images, seed: int | None = None, cells: Any = None, **data: Any) -> dict[str, Any]:
    """A task with an image of its own and its truth."""
    drawn = stub_plugin.random_cells(number if seed is None else seed)
    uri = f"{number}.png"
    images.data[uri] = stub_plugin.png(stub_plugin.draw(drawn))
    result = [region(cell) for cell in (drawn if cells is None else cells)]
    annotation = {"id": 100 + number, "completed_by": 1, "updated_at": "2026-01-01", "lead_time": 1.0, "result": result}
    return {"id": number, "data": {"image": uri, **data}, "annotations": [annotation]}


def splits(tasks: list[dict[str, Any]], images: Images) -> Any:
    return load(survey(tasks, CONTROL, "1"), CONTROL, images, "7.1", **SHARES)


def test_an_image_belongs_to_its_split_for_ever() -> None:
    # Written down: an edit that moves images between splits would let models be judged on what they have seen.
    found = [split_of(f"image-{number}", gate=0.2, tune=0.1) for number in range(12)]
    assert " ".join(found) == "tune train train train train train train train gate train train train"


def test_the_shares_are_met_and_changing_one_moves_no_image_of_the_other() -> None:
    keys = [str(number) for number in range(4000)]
    small = {key: split_of(key, gate=0.2, tune=0.1) for key in keys}
    assert sum(split == "gate" for split in small.values()) / 4000 == pytest.approx(0.2, abs=0.03)
    assert sum(split == "tune" for split in small.values()) / 4000 == pytest.approx(0.1, abs=0.03)
    larger = {key: split_of(key, gate=0.4, tune=0.1) for key in keys}
    assert all(larger[key] == small[key] for key in keys if small[key] != "train")


def test_images_of_one_patient_stay_together() -> None:
    assert len({split_of(str(number), "patient:17", gate=0.5, tune=0.3) for number in range(50)}) == 1
    assert group_of({"image": "x", "Patient": 17, "slide": "a"}) == "patient:17"
    assert group_of({"subject": "s", "patient": 17}) == "subject:s"
    assert group_of({"slide": " "}) is None
    assert group_of({"image": "x"}) is None


def test_every_image_is_in_one_split_and_opened_once_to_get_there(images: Images) -> None:
    tasks = [task(number, images) for number in range(40)]
    found = splits(tasks, images)
    parts = [set(found.train.keys), set(found.tune.keys), set(found.gate.keys)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 40
    assert set(images.opened.values()) == {1}
    assert all(split_of(key, gate=0.3, tune=0.2) == "gate" for key in found.gate.keys)


def test_examples_are_decoded_when_asked_for_with_their_truth(images: Images) -> None:
    found = splits([task(number, images) for number in range(20)], images)
    example = found.train[0]
    record = found.train.records[0]
    assert np.array_equal(example.image, decode_image(images.data[record.uri]).pixels)
    assert isinstance(example.truth, Detections)
    assert len(example.truth) == 4
    assert example.key == record.key
    assert len(found.train[1:3]) == 2
    assert [one.key for one in found.train] == list(found.train.keys)


def test_patients_are_split_as_one(images: Images) -> None:
    found = splits([task(number, images, patient=number % 5) for number in range(50)], images)
    groups = [{record.group for record in part.records} for part in (found.train, found.tune, found.gate)]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


def test_the_same_picture_twice_counts_once(images: Images) -> None:
    tasks = [task(number, images) for number in range(6)]
    tasks.append(task(99, images, seed=3, cells=[]))
    found = splits(tasks, images)
    everything = [*found.train.records, *found.tune.records, *found.gate.records]
    assert len(everything) == 6
    assert 99 in {record.task_id for record in everything}
    assert any("tasks 3 and 99 show the same image" in note for note in found.notes)


def test_an_empty_submit_is_truth_and_a_skip_is_not(images: Images) -> None:
    empty, skipped = task(1, images, cells=[]), task(2, images)
    skipped["annotations"][0]["was_cancelled"] = True
    found = survey([empty, skipped], CONTROL, "1")
    assert [one["id"] for one in found.tasks] == [1]


def test_one_missing_image_is_named_and_its_annotations_are_not_said_to_be_learned(images: Images) -> None:
    tasks = [task(number, images) for number in range(10)]
    del images.data["4.png"]
    whole = survey(tasks, CONTROL, "1")
    found = splits(tasks, images)
    assert any("task 4 is left out" in note for note in found.notes)
    assert set(whole.annotations) - set(found.used.annotations) == set(whole.stamps[4])
    assert found.used.fingerprint == survey([one for one in tasks if one["id"] != 4], CONTROL, "1").fingerprint


def test_an_unreadable_annotation_is_named_and_the_rest_goes_on(images: Images) -> None:
    tasks = [task(number, images) for number in range(8)]
    tasks[3]["annotations"][0]["result"] = "not a list"
    found = splits(tasks, images)
    assert any("task 3 is left out" in note and "expected a list" in note for note in found.notes)
    assert found.used.fingerprint == survey(tasks, CONTROL, "1").fingerprint, "reading it again would not help"


def test_broken_boxes_are_left_out_and_named(images: Images) -> None:
    tasks = [task(number, images) for number in range(6)]
    tasks[2]["annotations"][0]["result"][0]["value"]["width"] = 0.0
    found = splits(tasks, images)
    assert any("task 2" in note for note in found.notes)


def test_a_picture_full_of_cells_without_a_box_is_reported(images: Images) -> None:
    grid = [(x, y, x + 8, y + 9, "red") for x in range(2, 52, 16) for y in range(2, 36, 16)]
    tasks = [task(number, images, cells=grid) for number in range(12)]
    tasks.append(task(50, images, cells=[]))
    found = splits(tasks, images)
    assert any("task 50 looks unlabelled" in note for note in found.notes)


def test_when_most_images_are_gone_it_is_the_server_that_is_gone(images: Images) -> None:
    tasks = [task(number, images) for number in range(10)]
    for number in range(6):
        del images.data[f"{number}.png"]
    with pytest.raises(ImageError, match="6 of 10 images cannot be had"):
        splits(tasks, images)


def test_nothing_to_learn_from_is_said_with_the_reason(images: Images) -> None:
    tasks = [task(1, images)]
    tasks[0]["annotations"][0]["result"] = None
    with pytest.raises(DatasetError, match="nothing to learn from: task 1 is left out"):
        splits(tasks, images)


def test_with_few_images_some_of_train_tune_and_none_of_the_gate_does(images: Images) -> None:
    tasks = [task(number, images) for number in range(60)]
    whole = splits(tasks, images)
    records = [*whole.train.records, *whole.tune.records, *whole.gate.records]
    keys = {record.task_id: record.key for record in records}
    few = [one for one in tasks if split_of(keys[one["id"]], **SHARES) != "tune"][:12]
    found = splits(few, images)
    assert len(found.tune) == 1
    assert not set(found.tune.keys) & set(found.gate.keys)
    assert not set(found.tune.keys) & set(found.train.keys)
    assert any("tuning split" in note for note in found.notes)


def test_the_fingerprint_is_of_data_labels_options_and_code_and_of_nothing_else(images: Images) -> None:
    tasks = [task(number, images) for number in range(5)]
    base = survey(tasks, CONTROL, "1").fingerprint
    assert survey(list(reversed(tasks)), CONTROL, "1").fingerprint == base
    assert survey(tasks, CONTROL, "2").fingerprint != base
    other = parse_label_config(stub_plugin.config("bare", threshold=50)).bound[0]
    assert survey(tasks, other, "1").fingerprint != base
    policy = stub_plugin.config("bare").replace("model_family", 'model_min_new_annotations="3" model_family')
    assert survey(tasks, parse_label_config(policy).bound[0], "1").fingerprint == base
    tasks[0]["annotations"][0]["ground_truth"] = True
    assert survey(tasks, CONTROL, "1").fingerprint != base
    tasks[0]["annotations"][0]["ground_truth"] = False
    tasks[0]["annotations"][0]["updated_at"] = "2027-01-01"
    assert survey(tasks, CONTROL, "1").fingerprint != base
