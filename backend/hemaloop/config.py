"""Settings, from the environment and one `.env` file; every fault is reported at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, get_args

import pydantic
from pydantic import Field, SecretStr, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from hemaloop.errors import SettingsError

Names = Annotated[tuple[str, ...], NoDecode]
"""Several values in one variable, separated by commas."""


class SecretFiles(PydanticBaseSettingsSource):
    """Secrets from files, as container engines mount them: `HEMALOOP_PASSWORD_FILE=/run/secrets/password`.

    A variable that is set itself wins over its file, and the file over `.env`.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[str | None, str, bool]:
        """Raises `SettingsError` for a file that is named and cannot be read, or is empty."""
        variable = str(field.validation_alias or f"HEMALOOP_{field_name.upper()}")
        key = str(field.validation_alias or field_name)
        named = os.environ.get(f"{variable}_FILE")
        if not named or SecretStr not in (field.annotation, *get_args(field.annotation)):
            return None, key, False
        try:
            value = Path(named).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{variable}_FILE: {named} cannot be read: {error}") from None
        if not value:
            raise SettingsError(f"{variable}_FILE: {named} is empty, expected the secret on its first line")
        return value, key, False

    def __call__(self) -> dict[str, str]:
        """Every secret that has a file."""
        found = (self.get_field_value(field, name) for name, field in self.settings_cls.model_fields.items())
        return {key: value for value, key, _ in found if value is not None}


