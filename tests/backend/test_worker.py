from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.webhook import Webhook

import loop_stage
import stub_plugin
from hemaloop.config import Settings, load_settings
from hemaloop.errors import SettingsError
from hemaloop.jobs import ALLOWED
from hemaloop.lifetime import owned
from hemaloop.queues import NAMES, Queues, connect
from hemaloop.store import ArtifactStore
from hemaloop.supervisor import Supervisor, environment
from hemaloop.worker import HemaloopQueue, HemaloopWorker, build_worker, release_abandoned
from loop_stage import PROJECT, Studio, wait_until

PATIENCE = 120.0
"""Seconds that processes get on a machine that has other things to do."""


@pytest.fixture
def connection(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url, patient=True) as client:
        yield client


@pytest.fixture
def burst(connection: redis.Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, redis_url: str) -> HemaloopWorker:
    """A worker in this process, whose signals stay the test runner's."""
    for name, value in environment(loop_stage.settings(tmp_path, redis_url=redis_url)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(HemaloopWorker, "_install_signal_handlers", lambda self: None)
    return build_worker(NAMES, connection)


def status(connection: redis.Redis, job_id: str) -> str:
    return str(Job.fetch(job_id, connection=connection, serializer=JSONSerializer).get_status().value)


@pytest.mark.parametrize(
    "function", ["subprocess.run", "os.system", "builtins.eval", "hemaloop.jobs.NAMES", "hemaloop.worker.main"]
)
def test_a_job_that_hemaloop_does_not_know_is_refused(
    function: str, burst: HemaloopWorker, connection: redis.Redis, tmp_path: Path
) -> None:
    trace = tmp_path / "ran"
    job = Queue("train", connection=connection, serializer=JSONSerializer).enqueue(function, f"touch {trace}")
    burst.work(burst=True, logging_level="ERROR")
    assert status(connection, job.id) == "failed"
    assert not trace.exists()
    told = Job.fetch(job.id, connection=connection, serializer=JSONSerializer).meta["error"]
    assert f"refused, found function '{function}'" in told


def test_a_raw_pickled_job_is_refused(burst: HemaloopWorker, connection: redis.Redis, tmp_path: Path) -> None:
    trace = tmp_path / "ran"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {trace}",)

    job = Queue("train", connection=connection, serializer=JSONSerializer).enqueue("hemaloop.jobs.train", "7.1", "x")
    connection.hset(job.key, "data", pickle.dumps(("hemaloop.jobs.train", None, (Attack(),), {})))
    burst.work(burst=True, logging_level="ERROR")
    assert not trace.exists()
    assert b"refused" in (connection.hget(job.key, "meta") or b"")


@pytest.mark.parametrize("field", ["success_callback_name", "failure_callback_name", "stopped_callback_name"])
def test_a_job_with_a_callback_is_refused(field: str, burst: HemaloopWorker, connection: redis.Redis) -> None:
    job = Queue("train", connection=connection, serializer=JSONSerializer).enqueue("hemaloop.jobs.train", "7.1", "x")
    connection.hset(job.key, field, "os.abort")
    burst.work(burst=True, logging_level="ERROR")
    assert status(connection, job.id) == "failed"


def test_a_job_with_a_webhook_is_refused(burst: HemaloopWorker, connection: redis.Redis) -> None:
    hook = Webhook("http://127.0.0.1:9/", "failed")
    queue = Queue("train", connection=connection, serializer=JSONSerializer)
    job = queue.enqueue("hemaloop.jobs.train", "7.1", "x", webhooks=[hook])
    burst.work(burst=True, logging_level="ERROR")
    assert b"callback or webhook" in (connection.hget(job.key, "meta") or b"")


def test_the_callback_of_an_abandoned_job_is_not_followed(connection: redis.Redis) -> None:
    job = HemaloopQueue("train", connection=connection, serializer=JSONSerializer).enqueue("hemaloop.jobs.train", "7.1")
    connection.hset(job.key, "failure_callback_name", "os.abort")
    connection.lrem("rq:queue:train", 0, job.id)
    connection.zadd("rq:wip:train", {f"{job.id}:execution": 1})
    release_abandoned(connection, NAMES)
    assert status(connection, job.id) == "failed"


def test_every_allowed_job_is_named_by_its_own_address() -> None:
    assert set(ALLOWED) == {
        "hemaloop.jobs.train",
        "hemaloop.jobs.score_pool",
        "hemaloop.jobs.score_shard",
        "hemaloop.jobs.publish",
        "hemaloop.jobs.finish_predictions",
        "hemaloop.jobs.portray",
        "hemaloop.jobs.refit",
        "hemaloop.jobs.finish_order",
        "hemaloop.jobs.embed_shard",
        "hemaloop.jobs.simulate",
    }


def test_children_read_the_settings_that_their_parent_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = loop_stage.settings(tmp_path, redis_url="redis://:word@h:1/0", image_hosts=("a.org", "b.org:8080"))
    for name, value in environment(chosen).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert load_settings() == chosen


def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process that its owner died")
    inner = owned([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"], signal.SIGKILL)
    # owned() names the process that calls it: here the one in between, so it is called there.
    script = (
        "import subprocess, signal, sys, os; from hemaloop.lifetime import owned;"
        "p = subprocess.Popen(owned([sys.executable, '-c', 'import time; time.sleep(60)'], signal.SIGKILL));"
        "print(p.pid, flush=True); p.wait()"
    )
    assert inner[-2:] != []
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=paths()) as between:
        assert between.stdout is not None
        pid = int(between.stdout.readline())
        time.sleep(0.5)
        between.kill()
        wait_until(lambda: not running(pid), "the end of the process", 20)


def paths() -> dict[str, str]:
    import hemaloop

    return {**os.environ, "PYTHONPATH": str(Path(hemaloop.__file__).parents[1])}


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    stub_plugin.install(monkeypatch)
    with loop_stage.label_studio(stub_plugin.config("bare")) as found:
        yield found


@contextlib.contextmanager
def supervised(chosen: Settings) -> Iterator[Supervisor]:
    """A supervisor and its worker processes."""
    with Supervisor(chosen, reconciles=False) as supervisor:
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        try:
            yield supervisor
        finally:
            supervisor.stop()
            thread.join()
            supervisor.queues.close()


def training_process(queues: Queues) -> psutil.Process | None:
    """The process that fits a model right now."""
    for told in queues.running(PROJECT):
        if told["status"] == "started" and told["progress"].get("message") == "mean colours":
            name = Job.fetch(told["id"], connection=queues.redis, serializer=JSONSerializer).worker_name
            worker = int(str(name).split("-")[1]) if name else 0
            children = psutil.Process(worker).children() if worker and running(worker) else []
            return next((child for child in children if running(child.pid)), None)
    return None


def prepared(studio: Studio, folder: Path, **options: object) -> Settings:
    """Twelve annotated images; the settings of a worker for them, with an embedded Redis of its own."""
    studio.config = stub_plugin.config("bare", **options)
    for task in studio.add_images(folder, 12):
        studio.annotate(task)
    return loop_stage.settings(folder, studio.url, train_debounce_seconds=0.0, score_shard_size=50)


def test_an_event_leads_to_a_published_model_in_processes_of_their_own(studio: Studio, tmp_path: Path) -> None:
    chosen = prepared(studio, tmp_path)
    studio.add_images(tmp_path, 3)
    with supervised(chosen) as supervisor:
        job = supervisor.queues.request_training(PROJECT, "webhook")
        assert job is not None
        store = ArtifactStore(chosen.artifacts)
        published = wait_until(lambda: store.published(PROJECT), "a publication", PATIENCE)
        told = supervisor.queues.job_status(job)
        assert told["status"] == "finished"
        assert told["progress"]["message"]
        assert told["result"]["controls"]["cells"]["state"] == "promoted"
        assert studio.title == studio.model_version == published.version
        assert set(studio.queue()) == set(studio.open_tasks())


def test_a_killed_worker_is_noticed_and_its_training_is_done_by_the_next(studio: Studio, tmp_path: Path) -> None:
    chosen = prepared(studio, tmp_path, epochs=60, epoch_seconds=0.1)
    with supervised(chosen) as supervisor:
        queues = supervisor.queues
        job = queues.request_training(PROJECT, "webhook")
        assert job is not None
        horse = wait_until(lambda: training_process(queues), "a training", PATIENCE)
        worker = horse.parent()
        worker.kill()
        wait_until(lambda: not running(horse.pid), "the end of the killed worker's job", 20)
        store = ArtifactStore(chosen.artifacts)
        assert store.published(PROJECT) is None
        wait_until(lambda: store.promoted(PROJECT, "cells"), "the training after it", PATIENCE)
        assert worker.pid not in supervisor.pids


def test_a_killed_training_says_why_leaves_the_live_model_and_gives_up_in_the_end(
    studio: Studio, tmp_path: Path
) -> None:
    chosen = prepared(studio, tmp_path, epochs=600, epoch_seconds=0.1)
    chosen = chosen.model_copy(update={"train_max_attempts": 2, "train_retry_seconds": 0.0})
    with supervised(chosen) as supervisor:
        queues = supervisor.queues
        job = queues.request_training(PROJECT, "webhook")
        assert job is not None
        for _ in range(2):
            horse = wait_until(lambda: training_process(queues), "a training", PATIENCE)
            horse.kill()
            wait_until(lambda: not running(horse.pid), "its end", 20)  # noqa: B023 - called at once

        def outcome() -> str:
            found = queues.ledger.outcomes(PROJECT).get("training", {"controls": {}})
            return str(found["controls"].get("cells", {}).get("why"))

        wait_until(lambda: not queues.running(PROJECT), "an end of the retries", PATIENCE)
        queues.request_training(PROJECT, "found by reconciliation")
        wait_until(lambda: "2 trainings on this data failed" in outcome(), "giving up", PATIENCE)
        told = Job.fetch(job, connection=queues.redis, serializer=JSONSerializer).meta
        assert "its process was ended by SIGKILL" in told["error"]
        assert ArtifactStore(chosen.artifacts).versions(PROJECT, "cells") == []


def test_a_running_training_is_cancelled_at_its_next_step(studio: Studio, tmp_path: Path) -> None:
    chosen = prepared(studio, tmp_path, epochs=600, epoch_seconds=0.1)
    with supervised(chosen) as supervisor:
        queues = supervisor.queues
        job = queues.request_training(PROJECT, "webhook")
        assert job is not None
        wait_until(lambda: training_process(queues), "a training", PATIENCE)
        assert queues.cancel(job)
        wait_until(lambda: queues.job_status(job)["status"] == "cancelled", "the end", PATIENCE)
        assert "somebody asked to stop" in queues.job_status(job)["error"]
        assert ArtifactStore(chosen.artifacts).versions(PROJECT, "cells") == []


def test_sigterm_stops_a_training_worker_cleanly_and_the_training_happens_later(studio: Studio, tmp_path: Path) -> None:
    chosen = prepared(studio, tmp_path, epochs=60, epoch_seconds=0.1)
    command = [sys.executable, "-m", "hemaloop", "worker", "--no-reconcile"]
    with subprocess.Popen(command, env=environment(chosen), stdin=subprocess.DEVNULL) as worker:
        wait_until(lambda: (chosen.data_dir / "redis.json").exists(), "Redis", PATIENCE)
        queues = Queues(chosen)

        def ask() -> str | None:
            with contextlib.suppress(Exception):
                return queues.request_training(PROJECT, "webhook")
            return None

        wait_until(ask, "Redis", PATIENCE)
        wait_until(lambda: training_process(queues), "a training", PATIENCE)
        family = psutil.Process(worker.pid).children(recursive=True)
        lines = [" ".join(process.cmdline()) for process in family]
        secrets = [
            chosen.password.get_secret_value(),
            json.loads((chosen.data_dir / "redis.json").read_text())["password"],
        ]
        assert not any(secret in line for secret in secrets for line in lines)
        queues.close()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=60) == 0
    assert not [process.pid for process in family if running(process.pid)]
    assert ArtifactStore(chosen.artifacts).versions(PROJECT, "cells") == []
    with supervised(chosen):
        wait_until(lambda: ArtifactStore(chosen.artifacts).promoted(PROJECT, "cells"), "the training", PATIENCE)


def test_unknown_queues_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hemaloop.cli.worker import worker

    for name, value in environment(loop_stage.settings(tmp_path)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hemaloop.logs.prepare", lambda settings: None)
    with pytest.raises(SettingsError, match="found trian, expected some of train, push, score, refit, simulate"):
        worker(queues=["trian,score"])
