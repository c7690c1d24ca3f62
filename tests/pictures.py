"""The pictures of the README, from the running system and rendered smears: `make pictures`.

A Label Studio, a backend and a worker are started as for `hemaloop demo`; somebody who knows the truth annotates, the
model learns twice, and Chromium looks at what people then see. Takes about ten minutes the first time; a second
call with the same `--state` looks again at what is there.
"""

from __future__ import annotations

import argparse
import io
from functools import partial
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Locator, Page
from rich.console import Console

from browsing import chromium, open_next_task
from hemaloop.client import Json, ProjectInfo
from hemaloop.demo.project import drawn, find_or_create, label_config
from hemaloop.demo.report import waiting
from hemaloop.demo.smears import Collection, collect
from hemaloop.demo.stack import Stack
from hemaloop.labelconfig import parse_label_config
from hemaloop.project_setup import set_up, shipped_config
from hemaloop.store import ArtifactStore
from running import Project, wait_for

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
TITLE, MASKS = "Smears of May", "Overlapping cells"
ROUND = 18
"""Annotations from one training to the next; there are two."""
RECIPE = {"model_option_recipe": "head", "model_option_weights": "starter", "model_option_max_minutes": "2"}
POLICY = {
    "train_min_new_annotations": ROUND,
    "train_min_interval_seconds": 0.0,
    "train_debounce_seconds": 5.0,
    "gate_fraction": 0.3,
    "gate_min_images": 3,
    "train_niceness": 0,
}
COLOURS = 256
"""Of a picture: a page and a smear need no more, and the file is a third of its size."""
MARK = "228,0,43"
"""Of the choices of a review taxonomy in the shipped configs."""
PATIENCE = 1200.0


def main() -> None:
    """Start everything, have it used, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=Path(".hemaloop/pictures"), help="databases, models and smears")
    parser.add_argument("--out", type=Path, default=PICTURES, help="where the pictures go")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    with Stack(asked.state, waiting=partial(waiting, console), port=0, backend_port=0, policy=POLICY) as stack:
        collection = collect(stack.images, None)
        made = connected(stack, collection, TITLE, label_config(**RECIPE))
        learn(stack, made, collection)
        few = Collection(collection.title, collection.folder, collection.smears[:8])
        xml = shipped_config("rbc_overlap").replace("model_preset", 'model_train="off" model_preset', 1)
        masks = connected(stack, few, MASKS, xml)
        with chromium() as browser:
            for name, take in {
                "label_studio": lambda page: annotating(page, stack, made),
                "page": lambda page: managing(page, stack, made),
                "masks": lambda page: masking(page, stack, masks),
            }.items():
                path = asked.out / f"{name}.png"
                write(path, take(signed_in(browser, stack)))
                console.print(f"{path}: {path.stat().st_size // 1000} KB")


def connected(stack: Stack, collection: Collection, title: str, xml: str) -> ProjectInfo:
    """The project of that title, with a prediction on each open task."""
    made, _ = find_or_create(stack, collection, xml, title)
    version = set_up(stack.studio, stack.settings, made.id, replace=True).version
    stack.queues.request_scores(made.key, "pictures")
    wait_until_scored(stack, made, version)
    return made


def wait_until_scored(stack: Stack, made: ProjectInfo, version: str) -> None:
    """Until each open task has a prediction of that version and nothing is left to do."""

    def scored() -> bool:
        stack.check()
        left = sum(1 for _ in stack.studio.tasks(made.id, only="unannotated", with_annotations=False))
        return stack.studio.versions(made.id).get(version, 0) >= left and not stack.queues.running(made.key)

    wait_for(scored, f"predictions of {version!r} in {made.title!r}", PATIENCE)


def learn(stack: Stack, made: ProjectInfo, collection: Collection) -> None:
    """Annotate the most relevant tasks from the truth, until there were two trainings; wait for the better model."""
    by_name = {Path(smear.name).name: smear for smear in collection.smears}
    (control,) = parse_label_config(made.label_config).bound
    store = ArtifactStore(stack.settings.artifacts)
    for number in (1, 2):
        annotated = sum(1 for _ in stack.studio.tasks(made.id, only="annotated", with_annotations=False))
        for _ in range(annotated, number * ROUND):
            task = stack.studio.next_task(made.id)
            assert task is not None
            smear = by_name[str(task["data"]["image"]).rpartition("/")[2]]
            stack.studio.submit_annotation(task["id"], drawn(smear, control), lead_time=12.0)
        if len(store.versions(made.key, control.name)) < number:
            stack.queues.request_training(made.key, "pictures", now=True)
        wait_for(lambda n=number: len(store.versions(made.key, control.name)) >= n, "a training", PATIENCE)
        wait_for(lambda: not stack.queues.running(made.key), "an end of all jobs", PATIENCE)
    wait_until_scored(stack, made, stack.studio.project(made.id).model_version or "")


def signed_in(browser: Browser, stack: Stack) -> Page:
    """A page of the manager in Label Studio."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(90_000)
    page.goto(f"{stack.server.url}/user/login/")
    page.fill("input[name=email]", stack.server.account.username)
    page.fill("input[name=password]", stack.server.account.password)
    page.click("button[type=submit]")
    page.wait_for_url("**/")
    return page


