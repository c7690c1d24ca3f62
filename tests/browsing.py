"""Label Studio in a real browser: what several tests do there."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from hemaloop.demo.stack import Stack
from running import Project

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
REPORTS = Path(__file__).resolve().parents[1] / "reports"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium of this machine, kept from calling home."""
    program = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if program is None:
        pytest.skip(f"no Chromium on the path ({', '.join(BROWSERS)})")
    arguments = [
        "--no-sandbox",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--disable-dev-shm-usage",
    ]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=arguments)
        yield started
        started.close()


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
