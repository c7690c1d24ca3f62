"""Label Studio in a real browser: what several tests do there."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Locator, Page

from hemaloop.demo.stack import Stack
from running import Project

REPORTS = Path(__file__).resolve().parents[1] / "reports"


def open_next_task(page: Page, stack: Stack, made: Project) -> None:
    """As an annotator gets it."""
    page.goto(f"{stack.server.url}/projects/{made.id}/data")
    page.get_by_role("button", name="Label All Tasks").click()
    page.get_by_test_id("bottombar-submit-button").wait_for()


def keep_screenshot(page: Page, name: str) -> None:
    """For people to look at."""
    REPORTS.mkdir(exist_ok=True)
    page.screenshot(path=REPORTS / f"{name}.png")


def pixels(part: Locator) -> NDArray[np.uint8]:
    """What a part of the page looks like: (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(part.screenshot())).convert("RGB"))
