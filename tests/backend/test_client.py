"""The client against a server that misbehaves as Label Studio and networks do."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hemaloop.client import LabelStudio, Refused
from hemaloop.errors import LabelStudioError

Reply = tuple[int, Any]
Script = Callable[[str, str, bytes, int], Reply]
"""(method, path, body, how many came before on that path) -> (status, JSON)."""


class Server:
    """An HTTP server that answers as a script says and remembers what it was asked."""

    def __init__(self, script: Script) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                path = self.path.partition("?")[0]
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                before = sum(1 for method, seen, _ in server.asked if (method, seen) == (self.command, path))
                server.asked.append((self.command, path, self.headers.get("Authorization")))
                status, reply = script(self.command, path, body, before)
                content = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - the names that http.server looks for

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                del format, args

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        """End it."""
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[LabelStudio, Server]]]:
    """A client and the server that it talks to."""
    made: list[tuple[LabelStudio, Server]] = []

    def start(script: Script, key: str = "0" * 40) -> tuple[LabelStudio, Server]:
        server = Server(script)
        made.append((LabelStudio(server.url, key), server))
        return made[-1]

    yield start
    for studio, server in made:
        studio.close()
        server.close()


def _token(kind: str, seconds: float) -> str:
    def part(content: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    claims = {"token_type": kind, "exp": int(time.time() + seconds), "jti": f"{time.time()}"}
    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}.c2ln"


PROJECT = {"id": 3, "created_at": "2026-11-20T20:28:51.053083Z", "title": "blood", "label_config": "<View/>"}


def test_a_project_key_is_its_id_and_the_second_of_its_creation(serve: Callable[..., Any]) -> None:
    studio, _ = serve(lambda *_: (200, PROJECT))
    assert studio.project(3).key == "3.1795206531"


def test_what_may_pass_is_asked_again(serve: Callable[..., Any]) -> None:
    studio, server = serve(lambda method, path, body, before: (503, {}) if before < 2 else (200, PROJECT))
    assert studio.project(3).title == "blood"
    assert len(server.asked) == 3


def test_a_locked_database_is_asked_again(serve: Callable[..., Any]) -> None:
    studio, _ = serve(
        lambda method, path, body, before: (500, {"detail": "database is locked"}) if not before else (200, PROJECT)
    )
    assert studio.update_project(3, sampling="Uncertainty sampling").id == 3


def test_a_submit_is_never_sent_twice(serve: Callable[..., Any]) -> None:
    studio, server = serve(lambda *_: (503, {"detail": "busy"}))
    with pytest.raises(Refused, match="503"):
        studio.submit_annotation(1, [])
    assert len(server.asked) == 1


def test_a_refusal_names_the_request_and_the_reason(serve: Callable[..., Any]) -> None:
    studio, server = serve(lambda *_: (404, {"detail": "No Project matches the given query."}))
    with pytest.raises(Refused, match="No Project matches") as refused:
        studio.project(3)
    assert refused.value.status == 404
    assert len(server.asked) == 1


def test_nobody_there_is_told_with_the_setting_to_look_at() -> None:
    with pytest.raises(LabelStudioError, match="LABEL_STUDIO_URL"):
        LabelStudio("http://127.0.0.1:9", "0" * 40).project(1)


def test_no_key_is_told_at_once() -> None:
    with pytest.raises(LabelStudioError, match="LABEL_STUDIO_API_KEY: found nothing"):
        LabelStudio("http://127.0.0.1:9", "")


def test_an_expired_personal_token_is_told_at_once() -> None:
    with pytest.raises(LabelStudioError, match="expired"):
        LabelStudio("http://127.0.0.1:9", _token("refresh", -5))


def test_a_legacy_token_is_sent_as_it_is(serve: Callable[..., Any]) -> None:
    studio, server = serve(lambda *_: (200, PROJECT))
    studio.project(3)
    assert server.asked[0][2] == "Token " + "0" * 40
    assert studio.auth_headers() == {"Authorization": "Token " + "0" * 40}


def test_a_personal_token_is_exchanged_once_and_again_after_its_end(serve: Callable[..., Any]) -> None:
    access = [_token("access", 1.5), _token("access", 300)]

    def script(method: str, path: str, body: bytes, before: int) -> Reply:
        return (200, {"access": access[before]}) if path == "/api/token/refresh/" else (200, PROJECT)

    studio, server = serve(script, key=_token("refresh", 3600))
    studio.project(3)
    studio.project(3)
    assert [path for _, path, _ in server.asked].count("/api/token/refresh/") == 1
    time.sleep(2.6)
    assert studio.auth_headers() == {"Authorization": f"Bearer {access[1]}"}


def test_a_personal_token_that_is_refused_is_told(serve: Callable[..., Any]) -> None:
    studio, _ = serve(lambda *_: (401, {"detail": "Token is blacklisted"}), key=_token("refresh", 3600))
    with pytest.raises(LabelStudioError, match="blacklisted"):
        studio.auth_headers()


def test_predictions_that_label_studio_drops_are_an_error(serve: Callable[..., Any]) -> None:
    studio, _ = serve(lambda method, path, body, before: (201, {"created": len(json.loads(body)) - 1}))
    with pytest.raises(LabelStudioError, match="sent 2 predictions, Label Studio stored 1"):
        studio.import_predictions(3, [{"task": 1, "result": []}, {"task": 2, "result": []}])


def test_predictions_of_tasks_that_are_gone_are_left_out(serve: Callable[..., Any]) -> None:
    def script(method: str, path: str, body: bytes, before: int) -> Reply:
        if method == "GET":
            return 200, {"tasks": [{"id": 1}]}
        sent = json.loads(body)
        return (400, {"detail": "task 2"}) if len(sent) == 2 else (201, {"created": len(sent)})

    studio, _ = serve(script)
    assert studio.import_predictions(3, [{"task": 1, "result": []}, {"task": 2, "result": []}]) == 1


def test_tasks_are_read_to_the_end_though_others_are_annotated_meanwhile(serve: Callable[..., Any]) -> None:
    """Between two pages the first tasks leave the selection; numbered pages would skip as many."""
    left = list(range(1, 451))

    def script(method: str, path: str, body: bytes, before: int) -> Reply:
        del left[: 50 * bool(before)]
        chosen = [number for number in left if number > after[before]]
        after.append((chosen[:200] or [0])[-1])
        return 200, {"tasks": [{"id": number} for number in chosen[:200]]}

    after = [0]
    studio, _ = serve(script)
    assert [task["id"] for task in studio.tasks(3, only="unannotated")] == list(range(1, 451))


def test_the_first_backend_is_the_one_that_counts(serve: Callable[..., Any]) -> None:
    studio, _ = serve(lambda *_: (200, [{"id": 9}, {"id": 4}]))
    assert studio.backend(3) == {"id": 4}
    studio, _ = serve(lambda *_: (200, []))
    with pytest.raises(LabelStudioError, match="has no backend"):
        studio.retitle_backend(3, "v")


def changing(undone: int) -> Script:
    """A backend whose first changes are undone by somebody who had read it before them."""
    row = {"id": 4, "project": 3, "url": "http://b", "title": "old", "auth_method": "BASIC_AUTH", "basic_auth_user": ""}
    changes: list[Any] = []

    def script(method: str, path: str, body: bytes, before: int) -> Reply:
        if method == "GET":
            shown = dict(row)
            if len(changes) <= undone:  # seen once, then undone
                row["title"] = "old"
            return 200, [shown]
        changes.append(json.loads(body))
        row["title"] = changes[-1]["title"]
        return 200, row

    return script


def test_a_change_of_the_backend_that_somebody_undoes_is_made_again(serve: Callable[..., Any]) -> None:
    studio, server = serve(changing(undone=2))
    studio.retitle_backend(3, "new")
    assert [one["title"] for one in (studio.backend(3), studio.backend(3))] == ["new", "new"]
    assert [method for method, *_ in server.asked].count("PATCH") == 3


def test_a_change_of_the_backend_that_never_stays_is_told(serve: Callable[..., Any]) -> None:
    studio, _ = serve(changing(undone=99))
    with pytest.raises(LabelStudioError, match=r"changed 5 times \(title\).*try again"):
        studio.retitle_backend(3, "new")


def test_an_answer_that_is_no_json_is_told_briefly(serve: Callable[..., Any]) -> None:
    studio, _ = serve(lambda *_: (500, "<html>" + "x" * 5000))
    with pytest.raises(LabelStudioError) as error:
        studio.project(3)
    assert len(str(error.value)) < 500
