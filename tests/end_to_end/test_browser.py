"""What an annotator sees: a real Label Studio in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

import stub_plugin
from browsing import keep_screenshot, open_next_task
from hemaloop.demo.stack import Stack
from running import HEIGHT, WIDTH, Project, wait_for

pytestmark = [pytest.mark.label_studio, pytest.mark.browser]


def _labels_shown(page: Page) -> list[str]:
    """The labels in the list of regions beside the image."""
    rows = page.locator("[class*=outliner-item__title], [class*=outliner-item]").all_inner_texts()
    return [line for row in rows for line in row.splitlines() if line in {"red", "green", "blue"}]


def test_a_task_opens_with_its_boxes(page: Page, stack: Stack, project: Callable[..., Project]) -> None:
    made = project(3)
    open_next_task(page, stack, made)
    wait_for(lambda: len(set(_labels_shown(page))) > 1, "labels in the list of regions")
    page.wait_for_timeout(1000)
    keep_screenshot(page, "a_task_with_its_boxes")


def test_submits_in_the_browser_lead_to_a_better_model_and_its_order(
    page: Page, stack: Stack, project: Callable[..., Project]
) -> None:
    made = project(12, preset="bare")
    for task_id in list(made.cells)[:7]:
        made.submit(task_id)
    first = made.wait_for_version()
    made.wait_until_scored(first)
    made.idle()

    lowest = made.studio.queue_head(made.id, 1)[0]
    open_next_task(page, stack, made)
    wait_for(lambda: _labels_shown(page), "labels in the list of regions")
    keep_screenshot(page, "the_most_relevant_task")
    for number in range(4):
        page.get_by_test_id("bottombar-submit-button").click()
        wait_for(lambda expected=8 + number: _annotated(made) == expected, f"submit {number + 1} in Label Studio")
        page.wait_for_timeout(700)
    submitted = {task["id"]: task for task in made.studio.tasks(made.id, only="annotated")}
    assert lowest[0] in submitted, "the first task that was handed out is the most relevant one"
    accepted = submitted[lowest[0]]["annotations"][0]
    assert {region["origin"] for region in accepted["result"]} == {"prediction"}

    wait_for(lambda: len(made.versions()) == 2, "a second training, from the submits of the browser")
    used = made.store.manifest(made.key, "cells", made.versions()[-1]).annotations
    assert len(used) == 11


def _annotated(made: Project) -> int:
    return sum(1 for _ in made.studio.tasks(made.id, only="annotated", with_annotations=False))


def test_a_rectangle_drawn_with_the_model_gives_the_boxes_inside(
    page: Page, stack: Stack, project: Callable[..., Project]
) -> None:
    xml = stub_plugin.config().replace("<RectangleLabels ", '<RectangleLabels smart="true" ', 1)
    made = Project.create(stack, 3, seed=0, xml=xml.replace("model_preset", 'model_train="off" model_preset'))
    made.connect()
    open_next_task(page, stack, made)
    wait_for(lambda: _labels_shown(page), "labels in the list of regions")
    page.get_by_text("Auto-Annotation").click()
    page.locator(".lsf-tool_smart").first.click()
    page.keyboard.press("1")
    page.locator("[class*=label_selected]").first.wait_for()

    shown = page.locator("canvas").first.bounding_box()
    assert shown is not None
    task = int(page.url.split("task=")[1].split("&")[0]) if "task=" in page.url else next(iter(made.cells))
    x1, y1, x2, y2, _ = made.cells[task][1]
    scale = shown["width"] / WIDTH
    corners = [(shown["x"] + x * scale, shown["y"] + y * scale) for x, y in ((x1 - 8, y1 - 8), (x2 + 8, y2 + 8))]
    with page.expect_response("**/interactive-annotating") as replied:
        page.mouse.move(*corners[0])
        page.mouse.down()
        page.mouse.move(*corners[1], steps=8)
        page.mouse.up()
    (region,) = replied.value.json()["data"]["result"]
    assert region["value"]["x"] == pytest.approx(100 * x1 / WIDTH, abs=0.5)
    assert region["value"]["y"] == pytest.approx(100 * y1 / HEIGHT, abs=0.5)
    page.get_by_text("1 suggestion").wait_for()
    keep_screenshot(page, "a_question_and_its_answer")
