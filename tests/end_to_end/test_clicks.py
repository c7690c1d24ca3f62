"""Questions that an annotator draws in a real browser with the shipped labelling configs, and what is saved of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, Response

from browsing import keep_screenshot, open_next_task
from hemaloop.annotations import read_result, read_truth
from hemaloop.demo.stack import Stack
from hemaloop.labelconfig import parse_label_config
from hemaloop.plugin import ClassMap, Detections
from hemaloop.project_setup import shipped_config
from running import HEIGHT, WIDTH, Cell, Cells, Project, wait_for

pytestmark = [pytest.mark.label_studio, pytest.mark.browser]

CLASSES = {"RBC": "red", "WBC": "green", "Platelets": "blue"}
MARGIN = 7
"""Around what is asked about, in px; cells of the test's images are 7 px apart at least."""


class Annotator:
    """Somebody with the next task before them and Auto-Annotation on."""

    def __init__(self, page: Page, stack: Stack, made: Project) -> None:
        self.page = page
        self.made = made
        self.task = made.studio.queue_head(made.id, 1)[0][0]
        page.set_viewport_size({"width": 1400, "height": 1400})
        open_next_task(page, stack, made)
        wait_for(self.regions, "regions in the list")
        page.get_by_test_id("bottombar-auto-annotation-toggle").click()
        page.locator(".lsf-tool_smart").first.wait_for()

    def regions(self) -> int:
        """In the list beside the image."""
        return self.page.locator("[class*=outliner-item__title]").count()

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a px of the image is on the page."""
        shown = self.page.locator("canvas").first.bounding_box()
        assert shown is not None
        scale = shown["width"] / WIDTH
        return shown["x"] + x * scale, shown["y"] + y * scale

    def delete(self, cell: Cell) -> None:
        """The region over a cell."""
        before = self.regions()
        self.page.mouse.click(*self.at(*_centre(cell)))
        self.page.get_by_text("View region details").wait_for(state="hidden")
        self.page.keyboard.press("Backspace")
        wait_for(lambda: self.regions() == before - 1, "one region less")

    def pick(self, tool: str) -> None:
        """One of the tools that ask the model."""
        self.page.locator(".lsf-tool_smart").first.hover()
        self.page.locator(".lsf-toolbar__smart").get_by_label(tool, exact=True).click()

    @contextmanager
    def asking(self, answers: list[dict[str, Any]]) -> Iterator[None]:
        """Whatever is drawn meanwhile is a question; the regions of its answer are added to `answers`."""
        with self.page.expect_response("**/interactive-annotating") as replied:
            yield
        answers += _answer(replied.value)

    def click(self, cell: Cell, *, alt: bool = False) -> list[dict[str, Any]]:
        """Ask about a cell, or say that it is none."""
        answers: list[dict[str, Any]] = []
        # Another point of the cell: two clicks on one place are a double click.
        x, y = _centre(cell)
        with self.asking(answers):
            if alt:
                self.page.keyboard.down("Alt")
            self.page.mouse.click(*self.at(x + 2 * alt, y + 2 * alt))
            if alt:
                self.page.keyboard.up("Alt")
        return answers

    def drag(self, x1: float, y1: float, x2: float, y2: float) -> list[dict[str, Any]]:
        """Ask what is in a rectangle."""
        answers: list[dict[str, Any]] = []
        with self.asking(answers):
            self.page.mouse.move(*self.at(x1, y1))
            self.page.mouse.down()
            self.page.mouse.move(*self.at(x2, y2), steps=8)
            self.page.mouse.up()
        return answers

    def wait_for_suggestions(self, count: int) -> None:
        """As the bar under the image counts them."""
        self.page.get_by_text(f"{count} suggestion").wait_for()

    def accept(self) -> None:
        """All suggestions."""
        self.page.get_by_test_id("bottombar-accept-suggestions-button").click()
        self.page.get_by_test_id("bottombar-accept-suggestions-button").wait_for(state="hidden")

    def submit(self) -> list[dict[str, Any]]:
        """The regions that Label Studio has saved."""
        self.page.get_by_test_id("bottombar-submit-button").click()
        saved = wait_for(lambda: self.made.studio.task(self.task)["annotations"], "the submitted annotation")
        result: list[dict[str, Any]] = saved[0]["result"]
        return result

    def learned(self) -> Cells:
        """What a training reads of what was submitted."""
        (control,) = parse_label_config(self.made.info.label_config).bound
        truth = read_truth(self.made.studio.task(self.task), control, WIDTH, HEIGHT)
        assert truth is not None
        assert truth.faults == ()
        found = truth.prediction
        assert isinstance(found, Detections)
        rows = zip(np.round(found.boxes).astype(int).tolist(), found.labels.tolist(), strict=True)
        return sorted((x1, y1, x2, y2, control.model_labels[label]) for (x1, y1, x2, y2), label in rows)


def _answer(replied: Response) -> list[dict[str, Any]]:
    assert replied.ok
    found: list[dict[str, Any]] = replied.json()["data"]["result"]
    return found


def _centre(cell: Cell) -> tuple[float, float]:
    return (cell[0] + cell[2]) / 2, (cell[1] + cell[3]) / 2


def _boxes(found: list[dict[str, Any]]) -> Cells:
    """Regions as the cells of a test's image, of the class that people see; the control's own regions only."""
    values = [region["value"] for region in found if region["from_name"] == "cells"]
    return sorted(
        (
            round(value["x"] * WIDTH / 100),
            round(value["y"] * HEIGHT / 100),
            round((value["x"] + value["width"]) * WIDTH / 100),
            round((value["y"] + value["height"]) * HEIGHT / 100),
            "+".join(CLASSES[label] for label in value["rectanglelabels"]),
        )
        for value in values
    )


def _clump(cells: Cells) -> tuple[Cells, tuple[int, int, int, int]]:
    """Two cells next to each other, none of them red, and a rectangle round them that no other cell touches."""
    found = []
    for i, one in enumerate(cells):
        for other in cells[i + 1 :]:
            x1, y1 = (min(one[k], other[k]) - MARGIN for k in (0, 1))
            x2, y2 = (max(one[k], other[k]) + MARGIN for k in (2, 3))
            rest = [cell for cell in cells if cell not in (one, other)]
            clear = all(cell[2] < x1 or x2 < cell[0] or cell[3] < y1 or y2 < cell[1] for cell in rest)
            inside = min(x1, y1) >= 0 and x2 <= WIDTH and y2 <= HEIGHT
            if clear and inside and "red" not in (one[4], other[4]):
                found.append(((x2 - x1) * (y2 - y1), [one, other], (x1, y1, x2, y2)))
    _, clump, around = min(found)
    return sorted(clump), around


@pytest.fixture
def counts(stack: Stack) -> Project:
    """A project of the shipped config for blood counts, answered by the stub."""
    xml = shipped_config("cbc").replace("faster_rcnn", "stub")
    xml = xml.replace('model_preset="cbc"', 'model_train="off" model_preset="blobs"')
    for label, colour in CLASSES.items():
        xml = xml.replace(f'<Label value="{label}"', f'<Label value="{label}" model_label="{colour}"')
    made = Project.create(stack, 3, seed=5, xml=xml)
    made.connect()
    return made


def test_a_click_gives_the_cell_under_it_and_an_alt_click_takes_it_away(
    page: Page, stack: Stack, counts: Project
) -> None:
    annotator = Annotator(page, stack, counts)
    cells = counts.cells[annotator.task]
    missed, none = [cell for cell in cells if cell[4] != "red"][:2]
    for cell in (missed, none):
        annotator.delete(cell)

    annotator.pick("key-point-tool")
    assert _boxes(annotator.click(none)) == [none]
    annotator.wait_for_suggestions(1)
    keep_screenshot(page, "a_click_and_its_answer")
    assert annotator.click(none, alt=True) == []
    page.get_by_test_id("bottombar-accept-suggestions-button").wait_for(state="hidden")
    keep_screenshot(page, "an_alt_click_and_its_answer")
    assert _boxes(annotator.click(missed)) == [missed]
    annotator.wait_for_suggestions(1)
    annotator.accept()

    saved = annotator.submit()
    left = sorted(cell for cell in cells if cell != none)
    assert {region["from_name"] for region in saved if region["from_name"] != "look"} == {"cells"}
    assert _boxes(saved) == left
    assert annotator.learned() == left


def test_a_rectangle_round_a_clump_gives_the_boxes_inside_with_their_own_class(
    page: Page, stack: Stack, counts: Project
) -> None:
    annotator = Annotator(page, stack, counts)
    cells = counts.cells[annotator.task]
    clump, around = _clump(cells)
    for cell in clump:
        annotator.delete(cell)

    page.keyboard.press("1")
    annotator.pick("rectangle-tool")
    page.keyboard.press("r")
    assert _boxes(annotator.drag(*around)) == clump
    annotator.wait_for_suggestions(2)
    keep_screenshot(page, "a_rectangle_and_its_answer")
    annotator.accept()

    saved = annotator.submit()
    assert _boxes(saved) == sorted(cells)
    assert annotator.learned() == sorted(cells)


def test_a_question_left_open_is_no_truth(page: Page, stack: Stack, counts: Project) -> None:
    annotator = Annotator(page, stack, counts)
    cells = counts.cells[annotator.task]
    annotator.delete(cells[0])
    annotator.pick("key-point-tool")
    annotator.click(cells[0])
    annotator.wait_for_suggestions(1)
    saved = annotator.submit()
    assert "ask" in {region["from_name"] for region in saved}
    assert annotator.learned() == sorted(cells[1:])


def test_clicks_on_cells_give_their_masks(page: Page, stack: Stack) -> None:
    xml = shipped_config("rbc_overlap").replace('"rbc_overlap"', '"rbc_overlap_classical"')
    made = Project.create(stack, 2, seed=0, xml=xml.replace("<BrushLabels ", '<BrushLabels model_train="off" ', 1))
    made.connect()
    annotator = Annotator(page, stack, made)
    first, second, third, *_ = made.cells[annotator.task]
    while annotator.regions():
        page.locator("[class*=outliner-item__title]").first.click()
        page.keyboard.press("Backspace")
        page.wait_for_timeout(300)

    annotator.pick("key-point-tool")
    for cell in (first, second):
        (region,) = annotator.click(cell)
        assert (region["from_name"], region["value"]["brushlabels"]) == ("cells", ["RBC"])
    keep_screenshot(page, "clicks_and_their_mask")
    annotator.accept()

    (control,) = parse_label_config(xml).bound
    truth, faults = read_result(annotator.submit(), control, WIDTH, HEIGHT)
    assert isinstance(truth, ClassMap)
    assert not faults
    shown = [int(truth.labels[int(y), int(x)]) for x, y in map(_centre, (first, second, third))]
    assert shown == [1, 1, 0], "the cells that were clicked on, and no other"
