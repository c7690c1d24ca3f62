"""Faults made against real worker processes: nothing is lost, the live model stays usable, the queue is in order again.

RECOVERY is the time within which the queue is promised to be in order again, on a machine with nothing else to do.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from rq.job import Job
from rq.serializers import JSONSerializer

import loop_stage
import stub_plugin
from hemaloop.children import free_port
from hemaloop.config import Settings
from hemaloop.errors import StoreError
from hemaloop.labelconfig import parse_label_config
from hemaloop.plugin import Detections, Example, Silent
from hemaloop.projects import build_plugin, live_model, load_part
from hemaloop.quarantine import withdraw_damaged
from hemaloop.queues import Queues
from hemaloop.reconciliation import reconcile
from hemaloop.redis_server import find_server
from hemaloop.store import ArtifactStore, Manifest, Published
from hemaloop.supervisor import Supervisor
from loop_stage import PROJECT, Studio, wait_until
from web_stage import slowness

PATIENCE = 180.0
"""Seconds that a test waits for what it needs before its fault."""
RECOVERY = 60.0


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """Label Studio's double with a project of the stub."""
    stub_plugin.install(monkeypatch)
    with loop_stage.label_studio(stub_plugin.config("bare")) as found:
        yield found
    stub_plugin.forget()


@contextlib.contextmanager
def supervised(chosen: Settings, *, reconciles: bool = False) -> Iterator[Supervisor]:
    """Worker processes of their own, and their supervisor."""
    with Supervisor(chosen, reconciles=reconciles) as supervisor:
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        try:
            yield supervisor
        finally:
            supervisor.stop()
            thread.join()
            supervisor.queues.close()


def prepared(studio: Studio, folder: Path, preset: str = "bare", labelled: int = 12, **options: object) -> Settings:
    """Annotated images and five that wait; settings of a worker for them."""
    studio.config = stub_plugin.config(preset, **options)
    for task in studio.add_images(folder, labelled):
        studio.annotate(task)
    studio.add_images(folder, 5)
    changes: dict[str, Any] = {"train_debounce_seconds": 0.0, "score_shard_size": 50, "train_retry_seconds": 0.0}
    return loop_stage.settings(folder, studio.url, **changes)


def horse(queues: Queues, kind: str, doing: str = "") -> psutil.Process | None:
    """The process that does a job of a kind right now, at a step whose message holds `doing`."""
    for told in queues.running(PROJECT):
        if told["kind"] == kind and told["status"] == "started" and doing in str(told["progress"].get("message", "")):
            job = Job.fetch(told["id"], connection=queues.redis, serializer=JSONSerializer)
            with contextlib.suppress(psutil.Error, IndexError, ValueError):
                return psutil.Process(int(str(job.worker_name).split("-")[1])).children()[0]
    return None


def in_order(studio: Studio, store: ArtifactStore) -> bool:
    """Whether annotators see the published version, on every task that waits, in its order."""
    published = store.published(PROJECT)
    if published is None:
        return False
    same = studio.title == studio.model_version == published.version
    return same and set(studio.queue()) == set(studio.open_tasks())


def recovered(studio: Studio, store: ArtifactStore, version: str | None = None) -> None:
    """Wait for the order, and for a version as the live one, no longer than is promised.

    Stretched by how much longer than alone things take on this machine now.
    """

    def seen() -> bool:
        return in_order(studio, store) and version in (None, studio.title)

    wait_until(seen, "the order", RECOVERY * slowness())


def train_once(studio: Studio, chosen: Settings, supervisor: Supervisor) -> str:
    """A first model, live."""
    store = ArtifactStore(chosen.artifacts)
    supervisor.queues.request_training(PROJECT, "webhook")
    wait_until(lambda: in_order(studio, store), "the first model", PATIENCE)
    wait_until(lambda: not supervisor.queues.running(PROJECT), "an end of all jobs", PATIENCE)
    published = store.published(PROJECT)
    assert published is not None
    return published.version


def test_a_scoring_that_is_killed_is_done_by_another_process(studio: Studio, tmp_path: Path) -> None:
    chosen = prepared(studio, tmp_path, "blobs", labelled=0, delay_seconds=0.3)
    studio.add_images(tmp_path, 15)
    with supervised(chosen) as supervisor:
        supervisor.queues.request_scores(PROJECT, "test")
        found = wait_until(lambda: horse(supervisor.queues, "score_shard", "scoring"), "a scoring", PATIENCE)
        found.parent().kill()
        store = ArtifactStore(chosen.artifacts)
        recovered(studio, store)
        assert len(studio.predictions) == len(studio.open_tasks()), "each task has one prediction"


