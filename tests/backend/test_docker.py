"""The compose file and its image: what they promise, and their commands run as processes of this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

import stub_plugin
import web_stage
from hemaloop.children import free_port
from hemaloop.config import Settings
from hemaloop.redis_server import find_server

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
EXACT = re.compile(r"[\w./-]+:\d+\.\d+\.?\d*[\w.-]*")
OURS = ("backend", "worker", "worker-gpu")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    user = str(service["user"])
    assert user.partition(":")[0] not in ("", "0", "root")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["restart"] == "unless-stopped"
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_an_exact_version_and_says_whether_it_is_well(name: str) -> None:
    service = SERVICES[name]
    assert EXACT.fullmatch(service["image"]), service["image"]
    in_image = "HEALTHCHECK" in DOCKERFILE and name == "backend"
    assert in_image or service["healthcheck"]["test"]
    for other in service.get("depends_on", {}).values():
        assert other == {"condition": "service_healthy"}


def test_only_what_people_open_is_reached_from_outside_and_only_by_the_host() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"backend", "label-studio"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if "outside" in service["networks"]} == set(published)


def test_secrets_are_files_and_stand_in_no_variable() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|API_KEY|TOKEN", variable):
                assert variable.endswith("_FILE"), f"{name}: {variable}"
                assert value.removeprefix("/run/secrets/") in service["secrets"]
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
    assert all(set(one) == {"file"} for one in COMPOSE["secrets"].values())
    ignored = (FOLDER / "secrets" / ".gitignore").read_text().split()
    assert ignored == ["*", "!.gitignore"], "no secret is ever committed"


@pytest.mark.parametrize("name", OURS)
def test_every_variable_of_ours_is_one_that_we_read(name: str) -> None:
    known = {str(field.validation_alias or f"HEMALOOP_{one.upper()}") for one, field in Settings.model_fields.items()}
    for variable in SERVICES[name]["environment"]:
        assert variable.removesuffix("_FILE") in known, variable


def test_trainings_may_run_on_the_processor_or_on_a_gpu() -> None:
    assert SERVICES["worker"]["profiles"] == ["cpu"]
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert SERVICES["worker-gpu"]["environment"]["HEMALOOP_DEVICE"] == "cuda"
    (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_everything_that_is_kept_lies_in_a_volume() -> None:
    kept = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert kept == set(COMPOSE["volumes"])


def test_the_image_is_pinned_hashed_and_runs_as_nobody_special() -> None:
    (version,) = re.findall(r"^ARG PYTHON=(\S+)$", DOCKERFILE, re.M)
    assert EXACT.fullmatch(version)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)) == {"${PYTHON}"}
    assert "--require-hashes -r requirements/hemaloop.lock" in DOCKERFILE
    assert re.search(r"--no-deps --no-build-isolation --no-index \.$", DOCKERFILE, re.M)
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.M) == ["10001:10001"] == [SERVICES["backend"]["user"]]
    assert "ADD " not in DOCKERFILE
    assert "curl" not in DOCKERFILE


def test_what_the_image_copies_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M):
        for source in line.split()[:-1]:
            assert source.rstrip("/") in kept
            assert (ROOT / source).exists()


def test_the_readme_names_the_images_that_are_used() -> None:
    text = (FOLDER / "README.md").read_text()
    for image in {service["image"] for service in SERVICES.values()} - {SERVICES["backend"]["image"]}:
        assert text.count(image) == 2


def test_random_secrets_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    script = tmp_path / "docker" / "make-secrets.sh"
    (tmp_path / "docker" / "secrets").mkdir(parents=True)
    script.write_text((FOLDER / "make-secrets.sh").read_text())
    runs = []
    for _ in range(2):
        subprocess.run(["sh", str(script)], check=True)
        runs.append({path.name: path.read_text() for path in (tmp_path / "docker" / "secrets").iterdir()})
    first, found = runs
    assert first == found
    assert set(found) == set(COMPOSE["secrets"])
    assert len(set(found.values())) == len(found)
    assert all(re.fullmatch(r"[\w-]{40,}\n", value) for name, value in found.items() if name != "label_studio_api_key")
    assert (tmp_path / "docker" / "secrets").stat().st_mode & 0o077 == 0


# -- the same processes by hand


def test_the_commands_of_the_services_work_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_plugin.install(monkeypatch)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in COMPOSE["secrets"]:
        (secrets / name).write_text(f"{name}-{os.urandom(12).hex()}\n")
    (tmp_path / "redis").mkdir()
    redis_port, port = free_port(), free_port()
    here = Here(tmp_path, {"6379": str(redis_port), "9090": str(port)})
    path = os.pathsep.join([str(find_server().parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "HEMALOOP_DATA_DIR": str(tmp_path / "data"), "HEMALOOP_PORT": str(port)}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        arguments = here.words(SERVICES["redis"]["command"])
        arguments[-1] += f" --port {redis_port}"
        processes.append(here.start("redis", arguments, environment))
        web_stage.wait_until(lambda: b"Ready to accept" in (tmp_path / "redis.log").read_bytes(), 60)
        ours = {**environment, **here.variables(SERVICES["backend"]["environment"], redis_port)}
        processes.append(here.start("backend", ["hemaloop", "serve"], ours))
        processes.append(here.start("worker", here.words(SERVICES["worker"]["command"]), ours))
        web_stage.wait_until(lambda: web_stage.answers(f"http://127.0.0.1:{port}"), 120)
        health = re.search(r'HEALTHCHECK[^\[]+\["python", "-c", "([^"]+)"\]', DOCKERFILE)
        assert health
        assert here.run([sys.executable, "-c", health[1].replace("9090", str(port))], ours) == 0
        check = SERVICES["worker"]["healthcheck"]["test"]
        assert check[:3] == ["CMD", "python", "-c"]
        web_stage.wait_until(lambda: here.run([sys.executable, "-c", check[3]], ours) == 0, 120)
        password = (secrets / "hemaloop_password").read_text().strip()
        reply = requests.get(f"http://127.0.0.1:{port}/metrics", auth=("hemaloop", password), timeout=60)
        assert "hemaloop_redis_up 1.0" in reply.text
        assert 'hemaloop_queue_workers{queue="train"} 1.0' in reply.text
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(60)
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    commands = "".join(here.commands)
    for name in COMPOSE["secrets"]:
        secret = (secrets / name).read_text().strip()
        assert secret not in logs
        assert secret not in commands


class Here:
    """What stands in the compose file, for paths and ports of this machine."""

    def __init__(self, folder: Path, ports: Mapping[str, str]) -> None:
        self.folder, self.ports = folder, ports
        self.commands: list[str] = []

    def words(self, command: list[str]) -> list[str]:
        memory = "/tmp/redis.conf"  # noqa: S108 - a path in the container
        named = {"/run/secrets": str(self.folder / "secrets"), memory: str(self.folder / "redis.conf")}
        text = [word.replace("$$", "$").replace("--dir /data", f"--dir {self.folder / 'redis'}") for word in command]
        for old, new in named.items():
            text = [word.replace(old, new) for word in text]
        return text

    def variables(self, given: Mapping[str, str], redis_port: int) -> dict[str, str]:
        found = {}
        for name, value in given.items():
            text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value)).replace(
                "/run/secrets", str(self.folder / "secrets")
            )
            found[name] = text.replace("redis:6379", f"127.0.0.1:{redis_port}").replace(
                "label-studio:8080", "127.0.0.1:9"
            )
        return {**found, "HEMALOOP_HOST": "127.0.0.1"}

    def start(self, name: str, command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=log)
        time.sleep(0.2)
        self.commands.append(Path(f"/proc/{process.pid}/cmdline").read_text())
        return process

    def run(self, command: list[str], environment: Mapping[str, str]) -> int:
        return subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, check=False).returncode
