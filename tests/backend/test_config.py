"""Settings report every fault at once, and never show a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from hemaloop.config import Settings, load_settings
from hemaloop.errors import SettingsError

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
