"""Settings report every fault at once, and never show a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from hemaloop.config import Settings, load_settings
from hemaloop.errors import SettingsError
from hemaloop.redis_server import redis_url

GOOD = {"HEMALOOP_PASSWORD": "correct horse", "HEMALOOP_WEBHOOK_SECRET": "battery staple battery"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.chdir(tmp_path)
    for name, field in Settings.model_fields.items():
        monkeypatch.delenv(str(field.validation_alias or f"HEMALOOP_{name.upper()}"), raising=False)
    return monkeypatch


def test_every_fault_is_reported_at_once_by_its_variable(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HEMALOOP_PORT", "web")
    environment.setenv("LABEL_STUDIO_URL", "localhost:8080")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    for name in ("HEMALOOP_PASSWORD", "HEMALOOP_WEBHOOK_SECRET", "HEMALOOP_PORT", "LABEL_STUDIO_URL"):
        assert name in str(caught.value)


def test_one_env_file_is_enough(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = [f"{name}={value}" for name, value in GOOD.items()]
    (tmp_path / ".env").write_text("\n".join([*lines, "HEMALOOP_IMAGE_HOSTS=a.example, b.example:8443"]))
    settings = load_settings()
    assert settings.image_hosts == ("a.example", "b.example:8443")
    assert settings.password.get_secret_value() == "correct horse"


def test_the_environment_wins_over_the_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("\n".join(f"{name}={value}" for name, value in GOOD.items()) + "\nHEMALOOP_PORT=1")
    environment.setenv("HEMALOOP_PORT", "9191")
    assert load_settings().port == 9191


def test_no_secret_is_shown(environment: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        environment.setenv(name, value)
    environment.setenv("LABEL_STUDIO_API_KEY", "token-of-the-laboratory")
    environment.setenv("REDIS_URL", "redis://:hidden@127.0.0.1:6379")
    shown = repr(load_settings())
    for secret in (*GOOD.values(), "token-of-the-laboratory", "hidden"):
        assert secret not in shown


def test_addresses_lose_a_trailing_slash(environment: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        environment.setenv(name, value)
    environment.setenv("LABEL_STUDIO_URL", "http://label.studio:8080/")
    assert load_settings().label_studio_url == "http://label.studio:8080"


def test_a_secret_may_stand_in_a_file_and_its_own_variable_wins(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in GOOD.items():
        file = tmp_path / name
        file.write_text(value + "\n")
        environment.setenv(f"{name}_FILE", str(file))
    assert load_settings().password.get_secret_value() == "correct horse"
    environment.setenv("HEMALOOP_PASSWORD", "another horse")
    assert load_settings().password.get_secret_value() == "another horse"
    assert load_settings().webhook_secret.get_secret_value() == "battery staple battery"


def test_a_file_of_a_secret_that_is_missing_or_empty_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("HEMALOOP_PASSWORD_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match=r"HEMALOOP_PASSWORD_FILE: .*nowhere cannot be read"):
        load_settings()
    (tmp_path / "nowhere").write_text("\n")
    with pytest.raises(SettingsError, match=r"HEMALOOP_PASSWORD_FILE: .*nowhere is empty"):
        load_settings()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://redis:6379/0", "redis://:p%2Fw%40rd@redis:6379/0"),
        ("rediss://lab@redis:6380/1", "rediss://lab:p%2Fw%40rd@redis:6380/1"),
        ("redis://:own@redis:6379/0", "redis://:own@redis:6379/0"),
    ],
)
def test_the_password_of_redis_may_be_kept_apart_from_its_address(
    environment: pytest.MonkeyPatch, tmp_path: Path, url: str, expected: str
) -> None:
    (tmp_path / "redis").write_text("p/w@rd")
    for name, value in {**GOOD, "REDIS_URL": url, "REDIS_PASSWORD_FILE": str(tmp_path / "redis")}.items():
        environment.setenv(name, value)
    assert redis_url(load_settings()) == expected
