"""A project that no model knows anything of: its order, what an annotator sees, and its first model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from browsing import keep_screenshot, open_next_task
from hemaloop.demo.stack import Stack
from running import Project, wait_for

pytestmark = [pytest.mark.label_studio, pytest.mark.browser]

UNTRAINED = "stub-untrained"


def test_typical_images_come_first_without_a_region_until_the_first_model_is_there(
    page: Page, stack: Stack, project: Callable[..., Project]
) -> None:
    made = project(12, preset="bare")
    made.wait_until_scored(UNTRAINED)
    made.idle()
    queue = made.studio.queue_head(made.id, 12)
    assert len({score for _, score in queue}) == 12
    assert [score for _, score in queue] == sorted(score for _, score in queue)
    open_next_task(page, stack, made)
    page.wait_for_timeout(2000)
    keep_screenshot(page, "the_first_task_without_a_model")
    assert page.get_by_text("Labeled regions will appear here").count() == 1
    page.get_by_test_id("bottombar-submit-button").click()
    wait_for(lambda: list(made.studio.tasks(made.id, only="annotated")), "the submit in Label Studio")
    (done,) = made.studio.tasks(made.id, only="annotated")
    assert done["id"] == queue[0][0], "the most typical image was handed out first"
    assert done["annotations"][0]["result"] == []

    for task, _ in queue[1:7]:
        made.submit(task)
    version = made.wait_for_version()
    made.wait_until_scored(version)
    open_task = next(iter(made.studio.tasks(made.id, only="unannotated")))
    assert [one["result"] != [] for one in open_task["predictions"] if one["model_version"] == version] == [True]
