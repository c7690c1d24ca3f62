"""The page beside a real Label Studio: what it shows is what Label Studio has, and its links lead there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from browsing import keep_screenshot
from hemaloop.demo.stack import Stack
from running import Project, wait_for

pytestmark = [pytest.mark.label_studio, pytest.mark.browser]


def test_the_page_shows_the_head_of_the_queue_and_leads_to_it(
    page: Page, stack: Stack, project: Callable[..., Project]
) -> None:
    made = project(12, preset="bare")
    for task in list(made.cells)[:7]:
        made.submit(task)
    version = made.wait_for_version()
    made.wait_until_scored(version)
    made.idle()
    backend = stack.settings.backend_url
    page.goto(f"{backend}/ui/projects/{made.key}")
    page.get_by_label("Name").fill(stack.settings.username)
    page.get_by_label("Password").fill(stack.settings.password.get_secret_value())
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("tr.live")).to_contain_text(version)
    expect(page.get_by_role("heading", name=made.info.title)).to_be_visible(timeout=120_000)
    wait_for(lambda: page.locator("ol.pictures img").count() == 5, "pictures of the images that wait")
    keep_screenshot(page, "the_page_of_a_project")
    shown = [name.split()[1] for name in page.locator("ol.pictures b").all_inner_texts()]
    assert shown == [str(task) for task, _ in made.studio.queue_head(made.id, 5)]
    submitted = sum(len(cells) for task, cells in made.cells.items() if str(task) not in shown)
    counts = page.locator("section", has=page.locator("#labels")).locator("tbody .n").all_inner_texts()
    assert sum(map(int, counts)) == submitted
    page.locator("ol.pictures a").first.click()
    page.get_by_test_id("bottombar-submit-button").wait_for()
    assert page.url.startswith(f"{stack.server.url}/projects/{made.id}/data")
    assert f"task={shown[0]}" in page.url
