"""What Label Studio 1.23.2 sends, as frozen dataclasses; anything else is a `RequestError` that names the field.

Secrets that Label Studio sends along (an access token, a login) are checked for their type and thrown away here.
Fields that nobody needs are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, TypeVar, cast

import pydantic
from pydantic import AfterValidator, AwareDatetime, Field
from pydantic.dataclasses import dataclass

from hemaloop.errors import RequestError

_STRICT = pydantic.ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

T = TypeVar("T")


def _forget(value: str | None) -> None:
    del value


ProjectKey = Annotated[str, Field(pattern=r"^[0-9]{1,19}\.[0-9]{1,12}$")]
"""`<id>.<time of creation>`: an id alone would be reused after a project was deleted and the database rebuilt."""
Discarded = Annotated[str | None, AfterValidator(_forget)]
"""A secret: its type is checked, its value is gone."""
Identity = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True, config=_STRICT)
class SetupRequest:
    """`POST /setup`: a project says hello, several times a minute."""

    project: ProjectKey
    label_config: str = Field(validation_alias="schema")
    hostname: str | None = None
    access_token: Discarded = None


@dataclass(frozen=True, config=_STRICT)
class TaskRequest:
    """One task of `POST /predict`: `data` holds the address of its image under the name that the config says."""

    data: dict[str, Any]
    id: Identity | None = None


@dataclass(frozen=True, config=_STRICT)
class Context:
    """An interactive call: the regions that the annotator just drew; none when it comes with a submit."""

    result: list[dict[str, Any]] = Field(default_factory=list)


@dataclass(frozen=True, config=_STRICT)
class Params:
    """`params` of `POST /predict`."""

    login: Discarded = None
    password: Discarded = None
    context: Context | None = None


@dataclass(frozen=True, config=_STRICT)
class PredictRequest:
    """`POST /predict`: one task that was opened, or hundreds that were selected."""

    tasks: list[TaskRequest]
    project: ProjectKey
    label_config: str
    params: Params = Field(default_factory=Params)


@dataclass(frozen=True, config=_STRICT)
class WebhookProject:
    """`project` of a webhook. Its other fields hold secrets and are not kept."""

    id: Identity
    created_at: AwareDatetime
    label_config: str = ""

    @property
    def key(self) -> str:
        """The project as `/setup` and `/predict` call it."""
        return f"{self.id}.{int(self.created_at.timestamp())}"


@dataclass(frozen=True, config=_STRICT)
class Numbered:
    """Anything of which only the number matters here."""

    id: Identity


@dataclass(frozen=True, config=_STRICT)
class WebhookRequest:
    """`POST /webhook`: something happened in a project; a hint and never the truth."""

    action: Annotated[str, Field(pattern=r"^[A-Z_]{1,64}$")]
    project: WebhookProject
    tasks: list[Numbered] = Field(default_factory=list)


@dataclass(frozen=True, config=_STRICT)
class ProjectRequest:
    """`POST /train` and `/delete`: only the project matters."""

    project: ProjectKey


@dataclass(frozen=True, config=_STRICT)
class DuplicateRequest:
    """`POST /duplicate_model`: the second project gets the model of the first."""

    project_src: ProjectKey
    project_dst: ProjectKey


@dataclass(frozen=True, config=_STRICT)
class ValidateRequest:
    """`POST /validate`: can this labelling config be bound?"""

    config: str


@dataclass(frozen=True, config=_STRICT)
class JobRequest:
    """`POST /job_status`: how far is a training?"""

    job: Annotated[str, Field(pattern=r"^[A-Za-z0-9_:.-]{1,200}$")]


def read(kind: type[T], body: bytes) -> T:
    """`body` as a `kind` of this module. Raises `RequestError` that lists every field that is wrong."""
    try:
        return cast(T, _reader(kind).validate_json(body))  # type: ignore[arg-type]  # a class is hashable
    except pydantic.ValidationError as error:
        faults = [_describe(fault) for fault in error.errors(include_url=False, include_context=False)]
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise RequestError(shown) from None


@cache
def _reader(kind: type[Any]) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)


def _describe(fault: Mapping[str, Any]) -> str:
    """Where, what was found and what was expected, without the value: it may be a secret."""
    place = _place(fault["loc"])
    if fault["type"] == "missing":
        return f"{place}: missing"
    if fault["type"] == "json_invalid":
        return f"request body: not JSON ({fault['msg'].removeprefix('Invalid JSON: ')}), expected an object"
    wanted = fault["msg"].removeprefix("Input should be ")
    return f"{place}: found {_kind(fault['input'])}, expected {_EXPECTED.get(fault['type'], wanted)}"


def _place(steps: tuple[int | str, ...]) -> str:
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return place.lstrip(".") or "request body"


_EXPECTED = {
    "dataclass_type": "an object",
    "dict_type": "an object",
    "list_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "string_pattern_mismatch": "its usual form, such as '12.1700000000' for a project",
}


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    kinds = ((str, "text"), (int, "a whole number"), (float, "a number"), (dict, "an object"), (list, "a list"))
    return next(name for kind, name in kinds if isinstance(value, kind))
