"""What owner and child say to each other, in frames over a socket pair: JSON, and predictions as ready-made bytes.

A prediction is written once, in the child, and travels as it will leave for Label Studio: the web process neither
builds nor reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from hemaloop.config import Settings
from hemaloop.projects import LiveModel, Part

Wire = Connection


@dataclass(frozen=True, slots=True)
class Question:
    """Predict these tasks with this model; only load it where there are no tasks. tasks: (number or None, data).

    drawn: regions that an annotator drew, to be answered in place of a prediction; None where nobody drew.
    """

    project: str
    label_config: str
    live: LiveModel
    tasks: Sequence[tuple[int | None, Mapping[str, Any]]] = ()
    drawn: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """body: JSON of the prediction, or None where `error` says why there is none. seconds: by stage.

    of_model: the error is the model's, such as one that cannot be loaded, and not this task's.
    """

    body: bytes | None
    error: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    of_model: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer a task, or a `fault` that concerns them all, such as a model that cannot be loaded.

    cache: how often the cache of images was asked, by result ("hit", "miss").
    """

    answers: tuple[TaskAnswer, ...] = ()
    fault: str | None = None
    cache: Mapping[str, int] = field(default_factory=dict)


def send_settings(wire: Wire, settings: Settings) -> None:
    """Settings go through the pipe: secrets on a command line or in an environment are seen by others."""
    values = {}
    for name, info in Settings.model_fields.items():
        value = getattr(settings, name)
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value
        values[str(info.validation_alias or name)] = plain
    wire.send_bytes(json.dumps(values, default=_plain).encode())


def receive_settings(wire: Wire) -> Settings:
    """What `send_settings` sent; the environment and `.env` are not looked at."""
    return Settings(_env_file=None, **json.loads(wire.recv_bytes()))


def send_question(wire: Wire, question: Question) -> None:
    """Raises `OSError` where the child is gone."""
    wire.send_bytes(json.dumps(asdict(question), default=_plain).encode())


def receive_question(wire: Wire) -> Question:
    """Raises `EOFError` where the owner is gone."""
    found = json.loads(wire.recv_bytes())
    live = LiveModel(found["live"]["version"], {name: _part(part) for name, part in found["live"]["parts"].items()})
    tasks = [(number, data) for number, data in found["tasks"]]
    return Question(found["project"], found["label_config"], live, tasks, found["drawn"])


def send_reply(wire: Wire, reply: Reply) -> None:
    """A frame that says how many predictions follow, and each of them as a frame."""
    head = [(one.body is not None, one.error, dict(one.seconds)) for one in reply.answers]
    wire.send_bytes(json.dumps({"answers": head, "fault": reply.fault, "cache": dict(reply.cache)}).encode())
    for one in reply.answers:
        if one.body is not None:
            wire.send_bytes(one.body)


def receive_reply(wire: Wire) -> Reply:
    """Raises `EOFError` where the child ended."""
    found = json.loads(wire.recv_bytes())
    answers = tuple(
        TaskAnswer(wire.recv_bytes() if has_body else None, error, seconds)
        for has_body, error, seconds in found["answers"]
    )
    return Reply(answers, found["fault"], found["cache"])


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"found {type(value).__name__}, expected something JSON has")


def _part(found: Mapping[str, Any]) -> Part:
    directory = found["directory"]
    return Part(
        control=found["control"],
        version=found["version"],
        directory=None if directory is None else Path(directory),
        labels=tuple(found["labels"]),
        options=found["options"],
        files=found["files"],
    )
