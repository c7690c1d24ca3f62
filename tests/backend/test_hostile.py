"""What hostile input may not do: end in a server error, reach inside, run anything, fill memory, guess the password."""

from __future__ import annotations

import json
import logging
import pickle
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
import redis

import fuzzing
import stub_plugin
from hemaloop.errors import ImageError, LabelConfigError, QueueError
from hemaloop.images import Limits, decode_image
from hemaloop.images.address import locate, parse_url
from hemaloop.images.allow_list import AllowList, Origin
from hemaloop.labelconfig import parse_label_config
from hemaloop.ledger import Ledger
from hemaloop.store import ArtifactStore
from hemaloop.web import guesses, services
from hemaloop.web.guesses import FREE, Guesses
from loop_stage import wait_until
from web_stage import PASSWORD, PROJECT, SECRET, RecordingQueues, ask, backend


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[flask.Flask, RecordingQueues]]:
    """A running application with the stub family."""
    with pytest.MonkeyPatch.context() as patch:
        stub_plugin.install(patch)
        with backend(tmp_path_factory.mktemp("hostile")) as made:
            yield made
    stub_plugin.forget()


@pytest.fixture
def app(stage: tuple[flask.Flask, RecordingQueues]) -> flask.Flask:
    services.of(stage[0]).guesses._senders.clear()
    return stage[0]


@pytest.mark.parametrize("seed", range(3))
def test_no_request_ends_in_an_error_that_is_not_declared(
    app: flask.Flask, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    caplog.set_level(logging.DEBUG)
    client = app.test_client()
    for asked in fuzzing.requests(400, seed):
        reply = client.open(asked.path, method=asked.method, headers=asked.headers, data=asked.body)
        fault = fuzzing.fault_of(reply.status_code, reply.text + str(reply.headers))
        assert fault is None, (fault, asked, reply.text)
    told = [record.getMessage() for record in caplog.records]
    assert not [line for line in told if "unexpected" in line or "Traceback" in line]
    assert not [line for line in told if "\n" in line or "\r" in line or "\x1b" in line], "a log line of one's own"


@pytest.mark.parametrize("xml", [fuzzing.BOMB, fuzzing.OUTSIDE])
def test_an_xml_bomb_is_refused_before_it_goes_off(app: flask.Flask, xml: str) -> None:
    began = time.perf_counter()
    with pytest.raises(LabelConfigError, match="document type or entity"):
        parse_label_config(xml)
    reply = ask(app, "POST", "/validate", {"config": xml})
    assert reply.status_code == 400
    assert time.perf_counter() - began < 1.0


def png_of(width: int, height: int) -> bytes:
    """A PNG of that size, all black, in few bytes: each row is one byte of filter and zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_by_its_header_alone() -> None:
    import tracemalloc

    bomb = png_of(30_000, 3_000)
    assert len(bomb) < 200_000
    tracemalloc.start()
    with pytest.raises(ImageError, match="pixels"):
        decode_image(bomb, Limits(max_pixels=50_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000, "nothing of the picture was made"


INSIDE = [
    *("http://2130706433/", "http://017700000001/", "http://0x7f000001/", "http://127.1/", "http://0/"),
    *("http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[64:ff9b::7f00:1]/"),
    *(
        "http://[2002:7f00:1::]/",
        "http://169.254.169.254/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
        "http://10.1.1.1/",
    ),
]


@pytest.mark.parametrize("url", INSIDE)
def test_no_spelling_of_an_address_inside_is_let_through(url: str) -> None:
    allowed = AllowList(("images.example.org",), Origin("http", "studio.example.org", 80))
    assert not allowed.allows(parse_url(url).origin)


@pytest.mark.parametrize("name", ["2130706433", "0x7f000001", "127.1", "017700000001"])
def test_a_number_that_the_resolver_reads_as_an_address_is_checked_as_one(name: str) -> None:
    """Even where somebody allowed every name, it is the address behind it that decides."""
    import ipaddress
    import socket

    allowed = AllowList((name,), Origin("http", "studio.example.org", 80))
    origin = parse_url(f"http://{name}/").origin
    found = {info[4][0] for info in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)}
    assert found == {"127.0.0.1"}
    assert not any(allowed.allows_address(ipaddress.ip_address(one), origin) for one in found)


@pytest.mark.parametrize("uri", fuzzing.ADDRESSES)
def test_no_address_of_an_image_reaches_outside(uri: str, tmp_path: Path) -> None:
    """An image of the kind is refused, or asked of Label Studio's own file paths, which keep it inside."""
    from hemaloop.images import ImageLoader
    from web_stage import settings

    images = ImageLoader(settings(tmp_path, image_timeout_seconds=2.0), lambda: {"Authorization": "Token secret"})
    with pytest.raises(ImageError) as caught:
        images.load(uri, 1, project=PROJECT)
    assert "root:" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["/data/local-files/../../api/users", "/tasks/../api/token", "/data/upload/%2e%2e/%2e%2e/api"]
)
def test_our_key_never_goes_to_a_path_that_climbs(uri: str) -> None:
    from hemaloop.images.address import Url, is_label_studio

    found = locate(uri, 1, "http://studio.example.org")
    assert isinstance(found, Url)
    assert not is_label_studio(found, "http://studio.example.org")


