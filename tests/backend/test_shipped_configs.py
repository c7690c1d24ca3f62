"""Laws of the labelling configs that come with hemaloop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from defusedxml import ElementTree
from label_studio_sdk.label_interface import LabelInterface

from hemaloop import projects, registry, results
from hemaloop.labelconfig import Control, LabelConfig, parse_label_config
from hemaloop.plugin import Classification, ClassMap, Detections, ReviewMark, Scored
from hemaloop.project_setup import shipped_config

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "labeling_configs").glob("*.xml"))
RED = "#e4002b"
"""Of the marks; no class has it."""


@pytest.fixture(params=NAMES)
def xml(request: pytest.FixtureRequest) -> str:
    return shipped_config(request.param)


@pytest.fixture
def config(xml: str) -> LabelConfig:
    return parse_label_config(xml)


def boxes_of(config: LabelConfig) -> Control | None:
    """The bound control that draws boxes, if it has one."""
    return next((control for control in config.bound if control.kind == "rectanglelabels"), None)


def test_label_studio_accepts_it_and_finds_the_same_labels(xml: str, config: LabelConfig) -> None:
    interface = LabelInterface(xml)
    interface.validate()
    for control in config.controls:
        assert tuple(interface.get_control(control.name).labels) == control.labels


def test_its_families_serve_it_with_the_labels_of_their_presets(config: LabelConfig) -> None:
    assert projects.faults(config) == []
    for control in config.require_bound():
        assert control.binding is not None
        assert control.binding.preset is not None
        assert control.model_labels == registry.find(control.binding.family).presets[control.binding.preset].labels


def test_no_answer_of_the_model_is_accepted_with_a_label_that_was_chosen_before(xml: str) -> None:
    """Label Studio writes chosen labels onto accepted answers. A question drops those for other shapes; one with a
    label of its own drops all."""
    controls = [tag for tag in ElementTree.fromstring(xml).iter() if "toName" in tag.attrib]
    questions = [tag for tag in controls if tag.get("smart") == "true"]
    if not questions:
        return
    drawn = [tag for tag in controls if tag.tag.endswith("Labels") and tag not in questions]
    assert not [label for tag in controls for label in tag.iter("Label") if label.get("selected") == "true"]
    assert {tag.get("smart") for tag in drawn} == {"false"}
    assert not {tag.tag + "Labels" for tag in questions} & {tag.tag for tag in drawn}


def test_a_mark_for_any_reason_is_valid_and_red(xml: str, config: LabelConfig) -> None:
    control = next((control for control in config.bound if control.kind != "choices"), None)
    if control is None:
        return
    boxes = Detections.truth([[1, 2, 30, 40], [3, 4, 50, 60]], [0, 1])
    masks = ClassMap(np.tile(np.array([0, 1, 2, 0], np.uint8), (64, 16)))
    found = boxes if control.kind == "rectanglelabels" else masks
    marks = (ReviewMark(0, "uncertain box; maybe rare: Teardrop (35%)"), ReviewMark(1, "something else"))
    answer = results.Answer(control, Scored(found, 1.0, marks), control.model_labels, 64, 64)
    prediction = results.task_prediction([answer], "v")
    assert [region["type"] for region in prediction["result"]] == ["taxonomy", control.kind] * 2
    assert results.validate(prediction, config) == []
    assert LabelInterface(xml).validate_prediction(prediction, return_errors=True) == []
    marks = [choice for tag in ElementTree.fromstring(xml).iter("Taxonomy") for choice in tag.iter("Choice")]
    assert {choice.attrib["color"] for choice in marks} == {RED}


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("all_hem", "diagnosis"),
        ("all_hem_smear", "diagnosis"),
        ("bone_marrow_cells", "type"),
        ("bone_marrow_smear", "type"),
    ],
)
def test_a_diagnosis_is_a_valid_prediction(name: str, asked: str) -> None:
    xml = shipped_config(name)
    config = parse_label_config(xml)
    control = config.control(asked)
    shares = np.eye(len(control.model_labels), dtype=np.float32)[0]
    said = Scored(Classification(shares), 1.0, (ReviewMark(0, "unsure (…)"),))
    boxes = boxes_of(config)
    if boxes is None:
        answer = results.Answer(control, said, control.model_labels, 64, 64)
    else:
        about = results.RegionAnswer(control, {0: said}, control.model_labels)
        cell = Scored(Detections.truth([[1, 2, 30, 40]], [1]), 1.0)
        answer = results.Answer(boxes, cell, boxes.model_labels, 64, 64, (about,))
    prediction = results.task_prediction([answer], "v")
    assert prediction["result"][-1]["value"]["choices"] == [control.labels[0]]
    assert results.validate(prediction, config) == []
    assert LabelInterface(xml).validate_prediction(prediction, return_errors=True) == []


@pytest.mark.parametrize("name", ["all_hem", "all_hem_smear", "bone_marrow_cells", "bone_marrow_smear"])
def test_every_diagnosis_has_a_key_and_says_what_it_means(name: str) -> None:
    tree = ElementTree.fromstring(shipped_config(name))
    choices = [choice for tag in tree.iter("Choices") for choice in tag.iter("Choice")]
    keys = [tag.attrib["hotkey"] for tag in (*tree.iter("Label"), *choices)]
    assert len(set(keys)) == len(keys)
    assert all(choice.attrib.get("hint") for choice in choices)


def test_every_label_has_a_key_and_a_colour_of_its_own_and_says_what_it_means(xml: str) -> None:
    labels = list(ElementTree.fromstring(xml).iter("Label"))
    for attribute in ("hotkey", "background"):
        assert len({tag.attrib[attribute] for tag in labels} | {RED}) == len(labels) + 1
    assert all(tag.attrib.get("hint") for tag in labels)


def test_uncategorised_cells_of_the_twelve_class_config_are_ignored() -> None:
    (control,) = parse_label_config(shipped_config("rbc12")).bound
    assert control.ignored == ("Uncategorised",)
