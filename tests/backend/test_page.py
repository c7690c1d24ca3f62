"""The page under /ui: who may look, who may change what, and what is shown when parts of the system are away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from rq import Queue
from rq.registry import ScheduledJobRegistry
from rq.serializers import JSONSerializer
from rq.utils import utcformat

import page_stage
from hemaloop import portrait, queue_view
from hemaloop.redis_server import EmbeddedRedis
from hemaloop.web.guesses import FREE
from hemaloop.worker import build_worker
from loop_stage import PROJECT
from page_stage import NAME, PASSWORD, Page

TOKEN = re.compile(r'name="token" value="([^"]+)"')


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with (
        EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server,
        page_stage.page(tmp_path_factory.mktemp("page"), server.url) as made,
    ):
        page_stage.fill(made)
        yield made


@pytest.fixture
def browser(page: Page) -> requests.Session:
    """Somebody who signed in."""
    session = requests.Session()
    session.post(f"{page.url}/ui/sign-in", data={"name": NAME, "password": PASSWORD, "token": token(session, page)})
    return session


def token(session: requests.Session, page: Page, path: str = "/ui/sign-in") -> str:
    found = TOKEN.search(session.get(f"{page.url}{path}", timeout=30).text)
    assert found, "the page has a form"
    return found[1]


def change(session: requests.Session, page: Page, what: str, **fields: str) -> requests.Response:
    path = f"/ui/projects/{PROJECT}"
    data = {"token": token(session, page, path), **fields}
    return session.post(f"{page.url}{path}/{what}", data=data, timeout=60)


# -- who may look


@pytest.mark.parametrize("path", ["/ui/", f"/ui/projects/{PROJECT}"])
def test_a_stranger_is_led_to_the_form_and_sees_nothing(page: Page, path: str) -> None:
    reply = requests.get(page.url + path, timeout=30)
    assert reply.url.startswith(f"{page.url}/ui/sign-in")
    assert "smears" not in reply.text
    for part in ("parts/now", f"thumbnails/{'0' * 24}.jpg"):
        assert requests.get(f"{page.project}/{part}", timeout=30).status_code == 401


def test_the_cookie_is_kept_from_scripts_and_from_other_sites(page: Page) -> None:
    session = requests.Session()
    data = {"name": NAME, "password": PASSWORD, "token": token(session, page)}
    reply = session.post(f"{page.url}/ui/sign-in", data=data, allow_redirects=False, timeout=30)
    cookie = reply.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/ui"} <= {part.strip() for part in cookie.split(";")}
    assert PASSWORD not in cookie
    assert "hemaloop=" not in str(requests.get(f"{page.url}/health", timeout=30).headers)


def test_a_wrong_password_is_refused_and_guessing_becomes_slow(page: Page) -> None:
    session = requests.Session()
    statuses = []
    for number in range(FREE + 2):
        data = {"name": NAME, "password": f"guess {number}", "token": token(session, page)}
        statuses.append(session.post(f"{page.url}/ui/sign-in", data=data, timeout=30).status_code)
    assert statuses == [403] * (FREE + 1) + [429]
    assert requests.get(page.project, auth=(NAME, "another guess"), timeout=30).status_code == 429
    page_services(page).guesses._senders.clear()


def page_services(page: Page) -> Any:
    from hemaloop.web import services

    return services.of(page.app)


def test_a_program_may_read_with_basic_auth_and_change_nothing(page: Page) -> None:
    auth = (NAME, PASSWORD)
    assert "smears" in requests.get(page.project, auth=auth, timeout=30).text
    assert requests.post(f"{page.project}/pause", auth=auth, timeout=30).status_code == 403
    assert not page.queues.ledger.paused(PROJECT)


def test_after_signing_in_nobody_is_sent_to_another_site(page: Page) -> None:
    for to in ("https://evil.example/", "//evil.example/", "/ui//evil.example", "/ui/\\evil", "/predict"):
        session = requests.Session()
        data = {"name": NAME, "password": PASSWORD, "to": to, "token": token(session, page)}
        reply = session.post(f"{page.url}/ui/sign-in", data=data, allow_redirects=False, timeout=30)
        assert reply.headers["Location"] == "/ui/"


# -- who may change


def test_a_form_without_the_token_or_from_another_site_changes_nothing(page: Page, browser: requests.Session) -> None:
    for data, headers in (
        ({}, {}),
        ({"token": "guess"}, {}),
        ({"token": token(browser, page, f"/ui/projects/{PROJECT}")}, {"Origin": "https://evil.example"}),
    ):
        reply = browser.post(f"{page.project}/pause", data=data, headers=headers, timeout=30)
        assert reply.status_code == 403
    assert not page.queues.ledger.paused(PROJECT)


def test_a_change_by_get_is_not_possible(page: Page, browser: requests.Session) -> None:
    for what in ("roll-back", "promote", "train", "pause", "cancel", "retry"):
        assert browser.get(f"{page.project}/{what}", timeout=30).status_code == 405


def test_signing_out_ends_it(page: Page, browser: requests.Session) -> None:
    browser.post(f"{page.url}/ui/sign-out", data={"token": token(browser, page, "/ui/")}, timeout=30)
    assert "/ui/sign-in" in browser.get(f"{page.url}/ui/", timeout=30).url


def test_pausing_and_resuming_reaches_the_queues(page: Page, browser: requests.Session) -> None:
    assert "No training starts" in change(browser, page, "pause").text
    assert page.queues.ledger.paused(PROJECT)
    change(browser, page, "resume")
    assert not page.queues.ledger.paused(PROJECT)
    page.work()


def test_rolling_back_and_promoting_publish_what_was_asked_for(page: Page, browser: requests.Session) -> None:
    history = [one.version for one in page.store.history(PROJECT)]
    assert f"Going back from {history[0]} to {history[1]}" in change(browser, page, "roll-back").text
    page.work()
    assert page.studio.model_version == history[1]
    said = change(browser, page, "promote", control="cells", version=history[0]).text
    assert f"{history[0]} was promoted" in said
    page.work()
    assert page.studio.model_version == history[0]
    refused = change(browser, page, "promote", control="cells", version="../../etc")
    assert refused.status_code == 503
    assert "not a stored version" in refused.text


def test_a_failure_is_shown_with_its_reason_and_can_be_tried_again(page: Page, browser: requests.Session) -> None:
    config, page.studio.config = page.studio.config, "<View/>"
    page.queues.request_scores(PROJECT, "test")
    for _ in range(3):  # a retry is for later; here each is due at once
        page.work()
        later = ScheduledJobRegistry("score", connection=page.queues.redis, serializer=JSONSerializer)
        for job in later.get_job_ids():
            page.queues.redis.zadd(later.key, {job: 1})
    page.studio.config = config
    (failure,) = [one for one in queue_view.failures(page.queues, PROJECT) if one.kind == "score_pool"]
    text = browser.get(page.project, timeout=60).text
    assert "no control is bound" in failure.why
    assert failure.why[:40] in text.replace("&#39;", "'")
    assert change(browser, page, "retry", job=failure.job).ok
    page.work()
    assert failure.job not in {one.job for one in queue_view.failures(page.queues, PROJECT)}
    assert change(browser, page, "retry", job=failure.job).status_code == 503, "it is no failure any more"


# -- what is shown


def test_a_worker_is_called_silent_while_it_works_and_not_while_it_waits(page: Page, browser: requests.Session) -> None:
    """A waiting one gives a sign of life every few minutes only."""
    redis = page.queues.redis
    worker = build_worker(["train"], redis)
    worker.register_birth()

    def be_silent() -> None:
        redis.hset(worker.key, "last_heartbeat", utcformat(datetime.now(UTC) - timedelta(seconds=200)))

    try:
        be_silent()
        text = browser.get(f"{page.project}/parts/now", timeout=60).text
        assert worker.name[:16] in text
        assert "silent for" not in text
        page.queues.request_scores(PROJECT, "test")
        (job,) = Queue("score", connection=redis, serializer=JSONSerializer).jobs
        redis.hset(worker.key, "current_job", job.id)
        be_silent()
        assert "silent for 20" in browser.get(f"{page.project}/parts/now", timeout=60).text
    finally:
        worker.register_death()
        page.work()


def test_the_page_shows_models_labels_order_and_doubts(page: Page, browser: requests.Session) -> None:
    page.draw()
    text = browser.get(page.project, timeout=60).text
    for version in page.store.versions(PROJECT, "cells"):
        assert version in text
    found = portrait.read(page.store, PROJECT)
    assert found is not None
    head = page.studio.queue()[: len(found["top"])]
    assert [one["task"] for one in found["top"]] == head, "the most relevant come first"
    assert found["doubts"]["cells"], "the wrong labels of the first rounds are doubted"
    for one in (*found["top"], *found["doubts"]["cells"]):
        assert f"/projects/7/data?task={one['task']}" in text
        picture = browser.get(f"{page.project}/thumbnails/{one['thumbnail']}", timeout=30)
        assert picture.headers["Content-Type"] == "image/jpeg"
        assert picture.content[:2] == b"\xff\xd8"
    submitted = sum(len(task["annotations"][0]["result"]) for task in page.studio.tasks.values() if task["annotations"])
    assert sum(label["count"] for label in found["controls"][0]["labels"]) == submitted


def test_the_latent_space_is_drawn_where_there_is_one(page: Page, browser: requests.Session) -> None:
    page.draw()
    found = portrait.read(page.store, PROJECT)
    assert found is not None
    assert found["latent"] == {"cells": None}, "of boxes there is none"
    assert "Latent space" not in browser.get(page.project, timeout=60).text
    points = [
        {"task": number, "x": number / 9, "y": 0.5, "label": "red" if number < 5 else None, "relevance": 0.1 * number}
        for number in range(10)
    ]
    found["latent"]["cells"] = {"images": 1200, "share": [0.4, 0.25], "points": points}
    portrait.write(page.store, PROJECT, found)
    text = browser.get(page.project, timeout=60).text
    assert "10 of 1,200 images" in text
    assert "40 and 25 % of it" in text
    assert text.count('/projects/7/data?task=9"') >= 2, "a link by label and one by relevance"
    assert "plane of 10 images coloured by relevance, 5 of them labelled" in text
    assert "What the representation keeps" not in text, "a family that makes no image of a vector"
    found["latent"]["cells"]["examples"] = [{"task": 3, "thumbnail": "ab.jpg"}, {"task": 8, "thumbnail": "cd.jpg"}]
    portrait.write(page.store, PROJECT, found)
    text = browser.get(page.project, timeout=60).text
    assert 'alt="Image 2 of task 8' in text
    assert text.count(">2</text>") == 2, "its number is in both planes"


def test_thumbnails_that_nobody_shows_any_more_are_removed(page: Page) -> None:
    before = set((portrait.read(page.store, PROJECT) or {})["thumbnails"])
    for task in page.studio.queue()[:3]:
        page.studio.annotate(task)
    page.draw()
    now = set((portrait.read(page.store, PROJECT) or {})["thumbnails"])
    gone = before - now
    assert gone
    assert all(page.store.get_scratch(PROJECT, portrait.thumbnail_name(name)) is None for name in gone)


def test_a_part_that_has_not_changed_is_not_sent_again(page: Page, browser: requests.Session) -> None:
    address = f"{page.project}/parts/models"
    first = browser.get(address, timeout=30)
    again = browser.get(address, headers={"If-None-Match": first.headers["ETag"]}, timeout=30)
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/ui/projects/..%2f..", "/ui/projects/7", "/ui/projects/1.1/thumbnails/..%2fportrait"]
)
def test_no_path_leads_out_of_a_project(page: Page, browser: requests.Session, path: str) -> None:
    assert browser.get(page.url + path, timeout=30).status_code == 404


def test_the_policy_allows_nothing_from_elsewhere_and_nothing_inline(page: Page, browser: requests.Session) -> None:
    reply = browser.get(page.project, timeout=30)
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<[^>]+\s(style|on\w+)=", reply.text)
    assert not re.search(r'(src|href|action)="(?!/ui/|http://127\.0\.0\.1:\d+/projects/7/data|#)', reply.text)


def test_without_redis_the_models_are_still_shown_with_what_is_missing(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server, page_stage.page(tmp_path, server.url) as made:
        made.queues.redis.connection_pool.connection_kwargs["port"] = 9
        made.queues.redis.connection_pool.disconnect()
        reply = requests.get(made.project, auth=(NAME, PASSWORD), timeout=60)
        assert reply.status_code == 200
        assert "Redis: cannot be used" in reply.text
        assert "correct horse" not in reply.text
