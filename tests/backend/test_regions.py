"""A choice about each region: bound, asked, written, read back and learned from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.label_interface import LabelInterface

import stub_plugin
import web_stage
from hemaloop import projects, results
from hemaloop.annotations import read_truth
from hemaloop.attach import Wish, bind
from hemaloop.dataset import load, survey
from hemaloop.errors import LabelConfigError
from hemaloop.images import LoadedImage, decode_image
from hemaloop.labelconfig import LabelConfig, parse_label_config
from hemaloop.plugin import Classification, Detections, Example, ReviewMark, Scored, Silent
from hemaloop.projects import LiveModel, Part, starter_part
from hemaloop.regions import MARGIN, cut
from hemaloop.scoring import Scorer, TaskRef
from loop_stage import region

WIDTH, HEIGHT = 64, 48
XML = """<View>
  <Choices name="kind" toName="image" perRegion="true" whenLabelValue="red,green" model_family="tone"
           model_regions="cells"><Choice value="bright"/><Choice value="dim"/></Choices>
  <Image name="image" value="$image"/>
  <RectangleLabels name="cells" toName="image" model_family="stub" model_preset="blobs">
    <Label value="red"/><Label value="green"/><Label value="blue"/>
  </RectangleLabels>
  <Taxonomy name="look" toName="image" perRegion="true" model_review="cells"><Choice value="Again" model_label=""/>
  </Taxonomy>
</View>"""


@pytest.fixture(autouse=True)
def stub() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        stub_plugin.install(patch)
        yield
    stub_plugin.forget()


@pytest.fixture
def config() -> LabelConfig:
    return parse_label_config(XML)


def swapped(old: str, new: str) -> str:
    assert old in XML
    return XML.replace(old, new)


# binding


def test_a_choice_about_each_region_knows_whose_regions_and_which_labels(config: LabelConfig) -> None:
    control = config.control("kind")
    assert (control.regions, control.about) == ("cells", ("red", "green"))
    assert projects.faults(config) == []


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        (swapped('model_regions="cells"', ""), "name the bound control that draws the regions"),
        (swapped('model_regions="cells"', 'model_regions="boxes"'), "model_regions='boxes': expected a bound"),
        (swapped('model_regions="cells"', 'model_regions="kind"'), "there are: 'cells'"),
        (swapped('perRegion="true" when', "when"), 'expected <Choices perRegion="true">'),
        (swapped("red,green", "red,violet"), "whenLabelValue='violet': 'cells' has the labels red, green, blue"),
    ],
)
def test_a_wrong_binding_is_named(xml: str, says: str) -> None:
    with pytest.raises(LabelConfigError, match=says):
        parse_label_config(xml)


def test_regions_and_their_labels_are_part_of_what_is_learned(config: LabelConfig) -> None:
    other = parse_label_config(swapped("red,green", "red"))
    assert other.fingerprint != config.fingerprint
    stamped = [survey([], one.control("kind"), "1").fingerprint for one in (config, other)]
    assert stamped[0] != stamped[1]


def test_attaching_finds_the_boxes_that_a_choice_is_about() -> None:
    unbound = swapped('model_family="tone"\n           model_regions="cells"', "")
    bound = bind(unbound, Wish("tone"))
    assert (bound.control.name, bound.control.regions) == ("kind", "cells")
    assert bind(unbound, Wish("tone", regions="cells")).after == bound.after
    assert not bind(bound.after, Wish("tone")).changed
    with pytest.raises(LabelConfigError, match="found none, so bind one first"):
        bind(
            unbound.replace(' model_family="stub" model_preset="blobs"', "").replace(' model_review="cells"', ""),
            Wish("tone"),
        )


# the part of the picture


def test_a_region_is_cut_out_with_a_margin_as_far_as_the_picture_goes() -> None:
    image = np.arange(WIDTH * HEIGHT * 3, dtype=np.uint64).reshape(HEIGHT, WIDTH, 3).astype(np.uint8)
    part = cut(image, (20, 10, 40, 30))
    beyond = round(20 * MARGIN)
    np.testing.assert_array_equal(part, image[10 - beyond : 30 + beyond, 20 - beyond : 40 + beyond])
    assert cut(image, (0, 0, WIDTH, HEIGHT)).shape == image.shape
    assert cut(image, (63.4, 47.2, 64, 48)).size > 0
    assert not np.shares_memory(part, image)


# asking: boxes and choices in one request


def live(config: LabelConfig, folder: Path) -> LiveModel:
    """The detector's starter, and a model of tones that was trained and saved."""
    tone = projects.build_plugin(config.control("kind"))
    shares = np.eye(2, dtype=np.float32)
    shades = [np.full((8, 8, 3), value, np.uint8) for value in (200, 90)]
    tone.fit([Example(shade, Classification(shares[i]), str(i)) for i, shade in enumerate(shades)], [], Silent())
    (folder / "tone").mkdir()
    tone.save(folder / "tone")
    cells = starter_part(config.control("cells"))
    return LiveModel("v", {"kind": Part("kind", "tone-1", folder / "tone", ("bright", "dim")), "cells": cells})


