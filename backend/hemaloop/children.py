"""Programs that run as long as this one, and no longer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hemaloop.errors import HemaloopError
from hemaloop.lifetime import owned

Watch = Callable[[float], None]
"""Told the seconds waited so far, several times a second."""


def unwatched(seconds: float) -> None:
    """A `Watch` that nobody looks at."""


def free_port(preferred: int = 0, host: str = "127.0.0.1") -> int:
    """`preferred` where nobody listens there, else a port that the system chooses."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            chosen: int = probe.getsockname()[1]
            return chosen
    raise HemaloopError(f"no free port on {host}")


class Child:
    """A program in its own process group, its output in a file, ended with its owner.

    On Linux the kernel ends it even where the owner is killed; start it from the main thread (`hemaloop.lifetime`).
    command: begins with the full path of a program.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str], directory: Path
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            output.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {name}\n".encode())
            output.flush()
            self._process = subprocess.Popen(  # noqa: S603 - the commands are this package's own
                owned(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=directory,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        """How it ended, None while it runs."""
        return self._process.poll()

    def finish(self, timeout: float, watch: Watch = unwatched) -> int:
        """Until it ends by itself; its exit status. Raises `HemaloopError` where it is late by `timeout` seconds."""
        began = time.monotonic()
        while self.alive:
            waited = time.monotonic() - began
            if waited > timeout:
                self.stop()
                raise HemaloopError(f"{self.name} did not end within {timeout:.0f} s; see {self.log}")
            watch(waited)
            time.sleep(0.2)
        return int(self._process.returncode)

    def wait_for(self, ready: Callable[[], bool], timeout: float, watch: Watch = unwatched) -> None:
        """Until `ready` says so. Raises `HemaloopError` with its last words where it ends or is late (s)."""
        began = time.monotonic()
        while not ready():
            waited = time.monotonic() - began
            if not self.alive:
                raise HemaloopError(f"{self.name} ended with status {self.status}:\n{self.last_words()}")
            if waited > timeout:
                raise HemaloopError(
                    f"{self.name} is not ready after {timeout:.0f} s; see {self.log}\n{self.last_words()}"
                )
            watch(waited)
            time.sleep(0.2)

    def last_words(self, lines: int = 15) -> str:
        """The end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, patience: float = 15.0) -> None:
        """Ask it to end, and after `patience` seconds end it and all that it started."""
        for sign, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(self.pid, sign) if sign == signal.SIGKILL else self._process.send_signal(sign)
                self._process.wait(seconds)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        # What it may have left behind in its group.
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
