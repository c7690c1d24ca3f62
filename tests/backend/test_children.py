"""Programs that end with their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hemaloop.children import Child, free_port
from hemaloop.errors import HemaloopError

SLEEP = [sys.executable, "-c", "import subprocess, sys; print('up', flush=True); subprocess.run(['sleep', '600'])"]


def _child(tmp_path: Path, command: list[str]) -> Child:
    return Child("a program", command, log=tmp_path / "log", environment=os.environ, directory=tmp_path)


def _up(child: Child) -> bool:
    return "up" in child.log.read_text()


def test_stop_ends_the_program_and_what_it_started(tmp_path: Path) -> None:
    child = _child(tmp_path, SLEEP)
    child.wait_for(lambda: _up(child), 60.0)
    family = [child.pid, *(process.pid for process in psutil.Process(child.pid).children(recursive=True))]
    child.stop()
    assert not child.alive
    deadline = time.monotonic() + 20
    while any(_runs(pid) for pid in family):
        assert time.monotonic() < deadline, f"{family} outlived their owner"
        time.sleep(0.1)


def test_a_program_that_ends_too_early_is_told_with_its_last_words(tmp_path: Path) -> None:
    child = _child(tmp_path, [sys.executable, "-c", "raise SystemExit('no room')"])
    with pytest.raises(HemaloopError, match="status 1") as error:
        child.wait_for(lambda: False, 60.0)
    assert "no room" in str(error.value)


def test_a_program_that_is_late_is_told_with_its_log(tmp_path: Path) -> None:
    child = _child(tmp_path, SLEEP)
    waited: list[float] = []
    with pytest.raises(HemaloopError, match="not ready"):
        child.wait_for(lambda: False, 1.0, waited.append)
    assert waited == sorted(waited)
    assert waited
    child.stop()


def test_a_program_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process of its owner's end")
    owner = f"""
import os, time
from pathlib import Path
from hemaloop.children import Child
child = Child("x", {SLEEP!r}, log=Path("log"), environment=os.environ, directory=Path("."))
child.wait_for(lambda: "up" in Path("log").read_text(), 60.0)
print(child.pid, flush=True)
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", owner], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 20
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_free_port_is_the_preferred_one_or_another() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
