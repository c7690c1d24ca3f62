"""Requests that nobody in their right mind sends, drawn by chance: the same seed gives the same ones."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import stub_plugin
from web_stage import PASSWORD, PROJECT, SECRET

DECLARED = frozenset({200, 201, 400, 401, 404, 405, 410, 413, 503})
"""Statuses that an endpoint may answer with; 503 says that Redis or the store is gone for now."""
BOMB = (
    '<!DOCTYPE v [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><View>&i;</View>"
)
OUTSIDE = '<!DOCTYPE v [<!ENTITY a SYSTEM "file:///etc/passwd">]><View>&a;</View>'
TRAVERSALS = (
    "../../etc/passwd",
    "7.1/../../x",
    "%2e%2e%2f",
    "..\\..\\x",
    "7.1790000000\n",
    "~root",
    "7.1;DROP",
    "\x00",
)
ADDRESSES = (
    *("file:///etc/passwd", "/etc/passwd", "/data/local-files/?d=../../etc/passwd", "http://169.254.169.254/latest"),
    *("http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://[::1]/x.png"),
    *("http://[::ffff:169.254.169.254]/", "http://localhost:6379/", "gopher://127.0.0.1:6379/_INFO", "s3://x/../y"),
    *("http://user:pw@host/x", "http://a\r\nHost: b/", "data:image/png;base64,AAAA", "\\\\host\\share", "ftp://x/y"),
)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, 2**200, -(2**64), 1e308, 0.1, "", " ", "7", "7.1790000000", [], {}, [None]),
    *({"$ne": 1}, [[[[]]]], "\ud800", "a" * 20_000, "Ω≈ç√∫", "\r\nSet-Cookie: x=y", "\x1b[31mred", "%s%n{0}${jndi:x}"),
    *("<script>alert(1)</script>", BOMB, OUTSIDE, pickle.dumps(print).decode("latin-1"), *TRAVERSALS, *ADDRESSES),
)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
GET_PATHS = ("/", "/health", "/versions")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def good_bodies() -> dict[str, dict[str, Any]]:
    """What each endpoint expects."""
    config = stub_plugin.config()
    return {
        "/setup": {
            "project": PROJECT,
            "schema": config,
            "hostname": "http://x",
            "access_token": "t",
            "extra_params": "",
        },
        "/predict": {
            "tasks": [{"id": 1, "data": {"image": "/nowhere/1.png"}}],
            "project": PROJECT,
            "label_config": config,
            "params": {"login": None, "password": None, "context": None},
        },
        "/webhook": {
            "action": "ANNOTATION_CREATED",
            "project": {"id": 7, "created_at": "2026-09-21T14:13:20Z", "label_config": config},
            "tasks": [{"id": 1}],
        },
        "/validate": {"config": config},
        "/job_status": {"job": "job-1"},
        "/delete": {"project": PROJECT},
        "/train": {"project": PROJECT},
        "/duplicate_model": {"project_src": PROJECT, "project_dst": PROJECT},
    }


def requests(count: int, seed: int) -> Iterator[Asked]:
    """`count` requests; most know the password, because who does not sees nothing but 401."""
    rng = random.Random(seed)
    bodies = good_bodies()
    for _ in range(count):
        path = rng.choice([*bodies, *bodies, *GET_PATHS])
        body = _body(rng, bodies.get(path))
        method = rng.choice(METHODS) if rng.random() < 0.05 else "GET" if path in GET_PATHS else "POST"
        if rng.random() < 0.05:
            odd = (f"{path}/..%2f", f"{path}/../predict", f"/{'x' * 3000}", "/%00", f"{path}?{'a=b&' * 99}")
            path = "/" + rng.choice(odd).lstrip("/")  # two slashes would name a host
        yield Asked(method, path, _headers(rng), body)


def _headers(rng: random.Random) -> dict[str, str]:
    right = base64.b64encode(f"hemaloop:{PASSWORD}".encode()).decode()
    # Few different wrong ones: many would be slowed down, and nothing but that be seen.
    authorisation = rng.choice([f"Basic {right}"] * 20 + ["Basic !!", "Bearer x", "Basic " + "A" * 5000, ""])
    headers = {"Authorization": authorisation, "Content-Type": rng.choice(["application/json"] * 9 + ["text/xml"])}
    if rng.random() < 0.1 and authorisation.endswith(right):
        headers["X-Hemaloop-Secret"] = rng.choice((SECRET, "x" * 9000, "é"))
    if rng.random() < 0.1:
        headers[rng.choice(("X-Forwarded-For", "Transfer-Encoding-X", "Cookie", "Range", "If-Match"))] = "a" * 500
    return {name: value for name, value in headers.items() if value}


def _body(rng: random.Random, good: dict[str, Any] | None) -> bytes:
    kind = rng.random()
    if good is None or kind < 0.05:
        return rng.choice((b"", b"null", rng.randbytes(rng.randint(0, 300)), b"[" * 5000, b'{"a":' * 2000, b"\xff\xfe"))
    changed = json.loads(json.dumps(good))
    for _ in range(rng.randint(1, 3)):
        _change(rng, changed)
    raw = json.dumps(changed).encode("utf-8", "surrogatepass")
    if kind < 0.15:
        raw = raw[: rng.randint(0, len(raw))]
    elif kind < 0.2:
        place = rng.randint(0, len(raw))
        raw = raw[:place] + rng.randbytes(3) + raw[place:]
    return raw


def _change(rng: random.Random, value: Any) -> None:
    """Replace, drop or add something, somewhere in it."""
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        inner = value[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.6:
            value = inner
            continue
        if isinstance(value, dict) and rng.random() < 0.15:
            del value[key]
        elif isinstance(value, dict) and rng.random() < 0.1:
            value[rng.choice(("__class__", "$undefined$", "", "x" * 500))] = copy.deepcopy(rng.choice(ODD))
        else:
            value[key] = copy.deepcopy(rng.choice(ODD))
        return


def fault_of(status: int, text: str) -> str | None:
    """What is wrong with an answer, None where nothing is."""
    if status not in DECLARED:
        return f"status {status}"
    for word in ("Traceback", 'File "/', PASSWORD, SECRET, "root:x:0:0"):
        if word in text:
            return f"holds {word!r}"
    return None
