"""Requests are read as what they are, or refused with the field's name; nothing else can happen."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemaloop import protocol
from hemaloop.errors import RequestError

CONFIG = "<View/>"
WHOLE: dict[type, dict[str, Any]] = {
    protocol.SetupRequest: {
        "project": "1.1795206531",
        "schema": CONFIG,
        "hostname": "http://localhost:8080",
        "access_token": "a-very-secret-token",
        "extra_params": {"plugin": "rbc"},
    },
    protocol.PredictRequest: {
        "tasks": [{"id": 4, "data": {"image": "/data/upload/1/a.png"}, "annotations": [], "meta": {}}],
        "project": "1.1795206531",
        "label_config": CONFIG,
        "params": {
            "login": "annotator",
            "password": "a-very-secret-password",
            "context": {"result": [{"value": {"x": 1.0}}]},
        },
    },
    protocol.WebhookRequest: {
        "action": "TASKS_CREATED",
        "tasks": [{"id": 4}],
        "project": {
            "id": 16,
            "created_at": "2026-11-20T20:42:35.422860Z",
            "label_config": CONFIG,
            "token": "a-very-secret-token",
        },
    },
    protocol.ProjectRequest: {"project": "1.1795206531"},
    protocol.DuplicateRequest: {"project_src": "1.1795206531", "project_dst": "2.1795206531"},
    protocol.ValidateRequest: {"config": CONFIG},
    protocol.JobRequest: {"job": "6f9c"},
}
NEVER_READ = {"extra_params", "annotations", "meta", "token"}
MAY_BE_NULL = {"hostname", "access_token", "login", "password", "context", "tasks[0].id"}
WRONG: list[Any] = [None, True, 3, 2.5, "", "text", [], ["x"], {}, {"x": 1}, -1, 10**30]


def fields(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a body."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path else []
    for step, content in inner:
        if step not in NEVER_READ and path[-1:] not in (("data",), ("value",)) and step != "value":
            found += fields(content, (*path, step))
    return found


def kind(value: Any) -> type:
    return type(value)


PLACES = [(request, path) for request, body in WHOLE.items() for path in fields(body)]


@pytest.mark.parametrize("request_type", WHOLE, ids=lambda kind: kind.__name__)
def test_a_whole_request_is_read(request_type: type) -> None:
    assert isinstance(protocol.read(request_type, json.dumps(WHOLE[request_type]).encode()), request_type)


@pytest.mark.parametrize(("request_type", "path"), PLACES, ids=str)
def test_a_field_of_another_type_is_refused_by_its_name(request_type: type, path: tuple[Any, ...]) -> None:
    right = WHOLE[request_type]
    for step in path:
        right = right[step]
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
    for wrong in WRONG:
        if kind(wrong) is kind(right) or (wrong is None and (path[-1] in MAY_BE_NULL or name in MAY_BE_NULL)):
            continue
        body = copy.deepcopy(WHOLE[request_type])
        place: Any = body
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = wrong
        with pytest.raises(RequestError) as caught:
            protocol.read(request_type, json.dumps(body).encode())
        assert name in str(caught.value), f"{wrong!r}: {caught.value}"
        assert "expected" in str(caught.value)
        assert "found" in str(caught.value)


@pytest.mark.parametrize("request_type", WHOLE, ids=lambda kind: kind.__name__)
def test_a_missing_field_is_refused_by_its_name_or_has_a_default(request_type: type) -> None:
    for name in WHOLE[request_type]:
        body = {key: value for key, value in WHOLE[request_type].items() if key != name}
        try:
            protocol.read(request_type, json.dumps(body).encode())
        except RequestError as error:
            assert f"{name}: missing" in str(error)  # noqa: PT017 - both outcomes are right


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"3",
        b"NaN",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 10_000,
        b'{"project": "\\ud800"}',
        b'{"project": "1.2", "project": }',
        b"\x00",
    ],
    ids=lambda body: repr(body[:12]),
)
@pytest.mark.parametrize("request_type", WHOLE, ids=lambda kind: kind.__name__)
def test_what_is_no_json_object_is_refused_in_a_short_message(request_type: type, body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        protocol.read(request_type, body)
    assert len(str(caught.value)) < 500


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(list(WHOLE)), st.data())
def test_whatever_a_field_holds_the_request_is_read_or_refused(request_type: type, data: st.DataObject) -> None:
    body = copy.deepcopy(WHOLE[request_type])
    _, path = data.draw(st.sampled_from([place for place in PLACES if place[0] is request_type]))
    place: Any = body
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = data.draw(json_values)
    try:
        protocol.read(request_type, json.dumps(body).encode("utf-8", "surrogatepass"))
    except RequestError as error:
        assert len(str(error)) < 2000  # noqa: PT017 - both outcomes are right


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for request_type in WHOLE:
        with pytest.raises(RequestError):
            protocol.read(request_type, body)


def test_a_secret_is_neither_kept_nor_repeated() -> None:
    setup = protocol.read(protocol.SetupRequest, json.dumps(WHOLE[protocol.SetupRequest]).encode())
    predict = protocol.read(protocol.PredictRequest, json.dumps(WHOLE[protocol.PredictRequest]).encode())
    webhook = protocol.read(protocol.WebhookRequest, json.dumps(WHOLE[protocol.WebhookRequest]).encode())
    assert "very-secret" not in repr((setup, predict, webhook))
    body = WHOLE[protocol.SetupRequest] | {"project": "a-very-secret-project", "access_token": ["a-very-secret-token"]}
    with pytest.raises(RequestError) as caught:
        protocol.read(protocol.SetupRequest, json.dumps(body).encode())
    assert "very-secret" not in str(caught.value)


def test_a_webhook_names_the_project_as_setup_and_predict_do() -> None:
    webhook = protocol.read(protocol.WebhookRequest, json.dumps(WHOLE[protocol.WebhookRequest]).encode())
    assert webhook.project.key == "16.1795207355"
