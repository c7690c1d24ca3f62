"""Commands around training: the worker itself, what is stored, going back, pausing, cancelling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hemaloop.queues import Queues
    from hemaloop.store import ArtifactStore

Project = Annotated[int, typer.Argument(help="Number of the project, as in the address of its page in Label Studio.")]


def worker(
    queues: Annotated[
        list[str] | None,
        typer.Option(
            "--queues",
            help="Queues of one worker process, separated by commas, the first before the others; repeat it for more "
            "processes. Left out: one process for train,simulate, one for push,score, one for refit.",
        ),
    ] = None,
    reconcile: Annotated[
        bool,
        typer.Option(
            help="Look into Label Studio now and then for what no event told. One worker a laboratory is enough."
        ),
    ] = True,
) -> None:
    """Train, score and publish: runs the jobs that Label Studio's events lead to, until Ctrl-C."""
    from hemaloop import logs
    from hemaloop.config import load_settings
    from hemaloop.errors import SettingsError
    from hemaloop.queues import NAMES
    from hemaloop.supervisor import DEFAULT_WORKERS, Supervisor

    settings = load_settings()
    logs.prepare(settings)
    workers = [tuple(one.split(",")) for one in queues] if queues else DEFAULT_WORKERS
    unknown = sorted({name for one in workers for name in one} - set(NAMES))
    if unknown:
        raise SettingsError(f"--queues: found {', '.join(unknown)}, expected some of {', '.join(NAMES)}")
    with Supervisor(settings, workers, reconciles=reconcile) as supervisor:
        supervisor.run_until_signal()


models = typer.Typer(name="models", help="The trained models of a project.", no_args_is_help=True)


@models.command("list")
def list_models(project: Project) -> None:
    """Show every stored version with what it reached on the gate, and which one annotators see."""
    from rich.console import Console
    from rich.table import Table

    queues, store = _open()
    key = _key(project)
    published = store.published(key)
    table = Table("control", "version", "state", "trained on", "verdict", title=f"project {project}")
    for control in _controls(project):
        live = published.parts.get(control) if published else None
        promoted = store.promoted(key, control)
        for version in store.versions(key, control):
            manifest = store.manifest(key, control, version)
            states = [name for name, one in (("published", live), ("promoted", promoted)) if one == version]
            images = f"{len(manifest.train) + len(manifest.tune)} images"
            table.add_row(control, version, ", ".join(states), images, manifest.verdict)
    console = Console()
    console.print(table)
    console.print(f"annotators see {published.version if published else 'what the family ships'}")
    for job in queues.running(key):
        progress = job["progress"]
        where = f"{progress['message']} {progress['done']:g}/{progress['total']:g}" if progress else ""
        console.print(f"job {job['id']}: {job['kind']} {job['status']} {where}")


@models.command()
def rollback(project: Project) -> None:
    """Go back to the version that annotators saw before."""
    from hemaloop.rollback import roll_back

    queues, store = _open()
    change = roll_back(store, queues, _key(project))
    typer.echo(f"{change.before} -> {change.after}: a worker publishes it (job {change.job})")


@models.command()
def promote(
    project: Project,
    version: Annotated[str, typer.Argument(help="One of the versions that `hemaloop models list` shows.")],
    control: Annotated[str | None, typer.Option(help="Name of the control, where the project binds several.")] = None,
) -> None:
    """Let annotators see a stored version, whatever the gate said of it."""
    from hemaloop.errors import StoreError
    from hemaloop.rollback import promote as promote_version

    queues, store = _open()
    key = _key(project)
    having = [name for name in ([control] if control else _controls(project)) if store.has(key, name, version)]
    if len(having) != 1:
        raise StoreError(
            f"version {version!r}: found in {len(having)} controls of project {project}, expected one; name it"
        )
    change = promote_version(store, queues, key, having[0], version)
    typer.echo(f"{change.before} -> {change.after}: a worker publishes it (job {change.job})")


def pause(project: Project) -> None:
    """Start no training of a project until `hemaloop resume`; predictions go on."""
    queues, _ = _open()
    queues.pause(_key(project))
    typer.echo(f"project {project}: no training starts until `hemaloop resume {project}`")


def resume(project: Project) -> None:
    """Let trainings of a project start again."""
    queues, _ = _open()
    queues.resume(_key(project))
    typer.echo(f"project {project}: trainings start again when they are due")


def cancel(
    job: Annotated[str, typer.Argument(help="A job's id, as `hemaloop models list` and the log show it.")],
) -> None:
    """Stop a job: the live model stays as it is."""
    from hemaloop.errors import QueueError

    queues, _ = _open()
    if not queues.cancel(job):
        raise QueueError(f"job {job!r}: {queues.job_status(job)['status']}, so there is nothing to stop")
    typer.echo(f"job {job}: it stops at its next step")


def _open() -> tuple[Queues, ArtifactStore]:
    from hemaloop.config import load_settings
    from hemaloop.queues import Queues
    from hemaloop.store import ArtifactStore

    settings = load_settings()
    return Queues(settings), ArtifactStore(settings.artifacts)


def _key(project: int) -> str:
    from hemaloop.client import LabelStudio
    from hemaloop.config import load_settings

    return LabelStudio.from_settings(load_settings()).project(project).key


def _controls(project: int) -> list[str]:
    from hemaloop.client import LabelStudio
    from hemaloop.config import load_settings
    from hemaloop.labelconfig import parse_label_config

    config = parse_label_config(LabelStudio.from_settings(load_settings()).project(project).label_config)
    return [control.name for control in config.bound]


def register(app: typer.Typer) -> None:
    """Add `worker`, `models`, `pause`, `resume` and `cancel`."""
    app.command()(worker)
    app.add_typer(models)
    app.command()(pause)
    app.command()(resume)
    app.command()(cancel)
