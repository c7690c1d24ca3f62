"""What `hemaloop demo` does, with a person and without."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.panel import Panel

from hemaloop.client import ProjectInfo
from hemaloop.demo.loop import Loop
from hemaloop.demo.project import find_or_create, label_config, remove_loops
from hemaloop.demo.report import Report, telling, waiting
from hemaloop.demo.smears import Collection, collect
from hemaloop.demo.stack import Stack
from hemaloop.errors import DatasetError, HemaloopError
from hemaloop.project_setup import set_up

ONCE_IMAGES = 90
FIRST_BOXES_SECONDS = 1800.0
POLICY = {"train_min_new_annotations": 10, "train_min_interval_seconds": 60.0, "train_debounce_seconds": 10.0}
"""A person who tries it should not wait long for the first training."""
RECIPE = {"model_option_recipe": "quick", "model_option_weights": "starter"}
"""Minutes of training from the shipped weights, where the default recipe takes half an hour from nothing."""
ROUND = {
    "train_min_interval_seconds": 0.0,
    "train_debounce_seconds": 5.0,
    "reconcile_interval_seconds": 3600.0,
    "gate_fraction": 0.3,
}
"""Without a person nothing waits between rounds, only webhooks start a training, and a larger share of the images
judges, so that the first round holds as many gate images as the rule for a promotion asks for."""


def run_for_people(root: Path, images: Path | None, limit: int | None, port: int) -> None:
    """Start everything, print where it is and what to try, and stay until Ctrl-C."""
    console = Console()
    with _interruptible(console), Stack(root, waiting=partial(waiting, console), port=port, policy=POLICY) as stack:
        remove_loops(stack.studio)
        with waiting(console, "images"):
            collection = collect(stack.images, images, limit)
        _tell(console, collection)
        project, _ = find_or_create(stack, collection, label_config(**RECIPE), f"Blood count: {collection.folder.name}")
        connected = set_up(stack.studio, stack.settings, project.id, replace=True)
        for note in connected.notes:
            console.print(f"note: {note}", markup=False, highlight=False)
        stack.queues.request_scores(project.key, "demo")
        _wait_for_boxes(console, stack, project, connected.version)
        console.print(Panel(_invitation(stack, project), title="hemaloop", expand=False))
        _watch(console, stack, project)


def run_once(root: Path, images: Path | None, limit: int, port: int) -> bool:
    """The whole loop without a person. Returns whether every step was seen to happen."""
    console = _console()
    report = Report(console)
    try:
        with _interruptible(console):
            stack = Stack(root, waiting=partial(waiting, console), port=port, policy=ROUND)
            with ExitStack() as cleaning:
                with report.step("Label Studio, Redis, backend and worker started") as step:
                    cleaning.enter_context(stack)
                    step.saw(f"Label Studio at {stack.server.url}, backend at {stack.settings.backend_url}")
                remove_loops(stack.studio)
                collection = collect(stack.images, images, limit)
                if len(collection.with_truth) < limit // 2:
                    raise DatasetError(
                        f"images {images}: {len(collection.with_truth)} of {len(collection.smears)} have boxes; --once "
                        "annotates from them, so it needs a folder with annotations, or none for rendered smears"
                    )
                Loop(stack, collection, report).run()
    except HemaloopError as error:
        if not report.steps or report.steps[-1].ok:
            console.print(f"hemaloop: {error}", style="red", markup=False)
        report.failed = True
    console.print(report.table())
    report.write(root / "report.json")
    console.print(f"{'every step was seen' if report.ok else 'NOT every step was seen'}; {root / 'report.json'}")
    return report.ok


def _console() -> Console:
    """A log that nobody looks at has no width; the report is a table."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, 130))


def _tell(console: Console, collection: Collection) -> None:
    console.print(f"[green]✓[/] {len(collection.smears)} images ({len(collection.with_truth)} with known boxes)")
    for note in collection.notes[:5]:
        console.print(f"   {note}", style="dim", markup=False, highlight=False)
    if len(collection.notes) > 5:
        console.print(f"   … {len(collection.notes) - 5} more; `hemaloop describe` lists them", style="dim")


def _wait_for_boxes(console: Console, stack: Stack, project: ProjectInfo, version: str) -> None:
    """Until each open task has a prediction of the version. People can start before: this ends at the first boxes."""
    with telling(console, "first predictions") as tell:
        began = time.monotonic()
        while time.monotonic() - began < FIRST_BOXES_SECONDS:
            stack.check()
            done = stack.studio.versions(project.id).get(version, 0)
            tell(f"first predictions: {done} of {project.task_number}")
            if done >= project.task_number or not stack.queues.running(project.key):
                break
            time.sleep(1.0)
    done = stack.studio.versions(project.id).get(version, 0)
    console.print(
        f"[green]✓[/] {done} of {project.task_number} tasks have boxes of {version!r}, the most relevant first"
    )


def _invitation(stack: Stack, project: ProjectInfo) -> str:
    account, settings = stack.server.account, stack.settings
    return "\n".join(
        (
            f"[bold]{stack.server.url}/projects/{project.id}/data[/]",
            f"login     {account.username}",
            f"password  {account.password}",
            f"[bold]{settings.backend_url}/ui/projects/{project.key}[/]: models, trainings, what comes next",
            f"login     {settings.username}",
            f"password  {settings.password.get_secret_value()}",
            "",
            "Try this:",
            "1. Click [bold]Label All Tasks[/]: the first smear opens with its boxes. Correct them and submit.",
            f"2. After {POLICY['train_min_new_annotations']} tasks a training starts by itself; it is announced here.",
            "   If its model is better on images that it has never seen, its boxes and its order take over.",
            "3. In the table, show the column [bold]Prediction score[/]: the lowest is labelled first.",
            "",
            f"logs      {stack.root / 'logs'}",
            "Ctrl-C stops everything; the same command goes on where this ends.",
        )
    )


def _watch(console: Console, stack: Stack, project: ProjectInfo) -> None:
    """Say what happens in the project until somebody stops it."""
    version, known = stack.studio.project(project.id).model_version, set[str]()
    with telling(console, "running") as tell:
        while True:
            stack.check()
            try:
                jobs = stack.queues.running(project.key)
                now = stack.studio.project(project.id).model_version
            except HemaloopError as error:
                tell(f"waiting: {error}")
                time.sleep(2.0)
                continue
            training = next((job for job in jobs if job["kind"] == "train" and job["status"] == "started"), None)
            if training or console.is_terminal:
                tell(_in_words(training) if training else "running; Ctrl-C stops it")
            if training and training["id"] not in known:
                known.add(training["id"])
                console.print("a training has started")
            if now and now != version:
                console.print(f"now serving {now!r}, before {version!r}")
                version = now
            time.sleep(2.0)


def _in_words(training: dict[str, object]) -> str:
    progress = training.get("progress")
    if not isinstance(progress, dict) or not progress.get("total"):
        return "training"
    return f"training: {progress.get('message', '')} ({100 * float(progress['done']) / float(progress['total']):.0f} %)"


@contextmanager
def _interruptible(console: Console) -> Iterator[None]:
    """Ctrl-C and a polite kill end everything in order and without a traceback."""

    def stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - what a signal handler is given
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        console.print("\nstopped; what was stored stays")
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)
