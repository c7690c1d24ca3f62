"""Each cause of silence, made in a real Label Studio: the doctor names it, and what it says to do mends it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

import stub_plugin
from hemaloop import doctor
from hemaloop.children import free_port
from hemaloop.cli import build
from hemaloop.config import Settings
from hemaloop.demo.stack import Stack, variables
from hemaloop.doctor import Finding, Level, Patient, label_studio, machine
from hemaloop.doctor.connection import backend_is_connected
from hemaloop.label_studio_server import LabelStudioServer
from running import Project, hemaloop, wait_for

pytestmark = pytest.mark.label_studio
XML = stub_plugin.config().replace("model_preset", 'model_train="off" model_preset')
UNBOUND = XML.replace(' model_family="stub" model_train="off" model_preset="blobs"', "")
VIOLET = XML.replace("<Label", '<Label value="violet"/><Label', 1)


@pytest.fixture(scope="module")
def well(stack: Stack) -> Project:
    """A project without any fault; each test leaves it so."""
    made = Project.create(stack, 6, seed=40, xml=XML)
    made.connect()
    made.idle()
    return made


def examined(settings: Settings, number: int | None = None) -> dict[str, Finding]:
    with closing(Patient(settings, number)) as patient:
        return {finding.check: finding for finding in doctor.examine(patient)}


def one(check: Callable[[Patient], Finding], settings: Settings, number: int | None = None) -> Finding:
    with closing(Patient(settings, number)) as patient:
        return check(patient)


def carry_out(stack: Stack, remedy: str) -> None:
    """Type the command that the doctor gave; setting up in this process, which has imported what that takes."""
    program, *arguments = remedy.split()
    assert program == "hemaloop", remedy
    if arguments[0] != "setup":
        typed = hemaloop(stack, *arguments)
        assert typed.returncode == 0, typed.stderr
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(stack.root)
        for name, value in variables(stack.settings).items():
            patch.setenv(name, value)
        done = CliRunner().invoke(build(), arguments)
    assert done.exit_code == 0, done.output


def test_a_project_that_works_has_no_fault(stack: Stack, well: Project) -> None:
    found = examined(stack.settings, well.id)
    assert [finding for finding in found.values() if finding.level is Level.FAIL] == []
    assert len(found) == len(doctor.INSTALLATION) + len(doctor.PROJECT)


@dataclass(frozen=True)
class Cause:
    """A fault of a project: how it is made, which check names it, in which words, and how it is mended.

    mend: where the remedy is no command to type. level: of the finding. slow: a job has to end before it is mended.
    """

    make: Callable[[Project], Any]
    check: str
    words: str
    remedy: str
    mend: Callable[[Project], Any] | None = None
    level: Level = Level.FAIL
    slow: bool = False


def hook(made: Project) -> dict[str, Any]:
    return made.studio.webhooks(made.id)[0]


def rename_images(made: Project, *, back: bool) -> None:
    hidden = made.folder.with_name(f"{made.folder.name}-gone")
    source, target = (hidden, made.folder) if back else (made.folder, hidden)
    source.rename(target)


def connect_another(made: Project) -> None:
    made.studio.request("DELETE", f"/api/ml/{(made.studio.backend(made.id) or {})['id']}")
    settings = made.stack.settings
    url, password = f"http://localhost:{settings.port}", settings.password.get_secret_value()
    made.studio.connect_backend(made.id, url=url, title="theirs", username=settings.username, password=password)


def delete_predictions(made: Project) -> None:
    version = made.studio.project(made.id).model_version or ""
    made.studio.delete_version(made.id, version)
    made.studio.set_model_version(made.id, version)


CAUSES = {
    "sampling": Cause(
        lambda made: made.studio.update_project(made.id, sampling="Sequential sampling"),
        "sampling follows the scores",
        "ignores scores",
        "hemaloop setup {id}",
    ),
    "title": Cause(
        lambda made: made.studio.retitle_backend(made.id, "hemaloop"),
        "versions agree",
        "order is random",
        "hemaloop setup {id}",
    ),
    "no version": Cause(
        lambda made: made.studio.update_project(made.id, model_version=""),
        "versions agree",
        "the project uses None",
        "hemaloop setup {id}",
    ),
    "webhook without headers": Cause(
        lambda made: made.studio.update_webhook(hook(made)["id"], headers={}),
        "webhook is set",
        "has no header X-Hemaloop-Secret",
        "hemaloop setup {id}",
    ),
    "webhook with another secret": Cause(
        lambda made: made.studio.update_webhook(hook(made)["id"], headers={"X-Hemaloop-Secret": "of last year"}),
        "webhook is set",
        "another X-Hemaloop-Secret than HEMALOOP_WEBHOOK_SECRET",
        "hemaloop setup {id}",
    ),
    "webhook switched off": Cause(
        lambda made: made.studio.update_webhook(hook(made)["id"], is_active=False),
        "webhook is set",
        "switched off",
        "hemaloop setup {id}",
    ),
    "stale webhook": Cause(
        lambda made: made.studio.update_webhook(hook(made)["id"], url="http://127.0.0.1:9/webhook"),
        "webhook is set",
        "leads to http://127.0.0.1:9/webhook",
        "hemaloop setup {id}",
    ),
    "no webhook": Cause(
        lambda made: made.studio.request("DELETE", f"/api/webhooks/{hook(made)['id']}/"),
        "webhook is set",
        "no webhook",
        "hemaloop setup {id}",
    ),
    "no backend": Cause(
        lambda made: made.studio.request("DELETE", f"/api/ml/{(made.studio.backend(made.id) or {})['id']}"),
        "backend is connected",
        "no backend is connected",
        "hemaloop setup {id}",
    ),
    "another backend": Cause(
        connect_another, "backend is connected", "only the first is used", "hemaloop setup {id} --replace"
    ),
    "no predictions": Cause(
        delete_predictions,
        "tasks have predictions",
        "6 of 6 tasks that wait have no prediction",
        "hemaloop project rescore {id}",
        slow=True,
    ),
    "several annotations a task": Cause(
        lambda made: made.studio.update_project(made.id, maximum_annotations=2),
        "one annotation a task",
        "at random",
        "project settings, Quality: annotations per task 1",
        lambda made: made.studio.update_project(made.id, maximum_annotations=1),
        Level.WARN,
    ),
    "no binding": Cause(
        lambda made: made.studio.update_project(made.id, label_config=UNBOUND),
        "config is bound",
        "model_family",
        "hemaloop attach {id} --family",
        lambda made: made.studio.update_project(made.id, label_config=XML),
    ),
    "an unknown label": Cause(
        lambda made: made.studio.update_project(made.id, label_config=VIOLET),
        "model knows the labels",
        "'violet' has no counterpart among the labels of preset 'blobs'",
        'write model_label="…" into the labelling config',
        lambda made: made.studio.update_project(
            made.id, label_config=VIOLET.replace('value="violet"', 'value="violet" model_label="red"')
        ),
        Level.WARN,
    ),
    "images moved away": Cause(
        lambda made: rename_images(made, back=False),
        "images can be had",
        "5 of 5 cannot be had",
        "check the storage it came from",
        lambda made: rename_images(made, back=True),
    ),
    "paused": Cause(
        lambda made: made.stack.queues.pause(made.key),
        "trainings start",
        "paused",
        "hemaloop resume {id}",
        level=Level.WARN,
    ),
}


@pytest.mark.parametrize("name", list(CAUSES))
def test_a_fault_of_a_project_is_named_and_its_remedy_mends_it(stack: Stack, well: Project, name: str) -> None:
    cause = CAUSES[name]
    if cause.slow:
        well.idle()
    cause.make(well)
    found = examined(stack.settings, well.id)[cause.check]
    assert found.level is cause.level, found
    assert cause.words in found.found
    assert found.remedy.startswith(cause.remedy.format(id=well.id))
    if cause.mend is not None:
        cause.mend(well)
    else:
        carry_out(stack, found.remedy)
    if cause.slow:
        well.idle()
    after = examined(stack.settings, well.id)
    assert after[cause.check].level is Level.OK, after[cause.check]
    assert {finding.check for finding in after.values() if finding.level is Level.FAIL} == set()


@pytest.mark.parametrize(
    ("blocked", "address"),
    [
        ({"ML_BLOCK_LOCAL_IP": "true", "SSRF_PROTECTION_ENABLED": "false"}, ""),
        ({"ML_BLOCK_LOCAL_IP": "false", "SSRF_PROTECTION_ENABLED": "true"}, "/webhook"),
    ],
)
def test_an_address_that_label_studio_blocks_is_told_apart(
    stack: Stack, well: Project, tmp_path: Path, blocked: dict[str, str], address: str
) -> None:
    copy = tmp_path / "label-studio"
    shutil.copytree(stack.root / "label-studio", copy)
    hooks = len(stack.studio.webhooks(well.id))
    with LabelStudioServer(copy, images=stack.images, port=0, environment=blocked) as server:
        settings = stack.settings.model_copy(update={"label_studio_url": server.url})
        found = one(label_studio.address_is_let_through, settings)
        connected = one(backend_is_connected, settings, well.id)
    assert found.level is Level.FAIL, found
    assert f"blocks {settings.backend_url}{address}," in found.found
    assert "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false" in found.remedy
    assert (connected.level is Level.OK) == (blocked["ML_BLOCK_LOCAL_IP"] == "false"), connected
    assert connected.level is Level.OK or connected.remedy == found.remedy
    assert one(label_studio.address_is_let_through, stack.settings).level is Level.OK
    assert len(stack.studio.webhooks(well.id)) == hooks, "nothing was made"


def with_key(stack: Stack, key: str) -> Settings:
    return stack.settings.model_copy(update={"label_studio_api_key": SecretStr(key)})


def test_each_kind_of_key_is_told_apart(stack: Stack, personal_token: str) -> None:
    def looked(key: str) -> Finding:
        return one(label_studio.key_is_accepted, with_key(stack, key))

    access = stack.studio.request("POST", "/api/token/refresh", body={"refresh": personal_token})["access"]
    assert "lives five minutes" in looked(access).found
    assert looked("").level is Level.FAIL
    assert "refuses the legacy token" in looked("0" * 40).found
    assert looked("nonsense").level is Level.FAIL
    assert "personal access token of" in looked(personal_token).found


def test_legacy_tokens_that_are_off_are_named_and_a_personal_one_mends_it(stack: Stack, personal_token: str) -> None:
    own = stack.settings.label_studio_api_key.get_secret_value()
    tokens = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": False}
    stack.studio.request("POST", "/api/jwt/settings", body=tokens)
    try:
        found = one(label_studio.key_is_accepted, with_key(stack, own))
        assert found.level is Level.FAIL
        assert "switch Legacy Tokens on; or LABEL_STUDIO_API_KEY=" in found.remedy
        with closing(Patient(with_key(stack, personal_token))) as patient:
            assert label_studio.key_is_accepted(patient).level is Level.OK
            tokens["legacy_api_tokens_enabled"] = True
            patient.studio.request("POST", "/api/jwt/settings", body=tokens)
    finally:
        with closing(Patient(with_key(stack, personal_token))) as patient:
            patient.studio.request("POST", "/api/jwt/settings", body={**tokens, "legacy_api_tokens_enabled": True})
    assert one(label_studio.key_is_accepted, with_key(stack, own)).level is Level.OK


def test_a_backend_that_is_not_there_or_another_is_told_apart(stack: Stack) -> None:
    def looked(**changes: object) -> Finding:
        return one(machine.backend_answers, stack.settings.model_copy(update=changes))

    assert "hemaloop serve" in looked(port=free_port()).remedy
    assert "HEMALOOP_PASSWORD" in looked(password=SecretStr("of last year")).found
    assert "not as hemaloop does" in looked(port=stack.server.port).found
    assert looked().level is Level.OK


def test_dead_workers_are_noticed_at_once_and_new_ones_mend_it(stack: Stack) -> None:
    os.kill(stack.child("worker").pid, signal.SIGKILL)
    try:
        found = wait_for(lambda: _without_workers(stack.settings), "the loss of the workers", 60)
        assert found.remedy == "hemaloop worker"
    finally:
        stack.stop_child("worker")
        stack.start_worker()
    wait_for(lambda: one(machine.workers_run, stack.settings).level is Level.OK, "workers", 60)


def _without_workers(settings: Settings) -> Finding | None:
    found = one(machine.workers_run, settings)
    none = found.level is Level.FAIL and "nobody takes jobs of train, push, score" in found.found
    return found if none else None


def test_a_redis_that_is_gone_or_drops_jobs_is_named(stack: Stack, tmp_path: Path) -> None:
    away = stack.settings.model_copy(update={"redis_url": SecretStr("redis://:secret@127.0.0.1:9/0")})
    found = one(machine.redis_answers, away)
    assert found.level is Level.FAIL
    assert "REDIS_URL" in found.remedy
    assert "secret" not in found.found + found.remedy
    never = stack.settings.model_copy(update={"data_dir": tmp_path})
    assert "hemaloop serve" in examined(never)["redis answers"].found
    connection = stack.queues.redis
    connection.config_set("maxmemory", 2**30)
    connection.config_set("maxmemory-policy", "allkeys-lru")
    try:
        found = one(machine.redis_answers, stack.settings)
        assert found.level is Level.WARN
        assert "evicts by allkeys-lru" in found.found
        connection.execute_command(*found.remedy.removeprefix("redis-cli ").split())
        assert one(machine.redis_answers, stack.settings).level is Level.OK
    finally:
        connection.config_set("maxmemory", 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 64 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.system(f"mount -t tmpfs -o size=64m none {place} 2>/dev/null") != 0:  # noqa: S605 - a path of pytest's
        pytest.skip("a disk of its own needs the right to mount one")
    yield place
    os.system(f"umount -l {place}")  # noqa: S605 - as above


def test_a_disk_without_room_is_named(stack: Stack, small_disk: Path) -> None:
    found = one(machine.disk_has_room, stack.settings.model_copy(update={"data_dir": small_disk / "data"}))
    assert found.level is Level.FAIL
    assert "HEMALOOP_DATA_DIR" in found.remedy


def test_a_store_that_cannot_be_written_is_named(stack: Stack) -> None:
    away = stack.settings.model_copy(update={"artifacts_url": "file:///proc/hemaloop"})
    found = one(machine.store_can_be_written, away)
    assert found.level is Level.FAIL
    assert "HEMALOOP_ARTIFACTS_URL" in found.remedy


@pytest.mark.parametrize(("seconds", "level"), [(-600.0, Level.FAIL), (20.0, Level.WARN), (0.0, Level.OK)])
def test_a_clock_that_goes_wrong_is_named(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, seconds: float, level: Level
) -> None:
    true_time = time.time
    monkeypatch.setattr("hemaloop.doctor.label_studio.time.time", lambda: true_time() + seconds)
    found = one(label_studio.clocks_agree, stack.settings)
    monkeypatch.undo()
    assert found.level is level
    assert ("set-ntp" in found.remedy) == (level is not Level.OK)


def test_what_cannot_be_looked_at_because_of_a_fault_is_skipped(stack: Stack, well: Project) -> None:
    away = stack.settings.model_copy(update={"label_studio_url": f"http://127.0.0.1:{free_port()}"})
    found = examined(away, well.id)
    assert found["label studio answers"].level is Level.FAIL
    assert "LABEL_STUDIO_URL" in found["label studio answers"].remedy
    assert found["webhook is set"].level is Level.SKIP
    assert "label studio answers" in found["webhook is set"].remedy


def test_the_command_tells_people_and_programs_and_ends_with_a_status(stack: Stack, well: Project) -> None:
    good = hemaloop(stack, "doctor", "--project", str(well.id))
    assert good.returncode == 0, good.stdout
    assert "OK   sampling follows the scores: Uncertainty sampling" in good.stdout
    well.studio.update_project(well.id, sampling="Sequential sampling")
    bad = hemaloop(stack, "doctor", "--project", str(well.id))
    assert bad.returncode == 1
    assert f"mend: hemaloop setup {well.id}" in bad.stdout
    told = json.loads(hemaloop(stack, "doctor", "--project", str(well.id), "--json").stdout)
    assert {one["level"] for one in told} <= {"OK", "WARN", "FAIL"}
    (wrong,) = [one for one in told if one["level"] == "FAIL"]
    assert wrong["check"] == "sampling follows the scores"
    assert set(wrong) == {"level", "found", "remedy", "check"}
    carry_out(stack, wrong["remedy"])
    unset = hemaloop(stack, "doctor", "--json", HEMALOOP_PASSWORD="short")
    assert unset.returncode == 1
    assert "HEMALOOP_PASSWORD" in json.loads(unset.stdout)[0]["found"]
    for secret in (stack.settings.password, stack.settings.webhook_secret, stack.settings.label_studio_api_key):
        assert secret.get_secret_value() not in good.stdout + bad.stdout + unset.stdout