def annotating(page: Page, stack: Stack, made: ProjectInfo) -> bytes:
    """The first task in the queue that has a box to look at again, with its boxes, that one selected; else the next."""
    head = [number for number, _ in stack.studio.queue_head(made.id, 30)]
    version = stack.studio.project(made.id).model_version
    marked = next((number for number in head if asks(stack.studio.task(number), version)), None)
    if marked is None:
        open_next_task(page, stack, Project(stack, made, {}, stack.images))
    else:
        page.goto(f"{stack.server.url}/projects/{made.id}/data?task={marked}")
    page.locator("[class*=outliner-item__title]").first.wait_for()
    page.wait_for_timeout(1500)
    if marks(page).count():
        marks(page).first.click()
    page.wait_for_timeout(1500)
    return page.screenshot()


def asks(task: Json, version: str | None) -> bool:
    """Whether a version's prediction of the task has a mark of the model."""
    mine = [one for one in task["predictions"] if one["model_version"] == version]
    return any(region["type"] == "taxonomy" for one in mine for region in one["result"])


def marks(page: Page) -> Locator:
    """Regions that the model asks to look at again, in the list beside the image."""
    return page.locator(f"[style*='--icon-color: rgb({MARK})'] [class*=outliner-item__title]")


def managing(page: Page, stack: Stack, made: ProjectInfo) -> bytes:
    """The page of the project, as the backend serves it."""
    page.goto(f"{stack.settings.backend_url}/ui/projects/{made.key}")
    page.get_by_label("Name").fill(stack.settings.username)
    page.get_by_label("Password").fill(stack.settings.password.get_secret_value())
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name=made.title).wait_for()
    wait_for(lambda: page.locator(".pictures img").count(), "pictures of the images that wait")
    page.evaluate("document.querySelectorAll('img[loading]').forEach(image => image.loading = 'eager')")
    page.wait_for_timeout(5_000)
    return page.screenshot(full_page=True)


def masking(page: Page, stack: Stack, made: ProjectInfo) -> bytes:
    """A task of masks: red cells, and where they lie on one another."""
    open_next_task(page, stack, Project(stack, made, {}, stack.images))
    page.get_by_text("Overlap").nth(1).wait_for()
    page.wait_for_timeout(3000)
    return page.screenshot()


def write(path: Path, screenshot: bytes) -> None:
    """As a PNG of few colours."""
    found = Image.open(io.BytesIO(screenshot)).convert("RGB")
    palette = found.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=5)
    found.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


if __name__ == "__main__":
    main()
