"""A Label Studio of one's own on this machine: SQLite, loopback only, no question asked.

Label Studio pins older versions of what hemaloop uses, so it lives in a virtual environment of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from hemaloop.children import Child, Watch, free_port, unwatched
from hemaloop.errors import HemaloopError, LabelStudioError

VERSION = "1.23.2"
FOLDER = ".venv-label-studio"
FIRST_BOOT_SECONDS = 600.0
"""About 40 s are usual; the rest is for a busy machine."""
_CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Account:
    """Who signs in; kept beside the database so that a later start knows it too. token: 40 hexadecimal digits."""

    username: str
    password: str
    token: str


def executable(watch: Watch = unwatched) -> Path:
    """`label-studio`: the one that `HEMALOOP_LABEL_STUDIO` names, one installed before, or one installed now.

    Raises `HemaloopError` where the installation fails, with what pip said.
    """
    named = os.environ.get("HEMALOOP_LABEL_STUDIO")
    if named:
        if not Path(named).is_file():
            raise HemaloopError(f"HEMALOOP_LABEL_STUDIO: found {named!r}, expected the path of a label-studio program")
        return Path(named)
    for folder in (Path.cwd() / FOLDER, _CHECKOUT / FOLDER):
        if (folder / "bin" / "label-studio").is_file():
            return folder / "bin" / "label-studio"
    return install(Path.cwd() / FOLDER, watch)


def install(folder: Path, watch: Watch = unwatched) -> Path:
    """Label Studio in a new virtual environment, from the checkout's lock where there is one (a few minutes)."""
    lock = _CHECKOUT / "requirements" / "label-studio.lock"
    wanted = ["--require-hashes", "-r", str(lock)] if lock.is_file() else [f"label-studio=={VERSION}"]
    folder.mkdir(parents=True, exist_ok=True)
    steps = ([sys.executable, "-m", "venv", str(folder)], [str(folder / "bin" / "pip"), "install", *wanted])
    for step in steps:
        child = Child(
            "label-studio-install", step, log=folder / "install.log", environment=os.environ, directory=folder
        )
        if child.finish(3600.0, watch) != 0:
            raise HemaloopError(f"installing Label Studio failed:\n{child.last_words()}")
    return folder / "bin" / "label-studio"


class LabelStudioServer:
    """A running local Label Studio.

    ::

        with LabelStudioServer(Path(".hemaloop/label-studio"), images=Path("smears")) as server:
            LabelStudio(server.url, server.account.token)

    directory: its database, its log and the account. images: the folder that local files may be read from; storages
    must name folders inside it. port: preferred; another one is taken where it is busy. Removing the directory
    forgets everything.
    """

    def __init__(
        self,
        directory: Path,
        *,
        images: Path,
        port: int = 8080,
        environment: dict[str, str] | None = None,
        watch: Watch = unwatched,
    ) -> None:
        self.directory = directory.resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.account = _account(self.directory / "account.json")
        self.port = free_port(port)
        self.url = f"http://127.0.0.1:{self.port}"
        self._images = images.resolve()
        self._environment = environment or {}
        self._child = self._start(watch)

    def __enter__(self) -> LabelStudioServer:
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._child.alive

    @property
    def log(self) -> Path:
        """Its output."""
        return self._child.log

    def stop(self) -> None:
        """End it; the data stay."""
        self._child.stop()

    def restart(self, watch: Watch = unwatched) -> None:
        """Start it again at the same address."""
        self.stop()
        self._child = self._start(watch)

    def _start(self, watch: Watch) -> Child:
        program = executable(watch)
        command = [str(program), "start", "--no-browser", "--internal-host", "127.0.0.1", "-p", str(self.port)]
        child = Child(
            "Label Studio",
            command,
            log=self.directory / "label-studio.log",
            environment={**os.environ, **self._settings(), **self._environment},
            directory=self.directory,
        )
        try:
            child.wait_for(self._answers, FIRST_BOOT_SECONDS, watch)
        except BaseException:
            child.stop()
            raise
        return child

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2.0).is_success
        except httpx.HTTPError:
            return False

    def _settings(self) -> dict[str, str]:
        return {
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.directory),
            "LABEL_STUDIO_USERNAME": self.account.username,
            "LABEL_STUDIO_PASSWORD": self.account.password,
            "LABEL_STUDIO_USER_TOKEN": self.account.token,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            # A backend on this machine has a private address; Label Studio needs both to accept one.
            "ML_BLOCK_LOCAL_IP": "false",
            "SSRF_PROTECTION_ENABLED": "false",
            "LOCAL_FILES_SERVING_ENABLED": "true",
            "LOCAL_FILES_DOCUMENT_ROOT": str(self._images),
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
        }


def _account(path: Path) -> Account:
    """The account in the file, or a new one written there, readable by its owner alone."""
    if path.is_file():
        try:
            return Account(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise LabelStudioError(f"{path}: {error}; remove its folder to start afresh") from None
    account = Account("demo@hemaloop.example", secrets.token_urlsafe(9), secrets.token_hex(20))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(account), file)
    return account
