"""The page in a real Chromium: with and without scripts, on a desk and on a phone, in light and in the dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

import page_stage
from browsing import REPORTS, chromium
from hemaloop.redis_server import EmbeddedRedis
from loop_stage import PROJECT
from page_stage import NAME, PASSWORD
from web_stage import wait_until

pytestmark = pytest.mark.browser

# What a screen reader needs, and whether text stands out from its ground (WCAG 2.2, 1.4.3: 4.5 : 1, 3 : 1 if large).
FAULTS = """() => {
  const faults = [];
  const named = element => (element.getAttribute("aria-label") || element.textContent || "").trim() !== "";
  if (!document.documentElement.lang) faults.push("no language");
  if (!document.title) faults.push("no title");
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
    const own = Number(heading.tagName[1]);
    if (own > level + 1) faults.push(`${heading.tagName} after h${level}: ${heading.textContent.trim()}`);
    level = own;
  }
  for (const part of ["header", "main"]) if (!document.querySelector(part)) faults.push(`no ${part}`);
  for (const image of document.images) if (!image.alt) faults.push(`image without words: ${image.src}`);
  for (const one of document.querySelectorAll("a, button, summary, th"))
    if (!named(one)) faults.push(`${one.tagName} without a name: ${one.outerHTML.slice(0, 80)}`);
  for (const field of document.querySelectorAll("input:not([type=hidden]), progress"))
    if (!field.labels?.length && !field.ariaLabel) faults.push(`${field.outerHTML.slice(0, 80)} without a label`);
  for (const svg of document.querySelectorAll("main svg:not([aria-hidden=true])"))
    if (!svg.getAttribute("aria-label")) faults.push("drawing without words");
  const ids = [...document.querySelectorAll("[id]")].map(element => element.id);
  if (new Set(ids).size !== ids.length) faults.push("an id twice");

  const rgb = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement, style = getComputedStyle(element);
    if (!node.textContent.trim() || !element.getClientRects().length) continue;
    if (element.closest(".hidden, script, svg")) continue;
    const a = light(rgb(style.color)), b = light(ground(element));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5))
      faults.push(`${ratio.toFixed(2)} : 1 of ${node.textContent.trim().slice(0, 40)}`);
  }
  return faults;
}"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[page_stage.Page]:
    with (
        EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server,
        page_stage.page(tmp_path_factory.mktemp("page"), server.url) as made,
    ):
        page_stage.fill(made, rounds=2, images=12)
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


Visit = Callable[..., Any]


@pytest.fixture
def visit(browser: Browser, stage: page_stage.Page) -> Visit:
    """A page of somebody who signed in by the form; what went wrong or elsewhere is held against the test."""

    @contextmanager
    def opened(path: str = f"/ui/projects/{PROJECT}", **options: Any) -> Iterator[Page]:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        page = context.new_page()
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: _same_host(request.url, stage.url, wrong))
        page.goto(stage.url + path)
        page.get_by_label("Name").fill(NAME)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        yield page
        context.close()
        assert not wrong, wrong

    return opened


def _same_host(url: str, own: str, wrong: list[str]) -> None:
    if urlsplit(url).netloc != urlsplit(own).netloc and not url.startswith("data:"):
        wrong.append(f"asked {url}")


def keep(page: Page, name: str) -> None:
    """For people to look at."""
    REPORTS.mkdir(exist_ok=True)
    page.evaluate("for (const image of document.images) image.loading = 'eager'")
    loaded = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    wait_until(lambda: page.evaluate(loaded), 30)  # the policy of the page keeps a waiting function out
    page.screenshot(path=REPORTS / f"{name}.png", full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everything_has_a_name_stands_out_and_fits(visit: Visit, scheme: str, width: int) -> None:
    with visit(color_scheme=scheme, viewport={"width": width, "height": 844}) as page:
        for path in ("", "/ui/"):
            if path:
                page.get_by_role("link", name="Projects").click()
            assert page.evaluate(FAULTS) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            keep(page, f"page_{'projects' if path else 'project'}_{scheme}_{width}")


def test_the_form_for_signing_in_is_sound(browser: Browser, stage: page_stage.Page) -> None:
    page = browser.new_page()
    page.goto(f"{stage.url}/ui/")
    assert page.evaluate(FAULTS) == []
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill("guess")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    page.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_rolling_back_and_forth_by_keyboard_with_and_without_scripts(
    visit: Visit, stage: page_stage.Page, scripts: bool
) -> None:
    before, after = [one.version for one in stage.store.history(PROJECT)][:2]
    with visit(java_script_enabled=scripts) as page:
        question = page.get_by_text("Roll back to")
        question.focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Roll back").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text(f"Going back from {before} to {after}")
        stage.work()
        assert stage.studio.model_version == after
        page.reload()
        expect(page.locator("tr.live")).to_contain_text(after)
        row = page.locator("tr", has=page.get_by_text(before, exact=True))
        row.get_by_text("Promote").first.click()
        row.get_by_role("button", name="Promote").click()
        expect(page.get_by_role("status")).to_contain_text(f"{before} was promoted")
        stage.work()
        assert stage.studio.model_version == before


def test_what_happens_meanwhile_appears_by_itself(visit: Visit, stage: page_stage.Page) -> None:
    with visit() as page:
        expect(page.get_by_text("Nothing is training")).to_be_visible()
        job = stage.queues.request_training(PROJECT, "test", delay=600)
        expect(page.get_by_role("heading", name="Training scheduled")).to_be_visible(timeout=15_000)
        page.get_by_role("button", name="Stop it training").click()
        expect(page.get_by_role("status")).to_contain_text("stops at its next step")
        assert stage.queues.job_status(str(job))["status"] == "cancelled"


def test_a_question_that_is_open_is_not_taken_away_by_an_update(visit: Visit) -> None:
    with visit() as page:
        page.get_by_text("Roll back to").click()
        page.evaluate("document.querySelectorAll('[data-live]').forEach(part => refresh(part))")
        page.wait_for_timeout(500)
        expect(page.get_by_role("button", name="Roll back")).to_be_visible()


def test_a_failure_is_tried_again_from_the_page(visit: Visit, stage: page_stage.Page, tmp_path: Path) -> None:
    config, stage.studio.config = stage.studio.config, "<View/>"
    stage.queues.request_portrait(PROJECT)
    stage.work()
    stage.studio.config = config
    with visit() as page:
        expect(page.get_by_role("heading", name="Failures")).to_be_visible()
        expect(page.get_by_text("no control is bound")).to_be_visible()
        page.get_by_role("button", name="Try again").first.click()
        expect(page.get_by_role("status")).to_contain_text("asked for again")
        stage.work()
        expect(page.get_by_role("heading", name="Failures")).to_have_count(0, timeout=15_000)
