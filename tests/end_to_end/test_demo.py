"""`hemaloop demo` as people run it, with the real detector."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hemaloop.client import LabelStudio
from hemaloop.demo.stack import Stack
from hemaloop.synthetic import write_voc
from real_smears import CBC
from running import wait_for

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(2400)]

COMMAND = [sys.executable, "-m", "hemaloop", "demo", "--port", "0"]


@pytest.fixture
def state(stack: Stack, tmp_path: Path) -> Path:
    """A demo's folder whose Label Studio has been started before: its first start takes most of a minute."""
    shutil.copytree(stack.root / "label-studio", tmp_path / "demo" / "label-studio")
    return tmp_path / "demo"


def _once(state: Path, images: Path, limit: int) -> list[dict[str, object]]:
    command = [*COMMAND, "--once", "--state", str(state), "--images", str(images), "--limit", str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2300, check=False, cwd=state)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    report = json.loads((state / "report.json").read_text())
    assert report["ok"]
    steps: list[dict[str, object]] = report["steps"]
    return steps


def test_the_loop_runs_once_on_real_smears_or_where_there_are_none_on_rendered_ones(
    state: Path, tmp_path: Path
) -> None:
    rendered = None if CBC.is_dir() else write_voc(tmp_path / "smears", 40, seed=7, width=320, height=240)
    steps = _once(state, rendered or CBC, 40 if rendered else 60)
    names = [str(step["name"]) for step in steps]
    for part in ("set up", "annotations", "training", "promotion", "published", "next task"):
        assert any(part in name for name in names)
    assert sum("round 2" in name for name in names) == 5
    assert all(step["ok"] for step in steps)
    assert _processes(state) == []


def test_the_demo_stays_until_it_is_stopped_and_goes_on_afterwards(state: Path, tmp_path: Path) -> None:
    smears = write_voc(tmp_path / "smears", 10, seed=8, width=320, height=240)
    command = [*COMMAND, "--state", str(state), "--images", str(smears)]
    projects = []
    for _ in range(2):
        log = state / "output.log"
        with log.open("w") as output:
            running = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=state, env=_wide())

        def told(log: Path = log, running: subprocess.Popen[bytes] = running) -> bool:
            assert running.poll() is None, log.read_text()
            return "Ctrl-C stops everything" in log.read_text()

        wait_for(told, "the invitation", 900)
        said = log.read_text()
        address = re.search(r"(http://127\.0\.0\.1:\d+)/projects/(\d+)/data", said)
        assert address is not None
        account = json.loads((state / "label-studio" / "account.json").read_text())
        assert account["password"] in said
        studio = LabelStudio(address.group(1), account["token"])
        first = studio.queue_head(int(address.group(2)), 1)[0][0]
        assert studio.task(first)["predictions"][0]["result"], "the first task has boxes"
        found = [project.id for project in studio.projects()]
        studio.close()
        projects.append((int(address.group(2)), found))
        running.send_signal(signal.SIGINT)
        assert running.wait(120) == 130
        deadline = time.monotonic() + 30
        while _processes(state):
            assert time.monotonic() < deadline, _processes(state)
            time.sleep(0.2)
    assert projects[0] == projects[1], "the second call goes on in the same project"


def _wide() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "160"}


def _processes(state: Path) -> list[str]:
    """Processes that were started in, or with, the demo's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.cwd()]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if process.pid != os.getpid() and any(str(state) in word for word in words):
            found.append(" ".join(process.cmdline()))
    return found
