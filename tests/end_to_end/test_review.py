"""Marks on cells worth a second look: an annotator sees them at a glance, and nothing learns from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page

import stub_plugin
from browsing import keep_screenshot, open_next_task, pixels
from hemaloop import results
from hemaloop.annotations import read_truth
from hemaloop.demo.stack import Stack
from hemaloop.labelconfig import parse_label_config
from hemaloop.plugin import Detections, ReviewMark, Scored
from hemaloop.project_setup import create_project, shipped_config
from running import HEIGHT, WIDTH, Project, wait_for

pytestmark = [pytest.mark.label_studio, pytest.mark.browser]

CLASSES = {"red": "#2a9d5c", "green": "#ff9f1c", "blue": "#1f77b4"}
MARK = (228, 0, 43)
LOOK = """<Taxonomy name="look" toName="image" perRegion="true" model_review="cells">
<Choice value="Odd" model_label="unusual" color="#e4002b"/></Taxonomy></View>"""
ODD = (150, 150, 40)
"""A colour for which the stub knows no class."""


@pytest.fixture
def marked(stack: Stack) -> Project:
    """A project of three images, each with one cell of a colour that its model has not seen."""
    xml = stub_plugin.config().replace("model_preset", 'model_train="off" model_preset').replace("</View>", LOOK)
    for name, colour in CLASSES.items():
        xml = xml.replace(f'value="{name}"', f'value="{name}" background="{colour}"')
    made = Project.create(stack, 3, seed=23, xml=xml)
    for index, cells in enumerate(made.cells.values()):
        image = stub_plugin.draw(cells, WIDTH, HEIGHT)
        x1, y1, x2, y2, _ = cells[0]
        image[y1:y2, x1:x2] = ODD
        (made.folder / f"{index:03d}.png").write_bytes(stub_plugin.png(image))
    made.connect()
    return made


def _open(page: Page, stack: Stack, made: Project) -> int:
    """The first task of the queue, with its boxes drawn; its number."""
    task = made.studio.queue_head(made.id, 1)[0][0]
    open_next_task(page, stack, made)
    wait_for(lambda: _row_of_the_marked(page).count() == 1, "the marked cell in the list of regions")
    page.wait_for_timeout(1500)
    return task


def _row_of_the_marked(page: Page) -> Locator:
    """In the list of regions, told by the colour of its number."""
    colour = ",".join(map(str, MARK))
    return page.locator(f"[style*='--icon-color: rgb({colour})'] [class*=outliner-item__title]")


def _submit(page: Page, made: Project, task: int) -> list[dict[str, Any]]:
    page.get_by_test_id("bottombar-submit-button").click()
    annotations = wait_for(lambda: made.studio.task(task)["annotations"], "the submitted annotation")
    result: list[dict[str, Any]] = annotations[0]["result"]
    return result


def _truth(made: Project, task: int) -> Detections:
    control = parse_label_config(made.info.label_config).control("cells")
    truth = read_truth(made.studio.task(task), control, WIDTH, HEIGHT)
    assert truth is not None
    assert truth.faults == ()
    assert isinstance(truth.prediction, Detections)
    return truth.prediction


def test_a_cell_worth_a_second_look_is_red_at_a_glance_and_says_why(page: Page, stack: Stack, marked: Project) -> None:
    _open(page, stack, marked)
    canvas = page.locator("canvas").first
    red = np.abs(pixels(canvas).astype(int) - MARK).max(axis=2) < 30
    keep_screenshot(page, "a_cell_worth_a_second_look")
    rows, columns = np.nonzero(red)
    assert len(rows) > 30, "the outline of the marked cell"
    height, width = red.shape
    # One cell of 8 x 9 px in an image of 320 x 240: the red lies together, not all over the image.
    assert np.ptp(columns) < width / 10
    assert np.ptp(rows) < height / 10

    _row_of_the_marked(page).click()
    page.get_by_text("unusual colour").wait_for()
    keep_screenshot(page, "why_to_look_again")


def test_a_submit_keeps_the_marks_out_of_the_truth(page: Page, stack: Stack, marked: Project) -> None:
    task = _open(page, stack, marked)
    result = _submit(page, marked, task)
    assert sorted({region["type"] for region in result}) == ["rectanglelabels", "taxonomy"]
    truth = _truth(marked, task)
    assert sorted(truth.boxes.tolist()) == sorted(list(map(float, cell[:4])) for cell in marked.cells[task])


def test_confirming_changing_and_deleting_marked_cells_is_read_as_meant(
    page: Page, stack: Stack, marked: Project
) -> None:
    """With a second control of labels as the mark, confirming a class took it away (Label Studio 1.23.2)."""
    task = _open(page, stack, marked)
    row = _row_of_the_marked(page)
    row.click()
    shown = row.inner_text().strip()
    key = str(1 + list(CLASSES).index(shown))
    page.keyboard.press(key)
    page.wait_for_timeout(500)
    assert row.inner_text().strip() == shown, "the key of its class confirms it"
    other = next(name for name in CLASSES if name != shown)
    page.keyboard.press(str(1 + list(CLASSES).index(other)))
    wait_for(lambda: row.inner_text().strip() == other, "the new class")
    page.keyboard.press("4")
    page.wait_for_timeout(500)
    assert row.inner_text().strip() == other, "marks have no keys"
    _submit(page, marked, task)
    truth = _truth(marked, task)
    x1, y1, x2, y2, _ = marked.cells[task][0]
    (index,) = np.flatnonzero((truth.boxes == [x1, y1, x2, y2]).all(axis=1))
    assert list(CLASSES)[truth.labels[index]] == other
    assert len(truth) == len(marked.cells[task])


def test_a_deleted_marked_cell_is_gone(page: Page, stack: Stack, marked: Project) -> None:
    task = _open(page, stack, marked)
    _row_of_the_marked(page).click()
    page.keyboard.press("Backspace")
    wait_for(lambda: _row_of_the_marked(page).count() == 0, "the deletion")
    result = _submit(page, marked, task)
    assert {region["type"] for region in result} == {"rectanglelabels"}
    assert len(_truth(marked, task)) == len(marked.cells[task]) - 1


@pytest.mark.parametrize("name", ["cbc", "rbc_subtypes", "rbc12"])
def test_label_studio_takes_every_shipped_config_with_marked_predictions(stack: Stack, name: str) -> None:
    xml = shipped_config(name)
    made = create_project(stack.studio, f"shipped {name}", xml)
    assert made.label_config == xml.strip()
    (task,) = stack.studio.import_tasks(made.id, [{"data": {"image": "/data/local-files/?d=x.png"}}])
    (control,) = parse_label_config(xml).bound
    marks = (ReviewMark(0, "uncertain class; maybe rare: x (35%)"), ReviewMark(1, "unsure (50%)"))
    scored = Scored(Detections.truth([[0, 0, 9, 9], [9, 9, 30, 30]], [0, 1]), 1.0, marks)
    answer = results.Answer(control, scored, control.model_labels, WIDTH, HEIGHT)
    prediction = {**results.task_prediction([answer], "v1"), "task": task}
    assert stack.studio.import_predictions(made.id, [prediction]) == 1, "Label Studio leaves out invalid ones"
