"""Boxes of one family and a choice about each from another, in one project: predicted, corrected, learned from."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

import stub_plugin
from browsing import keep_screenshot, open_next_task
from hemaloop.annotations import read_truth
from hemaloop.demo.stack import Stack
from hemaloop.labelconfig import parse_label_config
from hemaloop.plugin import Detections
from running import HEIGHT, WIDTH, Project, regions, wait_for

pytestmark = pytest.mark.label_studio

KIND = """<Choices name="kind" toName="image" perRegion="true" choice="single" whenLabelValue="red,green"
visibleWhen="region-selected" model_family="tone" model_preset="{preset}" model_regions="cells" {options}>
<Choice value="bright"/><Choice value="dim"/></Choices></View>"""


def config(preset: str, options: str = "") -> str:
    return stub_plugin.config().replace("</View>", KIND.format(preset=preset, options=options))


def by_control(result: list[dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    return {one["id"]: one["value"] for one in result if one["from_name"] == name}


def truth_of(made: Project, task: int) -> list[str]:
    """What was chosen about each region, sorted."""
    control = parse_label_config(made.info.label_config).control("kind")
    found = read_truth(made.studio.task(task), control, WIDTH, HEIGHT)
    assert found is not None
    assert found.faults == ()
    assert isinstance(found.prediction, Detections)
    return sorted(control.model_labels[label] for label in found.prediction.labels)


@pytest.mark.browser
def test_a_choice_about_each_box_is_there_and_is_corrected_where_it_stands(page: Page, stack: Stack) -> None:
    xml = config("lit", 'model_train="off"').replace('model_preset="blobs"', 'model_preset="blobs" model_train="off"')
    made = Project.create(stack, 3, seed=31, xml=xml)
    made.connect()
    task = made.studio.queue_head(made.id, 1)[0][0]
    open_next_task(page, stack, made)
    row = page.locator("[class*=outliner-item__title]", has_text="red").first
    row.wait_for()
    page.wait_for_timeout(1500)
    row.click()
    dim = page.locator("label", has_text="dim")
    dim.wait_for()
    keep_screenshot(page, "a_choice_about_a_box")
    asked = sum(cell[4] != "blue" for cell in made.cells[task])
    bright = sum(cell[4] == "red" for cell in made.cells[task])
    dim.click()
    page.get_by_test_id("bottombar-submit-button").click()
    (annotation,) = wait_for(lambda: made.studio.task(task)["annotations"], "the submitted annotation")
    boxes, choices = (by_control(annotation["result"], name) for name in ("cells", "kind"))
    assert len(boxes) == len(made.cells[task])
    assert set(choices) <= set(boxes)
    assert len(choices) == asked
    assert truth_of(made, task) == ["bright"] * (bright - 1) + ["dim"] * (asked - bright + 1)


def test_both_families_learn_from_what_is_said_about_boxes(stack: Stack) -> None:
    made = Project.create(stack, 14, seed=5, xml=config("shades"))
    made.connect()
    for task in list(made.cells)[:12]:
        result = regions(made.cells[task])
        said = [
            {
                **box,
                "from_name": "kind",
                "type": "choices",
                "value": {
                    **{side: box["value"][side] for side in ("x", "y", "width", "height", "rotation")},
                    "choices": ["bright" if box["value"]["rectanglelabels"] == ["red"] else "dim"],
                },
            }
            for box in result
            if box["value"]["rectanglelabels"] != ["blue"]
        ]
        made.studio.submit_annotation(task, [*result, *said])

    def published() -> str | None:
        version = made.studio.project(made.id).model_version
        return version if version is not None and "+tone-0" in version else None

    version = wait_for(published, "a published model of the choices", 240)
    made.wait_until_scored(version)
    left = list(made.cells)[12:]
    for task in left:
        (prediction,) = [one for one in made.studio.task(task)["predictions"] if one["model_version"] == version]
        boxes, choices = (by_control(prediction["result"], name) for name in ("cells", "kind"))
        for name, value in boxes.items():
            colour = value["rectanglelabels"][0]
            expected = {"red": ["bright"], "green": ["dim"]}.get(colour)
            assert choices.get(name, {}).get("choices") == expected