class Settings(BaseSettings):
    """What a laboratory can set. `LABEL_STUDIO_URL`, `LABEL_STUDIO_API_KEY` and `REDIS_URL` have the names that
    everybody uses; every other variable begins with `HEMALOOP_`. A secret may stand in a file (`SecretFiles`)."""

    model_config = SettingsConfigDict(
        env_prefix="HEMALOOP_", env_file=".env", extra="ignore", frozen=True, populate_by_name=True
    )

    label_studio_url: str = Field(
        "http://127.0.0.1:8080", validation_alias="LABEL_STUDIO_URL", description="where Label Studio is"
    )
    label_studio_api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias="LABEL_STUDIO_API_KEY",
        description="a personal access token or a legacy token of Label Studio",
    )
    label_studio_public_url: str | None = Field(
        None, description="where people's browsers reach Label Studio, if not there"
    )
    redis_url: SecretStr | None = Field(
        None, validation_alias="REDIS_URL", description="queues; an embedded Redis in data_dir if unset"
    )
    redis_password: SecretStr | None = Field(
        None, validation_alias="REDIS_PASSWORD", description="of REDIS_URL, where it holds none"
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(9090, ge=1, le=65535, description="port to listen on")
    public_url: str | None = Field(None, description="where Label Studio reaches this backend, if not http://host:port")
    username: str = Field("hemaloop", min_length=1, description="that Label Studio gives for Basic auth")
    password: SecretStr = Field(min_length=8, description="that Label Studio gives for Basic auth")
    webhook_secret: SecretStr = Field(min_length=16, description="that webhooks carry")
    page_https: bool = Field(False, description="people reach the page /ui by https only, so its cookie needs it too")
    max_request_bytes: int = Field(64 * 2**20, ge=2**16, description="largest request")

    data_dir: Path = Field(
        Path(".hemaloop"), description="everything that is kept, models apart where artifacts_url is set"
    )
    artifacts_url: str | None = Field(None, description="fsspec address; data_dir/artifacts if unset")
    device: Literal["cpu", "cuda", "auto"] = Field(
        "auto", description="that models run on; auto takes CUDA where it is"
    )
    inference_processes: int = Field(2, ge=1, le=64, description="processes that predict")
    models_in_memory: int = Field(4, ge=1, description="models that each process keeps loaded, those used last")
    predict_deadline_seconds: float = Field(85.0, gt=0, le=95, description="Label Studio gives up after 100 s")
    predict_open_seconds: float = Field(20.0, gt=0, le=95, description="longest wait of whoever opens a task")

    image_hosts: Names = Field(
        (), description="where images may come from, beside Label Studio: host, host:port, *.domain, address, network"
    )
    image_folders: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="local folders that images may be read from"
    )
    image_max_bytes: int = Field(64 * 2**20, ge=1024, description="largest image file")
    image_max_pixels: int = Field(50_000_000, ge=1, description="largest image")
    image_timeout_seconds: float = Field(20.0, gt=0, description="longest wait for an image")
    image_cache_bytes: int = Field(2 * 2**30, ge=0, description="disk space for fetched images")

    train_min_new_annotations: int = Field(10, ge=1, description="new annotations that make a training")
    train_min_interval_seconds: float = Field(600.0, ge=0, description="least time between two trainings of a project")
    train_debounce_seconds: float = Field(
        30.0, ge=0, description="quiet time after an annotation before a training starts"
    )
    train_max_attempts: int = Field(3, ge=1, le=10, description="attempts of a training that fails")
    train_retry_seconds: float = Field(30.0, ge=0, description="from a failed training to the next attempt")
    train_threads: int = Field(0, ge=0, description="of a training while no annotator waits; 0 for every core")
    train_niceness: int = Field(10, ge=0, le=19, description="of trainings, 19 the most polite")
    train_timeout_seconds: int = Field(24 * 3600, ge=60, description="longest training")
    reconcile_interval_seconds: float = Field(
        300.0, gt=0, description="how often a worker looks in Label Studio for what no event told"
    )
    gate_fraction: float = Field(0.2, gt=0, lt=0.9, description="share of the images on which models are compared")
    tune_fraction: float = Field(
        0.1, gt=0, lt=0.9, description="share of the images on which thresholds and epochs are chosen"
    )
    gate_min_images: int = Field(5, ge=1, description="labelled gate images before a model is compared")
    score_shard_size: int = Field(200, ge=1, description="tasks that one job scores")
    log_format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else JSON")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is logged")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given here, then the environment, then the files that it names, then `.env`."""
        return init_settings, env_settings, SecretFiles(settings_cls), dotenv_settings, file_secret_settings

    @field_validator("image_hosts", "image_folders", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("image_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value:
            # Not at the top: it reads images, and these read settings.
            from hemaloop.images.allow_list import AllowList

            if faults := AllowList.faults(value):
                raise ValueError("; ".join(faults))
        return value

    @field_validator("label_studio_url", "label_studio_public_url", "public_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("expected an address that begins with http:// or https://")
        return value.rstrip("/") if value else value

    @property
    def artifacts(self) -> str:
        """fsspec address of the artifact store."""
        return self.artifacts_url or (self.data_dir.resolve() / "artifacts").as_uri()

    @property
    def page_secrets(self) -> tuple[SecretStr, SecretStr]:
        """What the key of the page's cookie is made of."""
        return self.password, self.webhook_secret

    @property
    def label_studio_page(self) -> str:
        """Where links on the page lead."""
        return self.label_studio_public_url or self.label_studio_url

    @property
    def backend_url(self) -> str:
        """The address at which Label Studio is told to reach this backend."""
        return self.public_url or f"http://{self.host}:{self.port}"


def load_settings(env_file: Path | None = None) -> Settings:
    """Settings of this process. Raises `SettingsError` that lists every fault with the variable's name."""
    try:
        return Settings(_env_file=env_file or ".env")
    except pydantic.ValidationError as error:
        lines = []
        for fault in error.errors():
            name = str(fault["loc"][0])
            variable = name if name.isupper() else f"HEMALOOP_{name.upper()}"
            lines.append(f"  {variable}: {fault['msg']}")
        raise SettingsError(
            "settings, from the environment and .env:\n" + "\n".join(lines) + "\n`hemaloop settings` lists them all"
        ) from None