@pytest.mark.parametrize("name", [*fuzzing.TRAVERSALS, "", ".", "..", "/etc", "a/b", "manifest.json", "_scratch"])
def test_no_name_leads_out_of_the_store_or_into_another_project(name: str, tmp_path: Path) -> None:
    store = ArtifactStore((tmp_path / "artifacts").as_uri())
    store.put_scratch(name or "x", "kept", b"mine")
    store.put_scratch("7.1", name or "x", b"theirs")
    assert store.get_scratch(name or "x", "kept") == b"mine"
    inside = (tmp_path / "artifacts").resolve()
    assert all(path.resolve().is_relative_to(inside) for path in tmp_path.rglob("*") if path != inside)
    assert [path.name for path in tmp_path.iterdir()] == ["artifacts"]


@pytest.mark.parametrize("project", ["../../x", "7.1790000000/../8", "7.1790000000\n", "7", "٧.1", "7.1790000000.1"])
@pytest.mark.parametrize("path", ["/train", "/delete", "/setup", "/predict"])
def test_a_project_that_is_no_key_is_refused_everywhere(app: flask.Flask, path: str, project: str) -> None:
    body = {**fuzzing.good_bodies()[path], "project": project}
    assert ask(app, "POST", path, body).status_code == 400


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_in_redis_is_never_loaded(redis_url: str, tmp_path: Path) -> None:
    connection = redis.Redis.from_url(redis_url)
    ledger, data = Ledger(connection), pickle.dumps(Bomb(tmp_path / "went-off"))
    connection.set(f"hemaloop:plan:{PROJECT}", data)
    connection.set(f"hemaloop:aside:{PROJECT}:cells", data)
    connection.hset(f"hemaloop:outcome:{PROJECT}", "training", data)
    connection.sadd("hemaloop:projects", data)
    assert ledger.projects() != []
    reads = (
        lambda: ledger.plan(PROJECT),
        lambda: ledger.aside(PROJECT, "cells", "x"),
        lambda: ledger.outcomes(PROJECT),
    )
    for read in reads:
        with pytest.raises(QueueError, match="not JSON"):
            read()
    assert not (tmp_path / "went-off").exists()
    connection.close()


def test_a_header_cannot_be_split(app: flask.Flask) -> None:
    body = {"config": '<View><RectangleLabels name="a\r\nSet-Cookie: x=y" toName="b" model_family="stub"/></View>'}
    reply = ask(app, "POST", "/validate", body)
    assert reply.status_code == 400
    assert "\n" not in reply.status
    assert "\r" not in reply.status
    assert "Set-Cookie" not in reply.headers


def test_passwords_that_are_guessed_have_to_wait_and_the_right_one_too(app: flask.Flask) -> None:
    for number in range(FREE + 1):
        assert ask(app, "GET", "/versions", auth=("hemaloop", f"guess {number}")).status_code == 401
    slowed = ask(app, "GET", "/versions")
    assert slowed.status_code == 429, "a guess that is right is told from no other"
    assert int(slowed.headers["Retry-After"]) >= 1
    assert ask(app, "GET", "/health", auth=None).status_code == 200
    event = fuzzing.good_bodies()["/webhook"]
    heard = app.test_client().post("/webhook", json=event, headers={"X-Hemaloop-Secret": SECRET})
    assert heard.status_code == 200, "an event with the right secret is never held up"
    wait_until(lambda: ask(app, "GET", "/versions").status_code == 200, "the end of the wait", 30)


def test_secrets_of_the_webhook_are_no_easier_to_guess(app: flask.Flask) -> None:
    event = fuzzing.good_bodies()["/webhook"]
    statuses = [
        app.test_client().post("/webhook", json=event, headers={"X-Hemaloop-Secret": f"guess {number}"}).status_code
        for number in range(FREE + 3)
    ]
    assert statuses == [401] * (FREE + 1) + [429] * 2


def test_a_label_studio_with_the_password_of_last_year_is_not_shut_out(app: flask.Flask) -> None:
    for _ in range(5 * FREE):
        assert ask(app, "GET", "/versions", auth=("hemaloop", "of last year")).status_code == 401
    assert ask(app, "GET", "/versions").status_code == 200


def test_who_goes_on_guessing_waits_longer_and_a_flood_of_addresses_costs_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(guesses.time, "monotonic", lambda: now)
    kept = Guesses()
    waits = []
    for number in range(40):
        kept.wrong("attacker", str(number))
        waits.append(kept.wait("attacker"))
        now += waits[-1]
    assert waits[:FREE] == [0.0] * FREE
    assert waits[FREE : FREE + 4] == [2.0, 4.0, 8.0, 16.0]
    assert waits[-1] == guesses.LONGEST_SECONDS
    assert kept.wait("somebody else") == 0.0
    now += guesses.FORGET_SECONDS + 1
    kept.wrong("attacker", "once more")
    assert kept.wait("attacker") == 0.0
    for number in range(guesses._ADDRESSES + 50):
        kept.wrong(f"address {number}", "x")
    assert len(kept._senders) == guesses._ADDRESSES
    assert PASSWORD not in json.dumps([list(map(str, sender.known)) for sender in list(kept._senders.values())[:5]])
