"""What an annotator sees: a real Label Studio in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from browsing import keep_screenshot, open_next_task
from hemaloop.demo.stack import Stack
from running import Project, wait_for

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