def score(folder: Path, config: LabelConfig) -> list[dict[str, Any]]:
    uri = web_stage.image_file(folder, "1.png", 1)
    scorer = Scorer(web_stage.settings(folder))
    (one,) = scorer.score(web_stage.PROJECT, config, live(config, folder), [TaskRef(1, {"image": uri})])
    assert one.error is None, one.error
    assert one.prediction is not None
    assert results.validate(one.prediction, config) == []
    assert LabelInterface(config.xml).validate_prediction(one.prediction, return_errors=True) == []
    assert one.result is not None
    return one.result


def test_boxes_and_a_choice_about_each_come_in_one_request(tmp_path: Path, config: LabelConfig) -> None:
    found = score(tmp_path, config)
    boxes = {one["id"]: one for one in found if one["from_name"] == "cells"}
    choices = {one["id"]: one for one in found if one["from_name"] == "kind"}
    asked = {name for name, one in boxes.items() if one["value"]["rectanglelabels"][0] != "blue"}
    assert asked
    assert set(choices) == asked, "the choice is for red and green cells alone"
    for name, one in choices.items():
        place = {side: one["value"][side] for side in ("x", "y", "width", "height")}
        assert place.items() <= boxes[name]["value"].items()
        assert one["type"] == "choices"
        assert one["value"]["choices"] in (["bright"], ["dim"])
        assert 0 < one["score"] <= 1


def test_without_a_model_of_the_boxes_nothing_is_chosen(tmp_path: Path, config: LabelConfig) -> None:
    only = LiveModel("v", {"kind": live(config, tmp_path).parts["kind"]})
    uri = web_stage.image_file(tmp_path, "1.png", 1)
    scorer = Scorer(web_stage.settings(tmp_path))
    (one,) = scorer.score(web_stage.PROJECT, config, only, [TaskRef(1, {"image": uri})])
    assert not one.result


def answer(config: LabelConfig, *relevances: float, reason: str = "") -> results.Answer:
    cells, kind = config.control("cells"), config.control("kind")
    found = Detections.truth([[0, 0, 9, 9]] * len(relevances), [0] * len(relevances))
    review = (ReviewMark(0, reason),) if reason else ()
    said = {
        index: Scored(Classification(np.array([0.2, 0.8], np.float32)), value, review)
        for index, value in enumerate(relevances)
    }
    about = results.RegionAnswer(kind, said, kind.model_labels)
    return results.Answer(cells, Scored(found, 1.0), cells.model_labels, WIDTH, HEIGHT, (about,))


def test_a_task_is_as_relevant_as_its_regions_together_if_that_is_more(config: LabelConfig) -> None:
    assert results.relevance_of([answer(config, 0.75, 0.75)]) == 1.5
    assert results.relevance_of([answer(config, 0.25, 0.25)]) == 1.0


def test_the_reason_to_look_again_at_a_choice_marks_its_region(config: LabelConfig) -> None:
    prediction = results.task_prediction([answer(config, 0.5, reason="members disagree")], "v")
    assert [one["from_name"] for one in prediction["result"]] == ["look", "cells", "kind"]
    assert prediction["result"][1]["meta"] == {"text": ["members disagree"]}
    assert results.validate(prediction, config) == []


def test_a_choice_that_lies_elsewhere_than_its_region_is_no_valid_prediction(config: LabelConfig) -> None:
    prediction = results.task_prediction([answer(config, 0.5)], "v")
    prediction["result"][1]["value"]["x"] = 50.0
    assert any("another place" in fault for fault in results.validate(prediction, config))
    prediction["result"][1]["id"] = "elsewhere"
    assert any("marks no region of 'cells'" in fault for fault in results.validate(prediction, config))


# truth


def chosen(cell: tuple[int, int, int, int, str], name: str, choice: list[str], **more: Any) -> list[dict[str, Any]]:
    box = {**region(cell), "id": name}
    place = {side: box["value"][side] for side in ("x", "y", "width", "height", "rotation")}
    said = {**box, "from_name": "kind", "type": "choices", "value": {**place, "choices": choice}}
    return [box, {**said, **more}]


CELLS = [(2, 2, 20, 20, "red"), (30, 10, 44, 30, "red")]


def task(number: int, result: list[dict[str, Any]], user: int = 1, **data: Any) -> dict[str, Any]:
    one = {"id": 100 + number, "completed_by": user, "updated_at": "2026-01-01", "lead_time": 1.0, "result": result}
    return {"id": number, "data": {"image": f"{number}.png", **data}, "annotations": [one]}


