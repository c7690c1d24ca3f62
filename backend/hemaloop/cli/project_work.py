"""`hemaloop project rescore` and `train`: work for a worker, asked for by a person and watched."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hemaloop.cli.project_status import project as group

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from hemaloop.queues import Queues

Project = Annotated[int, typer.Argument(metavar="PROJECT", help="Id of the project: the number in its address.")]
Wait = Annotated[bool, typer.Option(help="Show how far it is until it is over; Ctrl-C ends the watching alone.")]
_POLL_SECONDS = 0.5
_OVER = frozenset({"finished", "failed", "cancelled", "unknown", "stopped"})


def rescore(
    number: Project,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Also of tasks that have predictions of the model in use: after an option of the labelling config, or "
            "the images behind the addresses, have changed.",
        ),
    ] = False,
    wait: Wait = True,
) -> None:
    """Predict what has no prediction yet, and put all tasks in order.

    With --all the new predictions take the place of the old ones when all of
    them are there; for the seconds in between the order is random.
    """
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    key, queues = _open(number)
    with closing(queues):
        _require_worker(console, queues, "score", number)
        job = queues.request_scores(key, "project rescore", again=everything)
        console.print(f"project {number}: predictions asked for, job {job}")
        if wait and queues.served("score"):
            _watch_scoring(queues, key, number)
            failed = [one for one in (queues.job_status(job),) if one["status"] == "failed"]
            if failed:
                console.print(f"it failed: {failed[0]['error']}", style="red", markup=False)
                raise typer.Exit(1)
            console.print(f"project {number}: {_last(queues, key)}", markup=False)


def train(number: Project, wait: Wait = True) -> None:
    """Train now on what is labelled, and let annotators see the model if it is better.

    As the button Start Training in Label Studio: it does not wait for more
    annotations, nor for the minimum interval. Nothing is trained twice on the
    same annotations.
    """
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    key, queues = _open(number)
    began = time.time()
    with closing(queues):
        _require_worker(console, queues, "train", number)
        job = queues.request_training(key, "project train", now=True)
        console.print(f"project {number}: training asked for, job {job}; `hemaloop cancel {job}` ends it")
        if not wait or job is None or not queues.served("train"):
            return
        status = _watch_job(queues, job, f"training of project {number}")
        if status["status"] != "finished":
            console.print(f"it {status['status']}: {status.get('error') or 'no reason was kept'}", style="red")
            raise typer.Exit(1)
        for line in (*outcome(status.get("result") or {}), *_meanwhile(queues, key, status, began)):
            console.print(line, markup=False)


def outcome(result: Mapping[str, Any]) -> list[str]:
    """What came of a training, a line a control."""
    controls: Mapping[str, Mapping[str, Any]] = result.get("controls") or {}
    if not controls:
        return [str(result.get("why", result.get("outcome", "nothing was done")))]
    lines = []
    for name, one in controls.items():
        version = f" {one['version']}" if one.get("version") else ""
        lines.append(f"{name}: {one.get('state')}{version}: {one.get('why')}")
        lines += [f"  note: {note}" for note in one.get("notes") or ()]
    return lines


def _meanwhile(queues: Queues, key: str, status: Mapping[str, Any], began: float) -> list[str]:
    """What a job that was at work already has trained in answer to the same wish, a line a control."""
    from hemaloop.store import ArtifactStore

    store = ArtifactStore(queues.settings.artifacts)
    lines = []
    for name, one in (status.get("result") or {}).get("controls", {}).items():
        versions = store.versions(key, name) if one.get("state") == "waits" else []
        manifest = store.manifest(key, name, versions[-1]) if versions else None
        if manifest is not None and manifest.created >= began:
            state = "promoted" if manifest.promoted else "kept"
            lines.append(f"{name}: {state} {manifest.version}, by a job that had begun before: {manifest.verdict}")
    return lines


def _open(number: int) -> tuple[str, Queues]:
    """The project's key, and the queues. Raises `LabelConfigError` where the project binds no model."""
    from hemaloop.client import LabelStudio
    from hemaloop.config import load_settings
    from hemaloop.labelconfig import parse_label_config
    from hemaloop.queues import Queues

    settings = load_settings()
    with closing(LabelStudio.from_settings(settings)) as studio:
        info = studio.project(number)
    parse_label_config(info.label_config).require_bound()
    return info.key, Queues(settings)


def _require_worker(console: Console, queues: Queues, queue: str, number: int) -> None:
    if not queues.served(queue):
        console.print(
            f"no worker takes jobs of {queue!r}: start `hemaloop worker`; `hemaloop doctor --project {number}` looks "
            "for other causes",
            style="yellow",
            markup=False,
        )


def _watch_job(queues: Queues, job: str, title: str) -> dict[str, Any]:
    """Show a job's progress until it is over. Raises `Cancelled` after Ctrl-C; the job goes on."""
    from hemaloop.cli.watching import Watch

    with Watch(title, kept=f"the work goes on; `hemaloop cancel {job}` ends it") as watch:
        while True:
            status = queues.job_status(job)
            if status["status"] in _OVER:
                return status
            _show(watch, [status])
            time.sleep(_POLL_SECONDS)


def _watch_scoring(queues: Queues, key: str, number: int) -> None:
    """Show the jobs that score a project until none is left."""
    from hemaloop.cli.watching import Watch

    with Watch(f"project {number}", kept="the work goes on without this command", patience=1.0) as watch:
        while scoring := [job for job in queues.running(key) if job["kind"] != "train"]:
            _show(watch, scoring)
            time.sleep(_POLL_SECONDS)


def _show(watch: Any, jobs: list[dict[str, Any]]) -> None:
    at_work = [job for job in jobs if job["status"] == "started"] or jobs
    progress = at_work[0].get("progress") or {}
    waiting = f"{at_work[0].get('kind', 'job')} {at_work[0]['status']}"
    watch.report(
        float(progress.get("done", 0)),
        float(progress.get("total", 1) or 1),
        str(progress.get("message", waiting)),
        progress.get("figures"),
    )


def _last(queues: Queues, key: str) -> str:
    """The last publication in words."""
    found = queues.ledger.outcomes(key).get("publication")
    if not found:
        return "nothing was left to score"
    order = "in order" if found.get("ordered") else f"not in order: {'; '.join(found.get('order') or ())}"
    faults = found.get("faults") or ()
    failed = f"; {len(faults)} task(s) failed, first: {faults[0]}" if faults else ""
    return f"{found.get('pushed')} predictions of {found.get('version')} pushed last, the queue is {order}{failed}"


def register(app: typer.Typer) -> None:
    """Add `project rescore` and `project train`."""
    del app  # `project_status` adds the group
    group.command()(rescore)
    group.command()(train)
