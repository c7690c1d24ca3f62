"""Simulations by workers, with a real Redis and real worker processes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from rq.job import Job
from rq.serializers import JSONSerializer
from typer.testing import CliRunner

import stub_plugin
from blobs import write_blobs
from hemaloop.cli import simulate
from hemaloop.config import Settings
from hemaloop.errors import Cancelled, HemaloopError, QueueError, SettingsError
from hemaloop.formats import read_dataset
from hemaloop.plugin import Silent
from hemaloop.progress import Interrupted
from hemaloop.queues import Queues
from hemaloop.simulation.experiment import Experiment, fingerprint
from hemaloop.simulation.folder import START, Folder
from hemaloop.simulation.images import Images
from hemaloop.simulation.local import ONE_THREAD, run_here
from hemaloop.simulation.queued import run_queued, shared_folder, work_in_job
from hemaloop.simulation.units import Unit
from hemaloop.supervisor import Supervisor, environment
from loop_stage import PROJECT, settings, wait_until

UNITS = [Unit(0, START), Unit(0, "paper"), Unit(0, "random")]


@pytest.fixture
def chosen(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of this process and of workers; the stub family is known to both."""
    stub_plugin.install(monkeypatch)
    made = settings(tmp_path, redis_url=redis_url, train_debounce_seconds=0.0)
    for name, value in {**environment(made), **ONE_THREAD}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    yield made
    stub_plugin.forget()


@pytest.fixture
def queues(chosen: Settings) -> Iterator[Queues]:
    with contextlib.closing(Queues(chosen)) as found:
        yield found


def begun(path: Path, data: Path) -> Folder:
    """A folder in which a simulation is about to begin."""
    dataset = read_dataset(data)
    experiment = Experiment(
        data=fingerprint(dataset.items),
        family="stub",
        family_version="1",
        labels=("red", "green", "blue"),
        options={},
        rare=(),
        start=4,
        batch=2,
        candidates=6,
        test=0.3,
        tune=0.1,
    )
    folder = Folder(path)
    folder.begin(experiment, dataset)
    return folder


@contextlib.contextmanager
def workers(chosen: Settings, *specifications: tuple[str, ...]) -> Iterator[None]:
    with Supervisor(chosen, specifications, reconciles=False) as supervisor:
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        try:
            yield
        finally:
            supervisor.stop()
            thread.join()
            supervisor.queues.close()


def test_workers_make_what_one_process_makes(chosen: Settings, queues: Queues, tmp_path: Path) -> None:
    data = write_blobs(tmp_path / "smears", 30)
    here = begun(tmp_path / "here", data)
    run_here(here, Images(here.dataset(), here.experiment()), UNITS, 1, Silent())
    app = typer.Typer()
    simulate.register(app)
    app.command()(lambda: None)  # one command alone would lose its name
    arguments = ["simulate", str(data), "--family", "stub", "--rare", "none", "--start", "4", "--batch", "2"]
    arguments += ["--candidates", "6", "--rounds", "1", "--test", "0.3", "--seeds", "1"]
    arguments += ["--strategies", "paper,random", "--workers", "--out", "study"]
    with workers(chosen, ("simulate",), ("simulate",)):
        wait_until(lambda: queues.served("simulate"), "a worker", 120.0)
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    there = Folder(chosen.data_dir / "simulations" / "study")
    assert (there.path / "results.csv").is_file()
    assert [(one.seed, one.strategy, one.round, one.labelled, one.figures) for one in there.points()] == [
        (one.seed, one.strategy, one.round, one.labelled, one.figures) for one in here.points()
    ]


def test_a_job_makes_way_for_a_training_between_two_of_its_own_and_goes_on_behind_it(
    chosen: Settings, queues: Queues, tmp_path: Path
) -> None:
    folder = begun(shared_folder(chosen, Path("study")), write_blobs(tmp_path / "smears", 30))
    work_in_job("study", 0, START, 1)
    training = queues.request_training(PROJECT, "webhook", now=True)
    assert queues.waiting("train") == 1
    with pytest.raises(Interrupted, match="makes way"):
        work_in_job("study", 0, "paper", 1)
    assert folder.choice(0, "paper", 1) is not None, "what came before is kept"
    assert folder.point(0, "paper", 1) is None
    Job.fetch(str(training), connection=queues.redis, serializer=JSONSerializer).delete()
    assert work_in_job("study", 0, "paper", 1)["state"] == "done"
    assert folder.point(0, "paper", 1) is not None


def test_a_simulation_is_asked_for_once_and_again_after_it_was_cancelled(queues: Queues) -> None:
    first = queues.request_simulation("study", 0, "paper", 6)
    assert queues.request_simulation("study", 0, "paper", 6) == first
    assert queues.waiting("simulate") == 1
    assert queues.cancel(first)
    assert queues.job_status(first)["status"] == "cancelled"
    assert queues.request_simulation("study", 0, "paper", 6) == first
    assert queues.job_status(first)["status"] == "queued"
    assert not queues.ledger.cancelled(first)
    assert queues.request_simulation("study", 1, "paper", 6) != first


def test_ctrl_c_cancels_the_jobs(
    queues: Queues, chosen: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopping:
        """Somebody presses Ctrl-C at once."""

        def report(self, done: float, total: float, message: str, figures: object = None) -> None:
            raise Cancelled(message)

    folder = begun(shared_folder(chosen, Path("study")), write_blobs(tmp_path / "smears", 30))
    monkeypatch.setattr(queues, "served", lambda name: True)
    with pytest.raises(Cancelled):
        run_queued(folder, UNITS, 1, queues, Stopping())
    assert queues.waiting("simulate") == 0
    assert queues.job_status(f"simulate-study-0-{START}-1")["status"] == "cancelled"


def test_without_a_worker_it_says_so(queues: Queues, chosen: Settings, tmp_path: Path) -> None:
    folder = begun(shared_folder(chosen, Path("study")), write_blobs(tmp_path / "smears", 30))
    with pytest.raises(QueueError, match="start one with `hemaloop worker`"):
        run_queued(folder, UNITS, 1, queues, Silent())


@pytest.mark.parametrize("out", ["/etc/study", "../study", "a b", "deeper/study", ".study", ""])
def test_workers_look_into_one_folder_only(out: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected a name of letters"):
        shared_folder(settings(tmp_path), Path(out))


def test_the_folder_itself_names_it_too(tmp_path: Path) -> None:
    made = settings(tmp_path)
    path = shared_folder(made, Path("study-1"))
    assert path == made.data_dir.resolve() / "simulations" / "study-1"
    assert shared_folder(made, path) == path


@pytest.mark.parametrize("name", ["../../etc", "study/..", "/etc"])
def test_a_job_with_another_folder_is_refused(name: str, chosen: Settings) -> None:
    with pytest.raises(SettingsError):
        work_in_job(name, 0, START, 1)


def test_a_job_with_an_unknown_strategy_is_refused(chosen: Settings, tmp_path: Path) -> None:
    begun(shared_folder(chosen, Path("study")), write_blobs(tmp_path / "smears", 30))
    with pytest.raises(HemaloopError, match=r"found \.\./\.\./x, expected some of"):
        work_in_job("study", 0, "../../x", 1)