def test_truth_is_the_box_with_what_was_chosen_about_it(config: LabelConfig) -> None:
    result = [*chosen(CELLS[0], "a", ["dim"]), *chosen(CELLS[1], "b", ["bright"])]
    del result[3]["value"]["x"]
    truth = read_truth(task(1, result), config.control("kind"), WIDTH, HEIGHT)
    assert truth is not None
    assert isinstance(truth.prediction, Detections)
    assert truth.faults == ()
    assert truth.prediction.labels.tolist() == [1, 0]
    np.testing.assert_allclose(truth.prediction.boxes, [cell[:4] for cell in CELLS], atol=1e-4)


def test_a_box_about_which_nothing_was_chosen_is_not_learned(config: LabelConfig) -> None:
    result = [*chosen(CELLS[0], "a", ["dim"]), {**region(CELLS[1]), "id": "b"}]
    truth = read_truth(task(1, result), config.control("kind"), WIDTH, HEIGHT)
    assert truth is not None
    assert len(truth.prediction) == 1  # type: ignore[arg-type]


def test_two_choices_about_one_region_are_left_out_with_the_task_named(config: LabelConfig) -> None:
    truth = read_truth(task(9, chosen(CELLS[0], "a", ["dim", "bright"])), config.control("kind"), WIDTH, HEIGHT)
    assert truth is not None
    assert len(truth.prediction) == 0  # type: ignore[arg-type]
    (fault,) = truth.faults
    assert "task 9" in fault
    assert "expected one choice" in fault


def test_what_was_predicted_about_regions_is_read_back_as_the_same(tmp_path: Path, config: LabelConfig) -> None:
    found = score(tmp_path, config)
    truth = read_truth(task(1, found), config.control("kind"), WIDTH, HEIGHT)
    assert truth is not None
    said = [one["value"]["choices"][0] for one in found if one["from_name"] == "kind"]
    names = config.control("kind").model_labels
    assert sorted(names[label] for label in truth.prediction.labels.tolist()) == sorted(said)  # type: ignore[union-attr]


class Pictures:
    """A picture an address."""

    def load(self, uri: str, task_id: int | None = None, *, project: str) -> LoadedImage:
        shade = int(uri.partition(".")[0])
        return decode_image(stub_plugin.png(np.full((HEIGHT, WIDTH, 3), shade, np.uint8) + _texture()))


def _texture() -> np.ndarray:
    return (np.arange(HEIGHT)[:, None, None] + np.arange(WIDTH)[None, :, None]).astype(np.uint8) % 50 + np.zeros(
        3, np.uint8
    )


def splits(tasks: list[dict[str, Any]], config: LabelConfig) -> Any:
    control = config.control("kind")
    return load(survey(tasks, control, "1"), control, Pictures(), "7.1", gate=0.3, tune=0.2)


def two(number: int, **data: Any) -> dict[str, Any]:
    return task(number, [*chosen(CELLS[0], "a", ["dim"]), *chosen(CELLS[1], "b", ["bright"])], **data)


def test_each_region_is_an_example_of_its_own_and_those_of_an_image_stay_together(config: LabelConfig) -> None:
    found = splits([two(number) for number in range(1, 25)], config)
    parts = (found.train, found.tune, found.gate)
    assert sum(map(len, parts)) == 48
    homes: dict[str, set[int]] = {}
    for place, part in enumerate(parts):
        for record in part.records:
            homes.setdefault(record.uri, set()).add(place)
    assert {len(places) for places in homes.values()} == {1}
    example = found.train[0]
    assert example.image.shape[0] < HEIGHT
    assert isinstance(example.truth, Classification)
    assert example.truth.probabilities.sum() == 1
    assert len(set(found.train.keys)) == len(found.train)


def test_an_image_is_in_the_same_split_for_its_boxes_and_for_the_choices_about_them(config: LabelConfig) -> None:
    tasks = [two(number) for number in range(1, 25)]
    choices = splits(tasks, config)
    control = config.control("cells")
    boxes = load(survey(tasks, control, "1"), control, Pictures(), "7.1", gate=0.3, tune=0.2)
    for name in ("train", "tune", "gate"):
        one, other = ({record.uri for record in getattr(found, name).records} for found in (choices, boxes))
        assert one == other


def test_subjects_stay_together_across_images(config: LabelConfig) -> None:
    found = splits([two(number, subject=number % 3) for number in range(1, 25)], config)
    homes = [{record.group for record in part.records} for part in (found.train, found.tune, found.gate)]
    assert not homes[0] & homes[1]
    assert not homes[0] & homes[2]
    assert not homes[1] & homes[2]


def test_cells_that_look_alike_are_examples_each(config: LabelConfig) -> None:
    class Alike(Pictures):
        def load(self, uri: str, task_id: int | None = None, *, project: str) -> LoadedImage:
            image = stub_plugin.draw(CELLS)
            image[-1, -1] = int(uri.partition(".")[0])
            return decode_image(stub_plugin.png(image))

    control = config.control("kind")
    tasks = [two(number) for number in range(1, 13)]
    found = load(survey(tasks, control, "1"), control, Alike(), "7.1", gate=0.3, tune=0.2)
    assert len(found.train) + len(found.tune) + len(found.gate) == 24
