"""Where the class of an image was seen is shown beside it, where the config asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.label_interface import LabelInterface

import stub_plugin
import web_stage
from hemaloop import brush, results
from hemaloop.annotations import read_truth
from hemaloop.errors import LabelConfigError
from hemaloop.heat import hottest
from hemaloop.labelconfig import parse_label_config
from hemaloop.plugin import Classification
from hemaloop.projects import LiveModel, starter_part
from hemaloop.scoring import Scorer, TaskRef

XML = """<View><Image name="image" value="$image"/>
<Choices name="kind" toName="image" model_family="tone" model_preset="lit"><Choice value="bright"/><Choice value="dim"/>
</Choices>
<BrushLabels name="seen" toName="image" model_explains="kind"><Label value="There"/></BrushLabels></View>"""


@pytest.fixture(autouse=True)
def stub() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        stub_plugin.install(patch)
        yield
    stub_plugin.forget()


def predicted(folder: Path, xml: str = XML) -> list[dict[str, Any]]:
    config = parse_label_config(xml)
    live = LiveModel("v", {control.name: starter_part(control) for control in config.bound})
    uri = web_stage.image_file(folder, "1.png", 1)
    (one,) = Scorer(web_stage.settings(folder)).score(web_stage.PROJECT, config, live, [TaskRef(1, {"image": uri})])
    assert one.error is None, one.error
    assert one.prediction is not None
    assert results.validate(one.prediction, config) == []
    assert LabelInterface(xml).validate_prediction(one.prediction, return_errors=True) == []
    return one.prediction["result"]  # type: ignore[no-any-return]


def test_the_hottest_part_lies_beside_the_choice(tmp_path: Path) -> None:
    choice, seen = predicted(tmp_path)
    assert (choice["from_name"], seen["from_name"]) == ("kind", "seen")
    assert seen["value"]["brushlabels"] == ["There"]
    mask = brush.decode(seen["value"]["rle"], seen["original_width"], seen["original_height"])
    drawn = stub_plugin.draw(stub_plugin.random_cells(1))
    np.testing.assert_array_equal(mask, drawn.max(axis=2) > 127)


def test_without_the_control_nothing_is_explained(tmp_path: Path) -> None:
    xml = XML.replace(' model_explains="kind"', "")
    assert [one["from_name"] for one in predicted(tmp_path, xml)] == ["kind"]


def test_a_choice_with_its_heat_is_read_back_as_the_choice(tmp_path: Path) -> None:
    result = predicted(tmp_path)
    one = {"id": 1, "completed_by": 1, "updated_at": "2026-01-01", "lead_time": 1.0, "result": result}
    control = parse_label_config(XML).control("kind")
    truth = read_truth({"id": 7, "annotations": [one]}, control, 64, 48)
    assert truth is not None
    assert truth.faults == ()
    assert isinstance(truth.prediction, Classification)


def test_of_no_heat_nothing_is_hot() -> None:
    assert not hottest(np.zeros((3, 3), np.float32)).any()


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        (XML.replace('explains="kind"', 'explains="cells"'), "expected the name of bound <Choices>; bound: 'kind'"),
        (XML.replace('<Label value="There"/>', '<Label value="a"/><Label value="b"/>'), "<BrushLabels> with one label"),
        (XML.replace("model_explains", 'model_train="off" model_explains'), "cannot have model_train"),
    ],
)
def test_a_wrong_control_is_named(xml: str, says: str) -> None:
    with pytest.raises(LabelConfigError, match=says):
        parse_label_config(xml)
