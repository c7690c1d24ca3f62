"""Laws of the labelling configs that come with hemaloop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from defusedxml import ElementTree
from label_studio_sdk.label_interface import LabelInterface

from hemaloop import projects, registry, results
from hemaloop.labelconfig import Control, LabelConfig, parse_label_config
from hemaloop.plugin import ClassMap, Detections, ReviewMark, Scored
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


@pytest.fixture
def control(config: LabelConfig) -> Control:
    (only,) = config.require_bound()
    return only


def test_label_studio_accepts_it_and_finds_the_same_labels(xml: str, config: LabelConfig) -> None:
    interface = LabelInterface(xml)
    interface.validate()
    for control in config.controls:
        assert tuple(interface.get_control(control.name).labels) == control.labels


def test_its_family_serves_it_with_the_labels_of_its_preset(config: LabelConfig, control: Control) -> None:
    assert projects.faults(config) == []
    assert control.binding is not None
    assert control.binding.preset is not None
    assert control.model_labels == registry.find(control.binding.family).presets[control.binding.preset].labels


def test_a_mark_for_any_reason_is_valid_and_red(xml: str, config: LabelConfig, control: Control) -> None:
    boxes = Detections.truth([[1, 2, 30, 40], [3, 4, 50, 60]], [0, 1])
    found = (
        boxes if control.kind == "rectanglelabels" else ClassMap(np.tile(np.array([0, 1, 2, 0], np.uint8), (64, 16)))
    )
    marks = (ReviewMark(0, "uncertain box; maybe rare: Teardrop (35%)"), ReviewMark(1, "something else"))
    answer = results.Answer(control, Scored(found, 1.0, marks), control.model_labels, 64, 64)
    prediction = results.task_prediction([answer], "v")
    assert [region["type"] for region in prediction["result"]] == ["taxonomy", control.kind] * 2
    assert results.validate(prediction, config) == []
    assert LabelInterface(xml).validate_prediction(prediction, return_errors=True) == []
    colours = {tag.attrib["color"] for tag in ElementTree.fromstring(xml).iter("Choice")}
    assert colours == {RED}


def test_every_label_has_a_key_and_a_colour_of_its_own_and_says_what_it_means(xml: str) -> None:
    labels = list(ElementTree.fromstring(xml).iter("Label"))
    for attribute in ("hotkey", "background"):
        assert len({tag.attrib[attribute] for tag in labels} | {RED}) == len(labels) + 1
    assert all(tag.attrib.get("hint") for tag in labels)


def test_uncategorised_cells_of_the_twelve_class_config_are_ignored() -> None:
    (control,) = parse_label_config(shipped_config("rbc12")).bound
    assert control.ignored == ("Uncategorised",)
