"""A project connected, mended, refused with a reason."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

import stub_plugin
from hemaloop.client import LabelStudio
from hemaloop.demo.stack import Stack
from hemaloop.errors import LabelConfigError, LabelStudioError
from hemaloop.label_studio_server import LabelStudioServer
from hemaloop.project_setup import SECRET_HEADER, create_project, order_notes, set_up, shipped_config
from running import Project, hemaloop

pytestmark = pytest.mark.label_studio


def test_setting_up_twice_changes_nothing(stack: Stack, project: Callable[..., Project]) -> None:
    made = project(2)
    assert made.connected is not None
    assert made.connected.changes
    assert set_up(stack.studio, stack.settings, made.id).changes == ()


def test_the_command_connects_a_project_with_a_shipped_config(stack: Stack) -> None:
    made = create_project(stack.studio, "Made by hand", shipped_config("cbc"))
    done = hemaloop(stack, "setup", str(made.id))
    assert done.returncode == 0, done.stderr
    assert "connected as 'faster_rcnn-cbc-starter-" in done.stdout
    again = hemaloop(stack, "setup", str(made.id))
    assert "everything is as it must be" in again.stdout
    backend = stack.studio.backend(made.id) or {}
    assert backend["is_interactive"]
    stack.studio.change_backend(backend, is_interactive=False)
    mended = hemaloop(stack, "setup", str(made.id))
    assert "backend mended (is_interactive)" in mended.stdout
    assert (stack.studio.backend(made.id) or {})["is_interactive"]


def test_a_new_title_stays_though_others_look_at_the_backend(stack: Stack, project: Callable[..., Project]) -> None:
    """Each look makes Label Studio save what it had read before, which undid three titles of eight."""
    made = project(2)
    over = threading.Event()

    def look() -> None:
        while not over.wait(random.uniform(0.0, 0.2)):
            stack.studio.backend(made.id)

    titles = [f"title {number}" for number in range(12)]
    found = []
    with ThreadPoolExecutor(2) as pool:
        lookers = [pool.submit(look) for _ in range(2)]
        try:
            for title in titles:
                made.studio.retitle_backend(made.id, title)
                found.append(made.studio.backend_title(made.id))
        finally:
            over.set()
    for looker in lookers:
        looker.result()
    undone = [title for title, seen in zip(titles, found, strict=True) if title != seen]
    assert len(undone) <= 1, f"{undone}: a look that takes longer than two others can still undo one"


def test_what_somebody_changed_is_mended(stack: Stack, project: Callable[..., Project]) -> None:
    made = project(2)
    hook = made.studio.webhooks(made.id)[0]
    made.studio.update_webhook(hook["id"], headers={}, is_active=False)
    made.studio.update_project(made.id, sampling="Sequential sampling")
    made.studio.retitle_backend(made.id, "something else")
    changes = " ".join(set_up(stack.studio, stack.settings, made.id).changes)
    assert "sampling" in changes
    assert "webhook" in changes
    assert "backend" in changes
    hook = made.studio.webhooks(made.id)[0]
    assert hook["is_active"]
    assert SECRET_HEADER in hook["headers"]
    info = made.studio.project(made.id)
    assert info.model_version == (made.studio.backend(made.id) or {})["title"] == "stub-blobs-starter-1"


def test_a_wrong_password_says_which_settings_differ_and_leaves_no_backend(
    stack: Stack, project: Callable[..., Project]
) -> None:
    made = project(1, connect=False)
    wrong = stack.settings.model_copy(update={"password": SecretStr("not the password")})
    with pytest.raises(LabelStudioError, match="HEMALOOP_PASSWORD"):
        set_up(stack.studio, wrong, made.id)
    assert made.studio.backend(made.id) is None


def test_a_backend_that_nobody_reaches_says_how_to_start_it(stack: Stack, project: Callable[..., Project]) -> None:
    made = project(1, connect=False)
    away = stack.settings.model_copy(update={"port": 9})
    with pytest.raises(LabelStudioError, match="hemaloop serve"):
        set_up(stack.studio, away, made.id)


def test_another_backend_is_not_replaced_unasked(stack: Stack, project: Callable[..., Project]) -> None:
    made = project(1, connect=False)
    settings = stack.settings
    made.studio.connect_backend(
        made.id,
        url=f"http://localhost:{settings.port}",
        title="theirs",
        username=settings.username,
        password=settings.password.get_secret_value(),
    )
    with pytest.raises(LabelStudioError, match="--replace"):
        set_up(stack.studio, settings, made.id)
    assert set_up(stack.studio, settings, made.id, replace=True).changes


def test_a_config_without_a_binding_says_how_to_bind_it(stack: Stack, project: Callable[..., Project]) -> None:
    made = project(1, connect=False)
    xml = stub_plugin.config().replace(' model_family="stub" model_preset="blobs"', "")
    made.studio.update_project(made.id, label_config=xml)
    with pytest.raises(LabelConfigError, match="model_family"):
        set_up(stack.studio, stack.settings, made.id)


def test_several_annotations_a_task_make_the_order_inexact_and_the_setup_says_so(
    stack: Stack, project: Callable[..., Project]
) -> None:
    made = project(2, connect=False)
    made.studio.update_project(made.id, maximum_annotations=2)
    notes = " ".join(set_up(stack.studio, stack.settings, made.id).notes)
    assert "order is not exact" in notes
    assert order_notes(made.info) == []


def test_a_label_studio_that_blocks_private_addresses_is_told_apart(
    stack: Stack, project: Callable[..., Project], tmp_path: Path
) -> None:
    project(1, connect=False)
    copy = tmp_path / "label-studio"
    shutil.copytree(stack.root / "label-studio", copy)
    blocked = {"ML_BLOCK_LOCAL_IP": "false", "SSRF_PROTECTION_ENABLED": "true"}
    with LabelStudioServer(copy, images=stack.images, port=0, environment=blocked) as server:
        studio = LabelStudio(server.url, server.account.token)
        there = create_project(studio, "blocked", stub_plugin.config())
        with pytest.raises(LabelStudioError, match="SSRF_PROTECTION_ENABLED"):
            set_up(studio, stack.settings, there.id)
        assert studio.backend(there.id) is None
        studio.close()
