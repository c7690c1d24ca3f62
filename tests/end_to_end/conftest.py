"""What tests of the running system share: one Label Studio, Redis, backend, worker and browser for the session."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

import stub_plugin
from browsing import chromium
from hemaloop import label_studio_server
from hemaloop.children import Watch, unwatched
from hemaloop.demo.stack import Stack
from running import Person, Project, sign_up

CHECKOUT = Path(__file__).resolve().parents[2]
POLICY = {
    "train_min_new_annotations": 4,
    "train_min_interval_seconds": 0.0,
    "train_debounce_seconds": 2.0,
    "train_retry_seconds": 2.0,
    "reconcile_interval_seconds": 3600.0,
    "gate_min_images": 2,
    "log_level": "INFO",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first start of Label Studio takes minutes on a busy machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(1200))


@contextlib.contextmanager
def _silent(name: str) -> Iterator[Watch]:
    del name
    yield unwatched


@pytest.fixture(scope="session")
def label_studio_program() -> Path:
    """The installed Label Studio."""
    named = os.environ.get("HEMALOOP_LABEL_STUDIO")
    installed = CHECKOUT / label_studio_server.FOLDER / "bin" / "label-studio"
    program = Path(named) if named else installed
    if not program.is_file():
        pytest.skip(f"Label Studio is not installed at {program}; `make test` installs it")
    return program


@pytest.fixture(scope="session")
def stack(label_studio_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything that runs, with the stub model family; nothing is kept after the session."""
    root = tmp_path_factory.mktemp("stack")
    backend = Path(label_studio_server.__file__).resolve().parents[1]
    paths = [str(stub_plugin.DISTRIBUTION), str(backend), os.environ.get("PYTHONPATH", "")]
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "HEMALOOP_LABEL_STUDIO": str(label_studio_program),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        stub_plugin.install(patch)
        with Stack(root, waiting=_silent, port=0, backend_port=0, policy=POLICY) as running:
            yield running
        stub_plugin.forget()


@pytest.fixture(scope="session")
def personal_token(stack: Stack) -> str:
    """A personal access token of the manager; Label Studio gives a person one."""
    return str(stack.studio.request("POST", "/api/token/")["token"])


@pytest.fixture
def project(stack: Stack) -> Callable[..., Project]:
    """Makes projects with images that the stub understands: `project(8, preset="bare")`. train: whether it learns."""

    def make(count: int = 8, *, connect: bool = True, seed: int = 0, train: bool = True, **config: object) -> Project:
        xml = stub_plugin.config(**config)  # type: ignore[arg-type]
        xml = xml if train else xml.replace("model_preset", 'model_train="off" model_preset')
        made = Project.create(stack, count, seed=seed, xml=xml)
        if connect:
            made.connect()
        return made

    return make


@pytest.fixture
def annotator(stack: Stack) -> Iterator[Callable[[str], Person]]:
    """Signs people up in Label Studio: `annotator("b")`."""
    people: list[Person] = []

    def make(name: str) -> Person:
        people.append(sign_up(stack, name))
        return people[-1]

    yield make
    for person in people:
        person.studio.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium of this machine, kept from calling home."""
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """A page signed in as the manager."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.set_default_timeout(90_000)
    page.goto(f"{stack.server.url}/user/login/")
    page.fill("input[name=email]", stack.server.account.username)
    page.fill("input[name=password]", stack.server.account.password)
    page.click("button[type=submit]")
    page.wait_for_url("**/")
    yield page
    context.close()
