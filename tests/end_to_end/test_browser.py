"""What an annotator sees: a real Label Studio in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from playwright.sync_api import Locator, Page

import stub_plugin
from browsing import keep_screenshot, open_next_task
from hemaloop.annotations import read_result
from hemaloop.demo.stack import Stack
from hemaloop.labelconfig import parse_label_config
from hemaloop.plugin import ClassMap
from hemaloop.project_setup import shipped_config
from running import HEIGHT, WIDTH, Cell, Project, wait_for

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


QUESTIONS = (
    '<KeyPoint name="ask" toName="image" smart="true" smartOnly="true"/>'
    '<Rectangle name="around" toName="image" smart="true" smartOnly="true"/></View>'
)
"""As the shipped labelling config for masks has them."""


def test_points_and_rectangles_without_a_label_ask_the_model_and_its_answers_keep_its_labels(
    page: Page, stack: Stack, project: Callable[..., Project]
) -> None:
    xml = stub_plugin.config().replace("</View>", QUESTIONS)
    xml = xml.replace("<RectangleLabels ", '<RectangleLabels smart="false" model_train="off" ', 1)
    made = Project.create(stack, 2, seed=0, xml=xml)
    made.connect()
    task, (first, second, third, fourth, *rest) = next(iter(made.cells.items()))
    page.goto(f"{stack.server.url}/projects/{made.id}/data?task={task}")
    wait_for(lambda: _labels_shown(page), "labels in the list of regions")
    for _ in range(len(rest) + 4):  # nothing is there, as where the model had missed it
        _titles(page).first.click()
        page.keyboard.press("Backspace")
    wait_for(lambda: not _labels_shown(page), "an image without regions")
    page.get_by_test_id("bottombar-auto-annotation-toggle").click()
    page.locator(".lsf-tool_smart").first.click()
    page.wait_for_timeout(500)

    on = _OnImage(page)
    assert on.ask(lambda: on.click(_middle(first))) == [first]
    page.get_by_text("1 suggestion").wait_for()
    assert on.ask(lambda: on.click(_middle(second))) == sorted([first, second]), (
        "what was not taken yet is answered too"
    )
    page.get_by_text("2 suggestions").wait_for()
    keep_screenshot(page, "a_question_and_its_answer")
    page.get_by_test_id("bottombar-accept-suggestions-button").click()
    wait_for(lambda: _titles(page).count() == 2, "two accepted boxes")
    assert on.ask(lambda: on.click(_middle(third))) == [third], "what was taken is no question any more"
    page.get_by_test_id("bottombar-reject-suggestions-button").click()

    page.get_by_test_id("bottombar-auto-accept-toggle").click()
    page.locator(".lsf-tool_smart").first.hover()
    page.locator(".lsf-toolbar__smart").get_by_label("rectangle-tool", exact=True).click()
    x1, y1, x2, y2, _ = fourth
    assert on.ask(lambda: on.drag((x1 - 6, y1 - 6), (x2 + 6, y2 + 6))) == [fourth]
    wait_for(lambda: _titles(page).count() == 3, "a box that was accepted by itself")
    page.get_by_test_id("bottombar-submit-button").click()
    wait_for(lambda: _annotated(made) == 1, "the submit in Label Studio")
    (annotated,) = made.studio.tasks(made.id, only="annotated")
    result = annotated["annotations"][0]["result"]
    assert sorted(_cells_of(result)) == sorted([first, second, fourth]), "the model's own labels, and no question"


def test_points_on_cells_give_their_masks(page: Page, stack: Stack) -> None:
    xml = shipped_config("rbc_overlap").replace('"rbc_overlap"', '"rbc_overlap_classical"')
    xml = xml.replace("<BrushLabels ", '<BrushLabels model_train="off" ', 1)
    made = Project.create(stack, 2, seed=0, xml=xml)
    made.connect()
    task, (first, second, third, *_) = next(iter(made.cells.items()))
    page.goto(f"{stack.server.url}/projects/{made.id}/data?task={task}")
    wait_for(lambda: _titles(page).count(), "masks in the list of regions")
    while _titles(page).count():
        _titles(page).first.click()
        page.keyboard.press("Backspace")
        page.wait_for_timeout(300)
    page.get_by_test_id("bottombar-auto-annotation-toggle").click()
    page.locator(".lsf-tool_smart").first.click()
    page.wait_for_timeout(500)

    on = _OnImage(page)
    for cell in (first, second):
        (region,) = on.asked(lambda cell=cell: on.click(_middle(cell)))
        assert (region["from_name"], region["value"]["brushlabels"]) == ("cells", ["RBC"])
    keep_screenshot(page, "a_question_about_masks")
    page.get_by_test_id("bottombar-accept-suggestions-button").click()
    wait_for(lambda: _titles(page).count() == 1, "the accepted mask")
    page.get_by_test_id("bottombar-submit-button").click()
    wait_for(lambda: _annotated(made) == 1, "the submit in Label Studio")
    (annotated,) = made.studio.tasks(made.id, only="annotated")
    (control,) = parse_label_config(xml).bound
    truth, faults = read_result(annotated["annotations"][0]["result"], control, WIDTH, HEIGHT)
    assert isinstance(truth, ClassMap)
    assert not faults
    shown = [int(truth.labels[int(y), int(x)]) for x, y in map(_middle, (first, second, third))]
    assert shown == [1, 1, 0], "the cells that were pointed at, and no other"


def _titles(page: Page) -> Locator:
    """One for each region in the list beside the image."""
    return page.locator("[class*=outliner-item__title]")


def _middle(cell: Cell) -> tuple[float, float]:
    x1, y1, x2, y2, _ = cell
    return (x1 + x2) / 2, (y1 + y2) / 2


def _cells_of(result: Sequence[dict[str, Any]]) -> list[Cell]:
    """Boxes in px with their label, as the stub's images were drawn."""
    found = []
    for region in result:
        value = region["value"]
        sides = (value["x"] * WIDTH, value["y"] * HEIGHT, value["width"] * WIDTH, value["height"] * HEIGHT)
        x, y, width, height = (round(side / 100) for side in sides)
        found.append((x, y, x + width, y + height, *value.get("rectanglelabels", ["no label"])))
    return found


class _OnImage:
    """The mouse, in px of the image."""

    def __init__(self, page: Page) -> None:
        self._page = page
        shown = page.locator("canvas").first.bounding_box()
        assert shown is not None
        self._shown = shown

    def _place(self, point: tuple[float, float]) -> tuple[float, float]:
        scale = self._shown["width"] / WIDTH
        return self._shown["x"] + point[0] * scale, self._shown["y"] + point[1] * scale

    def click(self, point: tuple[float, float]) -> None:
        self._page.mouse.click(*self._place(point))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self._page.mouse.move(*self._place(start))
        self._page.mouse.down()
        self._page.mouse.move(*self._place(end), steps=8)
        self._page.mouse.up()

    def asked(self, draw: Callable[[], None]) -> list[dict[str, Any]]:
        """The regions of the answer to what is drawn."""
        with self._page.expect_response("**/interactive-annotating") as replied:
            draw()
        return list(replied.value.json()["data"]["result"])

    def ask(self, draw: Callable[[], None]) -> list[Cell]:
        """The cells of the answer to what is drawn."""
        return sorted(_cells_of(self.asked(draw)))