def test_a_worker_killed_between_upload_and_promotion_leaves_the_promotion_to_the_next(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = prepared(studio, tmp_path)
    store = ArtifactStore(chosen.artifacts)
    with monkeypatch.context() as patch:
        # The process of the job ends itself, without a clean-up, where a power cut would be worst.
        (tmp_path / "fault").mkdir()
        (tmp_path / "fault" / "sitecustomize.py").write_text(
            "import os, signal\n"
            "from hemaloop.store import ArtifactStore\n"
            "ArtifactStore.promote = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "fault"), os.environ["PYTHONPATH"]]))
        with supervised(chosen.model_copy(update={"train_max_attempts": 1})) as supervisor:
            supervisor.queues.request_training(PROJECT, "webhook")
            wait_until(lambda: store.versions(PROJECT, "cells"), "the uploaded model", PATIENCE)
            wait_until(lambda: not supervisor.queues.running(PROJECT), "the end of the job", PATIENCE)
    assert store.promoted(PROJECT, "cells") is None
    with supervised(chosen) as supervisor:
        supervisor.queues.request_training(PROJECT, "found by reconciliation")
        recovered(studio, store)
    assert len(store.versions(PROJECT, "cells")) == 1, "nothing was trained twice"


@contextlib.contextmanager
def redis_server(folder: Path, port: int) -> Iterator[Any]:
    """A Redis with its file in a folder."""
    folder.mkdir(exist_ok=True)
    command = [str(find_server()), "--port", str(port), "--dir", str(folder), "--appendonly", "yes", "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        client = redis.Redis(port=port)

        def answers() -> bool:
            with contextlib.suppress(redis.RedisError):
                return bool(client.ping())
            return False

        wait_until(answers, "Redis", 30)
        client.close()
        yield process
        process.kill()


@pytest.mark.parametrize("empty", [False, True])
def test_a_redis_that_is_restarted_loses_no_training(studio: Studio, tmp_path: Path, empty: bool) -> None:
    port = free_port()
    prepared(studio, tmp_path, epochs=40, epoch_seconds=0.1)
    chosen = loop_stage.settings(
        tmp_path,
        studio.url,
        redis_url=f"redis://127.0.0.1:{port}/0",
        train_debounce_seconds=0.0,
        reconcile_interval_seconds=2.0,
        score_shard_size=50,
    )
    store = ArtifactStore(chosen.artifacts)
    data = tmp_path / "redis"
    with contextlib.ExitStack() as servers:
        server = servers.enter_context(redis_server(data, port))
        with supervised(chosen, reconciles=True) as supervisor:
            supervisor.queues.request_training(PROJECT, "webhook")
            wait_until(lambda: horse(supervisor.queues, "train", "mean colours"), "a training", PATIENCE)
            server.kill()
            server.wait()
            if empty:
                shutil.rmtree(data)
            time.sleep(1.0)
            servers.enter_context(redis_server(data, port))
            supervisor.queues.remember(PROJECT)
            recovered(studio, store)
    manifest = store.manifest(PROJECT, "cells", store.versions(PROJECT, "cells")[-1])
    assert len(manifest.annotations) == 12


def refused(queues: Queues) -> str | None:
    """Why a job of the project failed just now; it is tried again later."""
    return next((told["error"] for told in queues.running(PROJECT) if told["error"]), None)


def test_a_token_revoked_in_the_middle_is_named_and_a_new_one_goes_on(studio: Studio, tmp_path: Path) -> None:
    chosen = prepared(studio, tmp_path, epochs=20, epoch_seconds=0.1)
    store = ArtifactStore(chosen.artifacts)
    with supervised(chosen) as supervisor:
        supervisor.queues.request_training(PROJECT, "webhook")
        wait_until(lambda: horse(supervisor.queues, "train", "mean colours"), "a training", PATIENCE)
        studio.token = "f" * 40
        wait_until(lambda: store.promoted(PROJECT, "cells"), "the model, which needs no token", PATIENCE)
        told = wait_until(lambda: refused(supervisor.queues), "the refusal", PATIENCE)
        assert "Invalid token" in told
        assert store.published(PROJECT) is None
    again = loop_stage.settings(tmp_path, studio.url, label_studio_api_key="f" * 40, reconcile_interval_seconds=2.0)
    with supervised(again, reconciles=True):
        recovered(studio, store)


@pytest.fixture
def impatient(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that wait half a second for Label Studio, and not minutes, before they give an answer up."""
    del studio  # its stub sets the path that this one is put before
    (tmp_path / "fault").mkdir()
    (tmp_path / "fault" / "sitecustomize.py").write_text(
        "import httpx\n"
        "class Timeout(httpx.Timeout):\n"
        "    def __init__(self, *_, **__):\n"
        "        super().__init__(0.5)\n"
        "httpx.Timeout = Timeout\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "fault"), os.environ["PYTHONPATH"]]))


def spoiled(studio: Studio, fault: str) -> None:
    """Let Label Studio do what it is asked and answer too late to be heard, or answer 500."""
    studio.delay, studio.broken = (1.5, None) if fault == "slow" else (0.0, 500)


def mended(studio: Studio) -> None:
    studio.delay, studio.broken = 0.0, None


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", ["slow", "answers 500"])
def test_a_label_studio_that_is_no_use_while_a_training_reads_and_while_scores_are_pushed_is_waited_for(
    studio: Studio, tmp_path: Path, fault: str
) -> None:
    chosen = prepared(studio, tmp_path, delay_seconds=0.1)
    store = ArtifactStore(chosen.artifacts)
    with supervised(chosen, reconciles=True) as supervisor:
        spoiled(studio, fault)
        supervisor.queues.remember(PROJECT)
        supervisor.queues.request_training(PROJECT, "webhook")
        wait_until(lambda: refused(supervisor.queues), "a reading that failed", PATIENCE)
        if fault == "answers 500":  # so long that no try is left, and only a look at the project finds what is due
            wait_until(lambda: not supervisor.queues.running(PROJECT), "an end of the tries", PATIENCE)
        assert store.versions(PROJECT, "cells") == []
        mended(studio)
        wait_until(lambda: store.promoted(PROJECT, "cells"), "the training", RECOVERY * slowness())
        recovered(studio, store, store.promoted(PROJECT, "cells"))
        live = store.published(PROJECT)
        assert live is not None
        assert len(store.manifest(PROJECT, "cells", live.version).annotations) == 12
        wait_until(lambda: not supervisor.queues.running(PROJECT), "an end of all jobs", PATIENCE)

        second = stored(store, studio.config, 1)
        store.promote(PROJECT, "cells", second)
        supervisor.queues.request_scores(PROJECT, "promoted")
        wait_until(lambda: horse(supervisor.queues, "publish"), "a push", PATIENCE)
        spoiled(studio, fault)
        wait_until(lambda: refused(supervisor.queues), "a push that failed", PATIENCE)
        assert store.published(PROJECT) == live, "what annotators see has a model behind it"
        mended(studio)
        recovered(studio, store, second)
        mine = [one["task"] for one in studio.predictions if one["model_version"] == second]
        assert sorted(mine) == sorted(studio.open_tasks()), "each task has one prediction of it"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with a megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m none {place} 2>/dev/null") != 0:  # noqa: S605 - a path of pytest's
        pytest.skip("a disk of its own needs the right to mount one")
    yield place
    os.system(f"umount -l {place}")  # noqa: S605 - as above


def test_a_disk_that_is_full_keeps_the_live_model_and_the_training_is_done_when_there_is_room(
    studio: Studio, tmp_path: Path, small_disk: Path
) -> None:
    chosen = prepared(studio, tmp_path).model_copy(update={"artifacts_url": small_disk.as_uri()})
    store = ArtifactStore(chosen.artifacts)
    filler = small_disk / "filler"
    with supervised(chosen) as supervisor:
        version = train_once(studio, chosen, supervisor)
        for task in studio.open_tasks()[:4]:
            studio.annotate(task)
        with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(bytes(4096))
        job = supervisor.queues.request_training(PROJECT, "webhook", now=True)
        assert job is not None
        wait_until(lambda: supervisor.queues.job_status(job)["error"], "the failure", PATIENCE)
        assert "cannot be written" in supervisor.queues.job_status(job)["error"]
        assert store.published(PROJECT).version == version  # type: ignore[union-attr]
        live = live_model(PROJECT, parse_label_config(studio.config), store, store.published(PROJECT))
        assert load_part(live.parts["cells"], parse_label_config(studio.config).bound[0]).fitted
        filler.unlink()
        wait_until(lambda: not supervisor.queues.running(PROJECT), "an end of the tries", PATIENCE)
        supervisor.queues.request_training(PROJECT, "webhook", now=True)
        wait_until(lambda: len(store.versions(PROJECT, "cells")) == 2, "the training", PATIENCE)
    assert not list(small_disk.rglob(".*")), "no half file is left"


def stored(store: ArtifactStore, xml: str, shift: int) -> str:
    """A fitted stub in the store."""
    control = parse_label_config(xml).bound[0]
    plugin = build_plugin(control)
    examples = []
    for seed in range(4 + shift):
        cells = stub_plugin.random_cells(seed)
        truth = Detections.truth([cell[:4] for cell in cells], [plugin.labels.index(cell[4]) for cell in cells])
        examples.append(Example(stub_plugin.draw(cells) + shift, truth, str(seed)))
    plugin.fit(examples, [], Silent())
    return store.put(PROJECT, "cells", plugin, Manifest("stub", "1", plugin.labels, {}, promoted=True))


def test_two_promotions_at_once_end_in_one_of_them_and_in_order(studio: Studio, tmp_path: Path) -> None:
    chosen = prepared(studio, tmp_path, labelled=0)
    studio.add_images(tmp_path, 10)
    store = ArtifactStore(chosen.artifacts)
    versions = [stored(store, studio.config, shift) for shift in (0, 1, 2)]
    with supervised(chosen) as supervisor:

        def promote(version: str) -> None:
            ArtifactStore(chosen.artifacts).promote(PROJECT, "cells", version)
            Queues(chosen).request_scores(PROJECT, f"promoted {version}")

        threads = [threading.Thread(target=promote, args=(version,)) for version in versions]
        for thread in threads:
            thread.start()
            time.sleep(0.3)  # the second while the first is planned, the third while it is scored
        for thread in threads:
            thread.join()
        wait_until(lambda: not supervisor.queues.running(PROJECT), "an end of all jobs", PATIENCE)
        recovered(studio, store)
    assert store.published(PROJECT).version == store.promoted(PROJECT, "cells") == versions[-1]  # type: ignore[union-attr]


def test_a_clock_that_was_set_back_holds_up_no_training(studio: Studio, tmp_path: Path) -> None:
    chosen = prepared(studio, tmp_path)
    chosen = chosen.model_copy(update={"train_min_interval_seconds": 1.0})
    store = ArtifactStore(chosen.artifacts)
    with supervised(chosen) as supervisor:
        version = train_once(studio, chosen, supervisor)
        manifest = store.manifest(PROJECT, "cells", version)
        path = Path(store.directory(PROJECT, "cells", version)) / "manifest.json"
        told = json.loads(path.read_text())
        # To a clock that was set back by three hours the last training lies in the future.
        path.write_text(json.dumps({**told, "created": manifest.created + 3 * 3600}))
        for task in studio.open_tasks()[:4]:
            studio.annotate(task)
        supervisor.queues.request_training(PROJECT, "webhook")
        wait_until(lambda: len(store.versions(PROJECT, "cells")) == 2, "the next training", PATIENCE)
        recovered(studio, store)


def damage(store: ArtifactStore, version: str) -> None:
    """Change one byte of a stored model, as a failing disk would."""
    path = store.directory(PROJECT, "cells", version) / "stub.json"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))


def test_a_damaged_model_is_never_loaded(studio: Studio, tmp_path: Path) -> None:
    store = ArtifactStore((tmp_path / "artifacts").as_uri())
    version = stored(store, studio.config, 0)
    store.promote(PROJECT, "cells", version)
    config = parse_label_config(studio.config)
    part = live_model(PROJECT, config, store, publication(version)).parts["cells"]
    assert load_part(part, config.bound[0]).fitted
    damage(store, version)
    with pytest.raises(StoreError, match=r"stub\.json .* is not what was stored"):
        load_part(part, config.bound[0])


def publication(version: str) -> Published:
    return Published(version, {"cells": version})


def test_a_remote_models_damaged_copy_is_fetched_anew(studio: Studio, tmp_path: Path) -> None:
    store = ArtifactStore("memory://faults", tmp_path / "cache")
    version = stored(store, studio.config, 0)
    store.promote(PROJECT, "cells", version)
    damage(store, version)
    assert withdraw_damaged(store, PROJECT, parse_label_config(studio.config)) == []
    assert store.damaged(PROJECT, "cells", version) == []


def test_a_model_damaged_on_disk_makes_way_for_the_one_before_and_the_next_training(
    studio: Studio, tmp_path: Path
) -> None:
    chosen = prepared(studio, tmp_path)
    store = ArtifactStore(chosen.artifacts)
    with supervised(chosen) as supervisor:
        first = train_once(studio, chosen, supervisor)
        second = stored(store, studio.config, 1)
        store.promote(PROJECT, "cells", second)
        supervisor.queues.request_scores(PROJECT, "promoted")
        wait_until(lambda: studio.title == second and in_order(studio, store), "the second model", PATIENCE)
        wait_until(lambda: not supervisor.queues.running(PROJECT), "an end of all jobs", PATIENCE)
        damage(store, second)
        place = loop_stage.workplace(chosen)
        asked = reconcile(chosen, supervisor.queues, store, place.studio)
        place.studio.close()
        place.queues.close()
        assert asked == {PROJECT: ["scores"]}
        recovered(studio, store, first)
        assert not store.has(PROJECT, "cells", second)
        assert (Path(store.directory(PROJECT, "cells", first)).parent / second / "damaged.json").is_file()
        for task in studio.open_tasks()[:4]:
            studio.annotate(task)
        supervisor.queues.request_training(PROJECT, "webhook")
        wait_until(lambda: len(store.versions(PROJECT, "cells")) == 2, "the next training", PATIENCE)
