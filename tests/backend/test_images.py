"""Laws of getting images: every kind of address, only from where it is allowed, within its limits, each fault named."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from hemaloop.config import Settings
from hemaloop.errors import ImageError, SettingsError
from hemaloop.images import ImageLoader, decode_image, download
from hemaloop.images.address import locate, parse_url, shown
from hemaloop.images.allow_list import AllowList, Origin, is_public, parse_address
from hemaloop.images.cache import DiskCache
from image_server import Server, picture, serving

PICTURE = picture()
AUTH = {"Authorization": "Bearer secret-token"}


@pytest.fixture
def label_studio() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    with serving() as server:
        yield server


def settings_for(folder: Path, label_studio_url: str, **more: Any) -> Settings:
    """Settings with generous time for a busy machine."""
    fixed: dict[str, Any] = {"password": "password", "webhook_secret": "x" * 16, "image_timeout_seconds": 60.0}
    return Settings(_env_file=None, label_studio_url=label_studio_url, data_dir=folder, **fixed | more)


class Loading:
    """A loader with settings of its own; `fault` is what it says of an address that it refuses."""

    def __init__(
        self, folder: Path, label_studio: Server, auth: Callable[[], Mapping[str, str]] = lambda: AUTH, **more: Any
    ) -> None:
        self.loader = ImageLoader(settings_for(folder, label_studio.url(more.pop("base", "")), **more), auth)

    def get(self, uri: object, task_id: int | None = 7, project: str = "1.1") -> np.ndarray[Any, Any]:
        return self.loader.load(uri, task_id, project=project).pixels

    def fault(self, uri: object, task_id: int | None = 7) -> str:
        with pytest.raises(ImageError) as caught:
            self.get(uri, task_id)
        assert "secret" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def load(tmp_path: Path, label_studio: Server) -> Loading:
    return Loading(tmp_path, label_studio)


def authorized(server: Server) -> list[bool]:
    return ["Authorization" in headers for _, headers in server.seen]


# -- Label Studio's own files


@pytest.mark.parametrize(
    ("uri", "asked"),
    [
        ("/data/upload/63/2613f3fe-cell_5_%C3%BC.png", "/data/upload/63/2613f3fe-cell_5_%C3%BC.png"),
        ("/data/upload/63/cell_5_ü.png", "/data/upload/63/cell_5_%C3%BC.png"),
        ("/data/local-files/?d=cells/cell%205.png", "/data/local-files/?d=cells/cell%205.png"),
        ("/data/local-files/?d=cells/cell 5.png", "/data/local-files/?d=cells/cell%205.png"),
        ("/tasks/2789/resolve/?fileuri=czM6Ly9i", "/tasks/2789/resolve/?fileuri=czM6Ly9i"),
        ("/projects/3/resolve/?fileuri=czM6Ly9i", "/projects/3/resolve/?fileuri=czM6Ly9i"),
        (
            "s3://cells/smear/ü.png",
            "/tasks/7/resolve/?fileuri=" + quote(base64.urlsafe_b64encode("s3://cells/smear/ü.png".encode())),
        ),
        ("gs://cells/1.png", "/tasks/7/resolve/?fileuri=" + quote(base64.urlsafe_b64encode(b"gs://cells/1.png"))),
    ],
)
def test_label_studios_files_are_asked_of_it_with_our_key(
    load: Loading, label_studio: Server, uri: str, asked: str
) -> None:
    label_studio.on(asked.partition("?")[0], body=PICTURE)
    np.testing.assert_array_equal(load.get(uri), decode_image(PICTURE).pixels)
    ((path, headers),) = label_studio.seen
    assert path == asked
    assert headers["Authorization"] == AUTH["Authorization"]


def test_a_full_address_of_label_studio_is_its_own_file(load: Loading, label_studio: Server) -> None:
    label_studio.on("/data/upload/1/a.png", body=PICTURE)
    load.get(label_studio.url("/data/upload/1/a.png"))
    assert authorized(label_studio) == [True]


@pytest.mark.parametrize("path", ["/api/projects", "/tasks/../api/projects", "/tasks/%2e%2e/api/x", "/data/avatars/a"])
def test_our_key_goes_with_nothing_but_files(load: Loading, label_studio: Server, path: str) -> None:
    label_studio.on(path, body=PICTURE)
    load.get(label_studio.url(path))
    assert authorized(label_studio) == [False]


def test_label_studio_below_a_path_is_found(tmp_path: Path, label_studio: Server) -> None:
    load = Loading(tmp_path, label_studio, base="/lab")
    label_studio.on("/lab/data/upload/1/a.png", body=PICTURE)
    load.get("/data/upload/1/a.png")
    load.get("/lab/data/upload/1/a.png")
    assert [path for path, _ in label_studio.seen] == ["/lab/data/upload/1/a.png"] * 2
    assert authorized(label_studio) == [True, True]


def test_a_storages_file_needs_a_saved_task(load: Loading) -> None:
    assert "this task has no number" in load.fault("s3://cells/1.png", None)


def test_a_signed_address_gets_no_key_of_ours_and_its_host_must_be_allowed(
    tmp_path: Path, label_studio: Server, elsewhere: Server
) -> None:
    signed = elsewhere.url("/bucket/1.png?X-Amz-Signature=secret")
    label_studio.on("/tasks/7/resolve/", status=303, Location=signed)
    elsewhere.on("/bucket/1.png", body=PICTURE)
    refused = Loading(tmp_path / "a", label_studio).fault("s3://cells/1.png")
    assert f"127.0.0.1:{elsewhere.port} is not among the allowed hosts" in refused
    assert "HEMALOOP_IMAGE_HOSTS" in refused
    assert elsewhere.seen == []
    allowed = Loading(tmp_path / "b", label_studio, image_hosts=(f"127.0.0.1:{elsewhere.port}",))
    allowed.get("s3://cells/1.png")
    assert authorized(elsewhere) == [False]
    assert elsewhere.seen[0][0].endswith("?X-Amz-Signature=secret")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, "Label Studio refuses to hand it out (HTTP 401); check LABEL_STUDIO_API_KEY"),
        (403, "Label Studio refuses to hand it out (HTTP 403); check LABEL_STUDIO_API_KEY"),
        (404, "not found (HTTP 404); check the storage"),
        (500, "answers HTTP 500"),
        (204, "answers HTTP 204"),
        (206, "answers HTTP 206"),
        (503, "is busy (HTTP 503); try again later"),
    ],
)
def test_each_refusal_says_what_to_do(load: Loading, label_studio: Server, status: int, expected: str) -> None:
    label_studio.on("/data/upload/1/a.png", status=status, body=b"" if status == 204 else b"secret")
    message = load.fault("/data/upload/1/a.png")
    assert message.startswith("image '/data/upload/1/a.png': ")
    assert expected in message


def test_a_login_page_is_recognised(load: Loading, label_studio: Server) -> None:
    label_studio.on("/data/upload/1/a.png", status=302, Location="/user/login/?next=/data/upload/1/a.png")
    assert "asks to log in; check LABEL_STUDIO_API_KEY" in load.fault("/data/upload/1/a.png")


def test_a_busy_server_is_asked_once_more(load: Loading, label_studio: Server) -> None:
    def answer(request: Any) -> None:
        label_studio.on("/data/upload/1/a.png", body=PICTURE)
        request.send_response(503)
        request.send_header("Content-Length", "0")
        request.end_headers()

    label_studio.answers["/data/upload/1/a.png"] = answer
    load.get("/data/upload/1/a.png")
    assert len(label_studio.seen) == 2


# -- addresses


@pytest.mark.parametrize("uri", ["", "  ", None, 7, [], {"url": "x"}])
def test_nothing_or_another_type_is_no_address(load: Loading, uri: object) -> None:
    assert "expected an address such as /data/upload/" in load.fault(uri)


@pytest.mark.parametrize(
    "uri", ["cell.png", "ftp://a/b.png", "data:image/png;base64,xxxx", "//evil.example/a.png", "javascript:alert(1)"]
)
def test_an_unknown_kind_of_address_is_refused_with_the_known_ones(load: Loading, uri: str) -> None:
    assert "not an image address, expected one of http://…, https://…, s3://…" in load.fault(uri)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://user:secret@host/a.png", "holds a login"),
        ("http:///a.png", "not a web address"),
        ("http://host:99999/a.png", "not a web address"),
        ("http://host/a\r\nX: y", "control characters"),
        ("http://host\\@evil/a.png", "backslash"),
        ("http://[::1/a.png", "not a web address"),
    ],
)
def test_an_odd_web_address_is_refused(load: Loading, uri: str, reason: str) -> None:
    assert reason in load.fault(uri)


def test_messages_show_an_address_without_its_secrets_and_shortened() -> None:
    assert shown("https://u:secret@h/a.png?sig=secret") == "image 'https://h/a.png'"
    assert shown("/data/local-files/?d=a.png") == "image '/data/local-files/?d=a.png'"
    assert len(shown("http://h/" + "a" * 5000)) < 200


def test_a_host_is_compared_as_the_network_understands_it() -> None:
    assert parse_url("HTTP://ExAmple.ORG./a".replace("HTTP", "http")).origin == Origin("http", "example.org", 80)
    assert parse_url("https://bücher.example:444/a b?c=d e").target == "/a%20b?c=d%20e"
    assert parse_url("https://bücher.example:444/").origin == Origin("https", "xn--bcher-kva.example", 444)
    assert str(parse_url("http://[::1]:8080/").origin) == "[::1]:8080"


def test_local_paths_are_told_from_label_studios() -> None:
    assert locate("/srv/smears/1.png", None, "http://h") == Path("/srv/smears/1.png")
    assert locate("file:///srv/smears/a%20b.png", None, "http://h") == Path("/srv/smears/a b.png")
    assert not isinstance(locate("/data/upload/1/a.png", None, "http://h"), Path)


# -- which hosts and addresses


@pytest.mark.parametrize(
    ("entries", "url", "allowed"),
    [
        ((), "http://images.example.org/", False),
        (("images.example.org",), "http://images.example.org/", True),
        (("images.example.org",), "https://images.example.org/", True),
        (("Images.Example.org",), "https://images.example.org./", True),
        (("images.example.org",), "http://images.example.org:8080/", False),
        (("images.example.org:8080",), "http://images.example.org:8080/", True),
        (("images.example.org:8080",), "http://images.example.org/", False),
        (("example.org",), "http://images.example.org/", False),
        (("*.example.org",), "http://images.example.org/", True),
        (("*.example.org",), "http://example.org/", False),
        (("*.example.org",), "http://evilexample.org/", False),
        (("10.1.0.0/16",), "http://10.1.2.3/", True),
        (("10.1.0.0/16",), "http://10.2.2.3/", False),
        (("10.1.2.3:8080",), "http://10.1.2.3:8080/", True),
        (("10.1.2.3",), "http://10.1.2.3:8080/", False),
        (("8.8.8.8",), "http://8.8.4.4/", False),
        (("[::1]:9000",), "http://[::1]:9000/", True),
        (("::1",), "http://[::1]/", True),
        (("127.0.0.1",), "http://[::ffff:127.0.0.1]/", True),
        (("127.0.0.1",), "http://2130706433/", False),
        (("127.0.0.1",), "http://127.1/", False),
    ],
)
def test_a_host_is_allowed_by_name_address_or_network(entries: tuple[str, ...], url: str, allowed: bool) -> None:
    origins = AllowList(entries, Origin("http", "label.studio", 8080))
    assert origins.allows(parse_url(url).origin) is allowed


def test_label_studio_is_allowed_at_its_own_port_only() -> None:
    origins = AllowList((), Origin("http", "10.0.0.5", 8080))
    assert origins.allows(Origin("http", "10.0.0.5", 8080))
    assert not origins.allows(Origin("http", "10.0.0.5", 22))
    assert not origins.allows(Origin("https", "10.0.0.5", 8080))


@pytest.mark.parametrize("entry", ["http://a/b", "a b", "a@b", "*.*.org", "a*b"])
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(SettingsError, match="expected host, host:port"):
        AllowList((entry,), Origin("http", "h", 80))
    with pytest.raises(ValueError, match="image host: found") as caught:
        settings_for(Path(), "http://h", image_hosts=(entry, "good.example"))
    assert repr(entry) in str(caught.value)
    assert "good.example" not in str(caught.value).partition("expected")[0]


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_addresses_inside_a_network_are_not_public_however_they_are_written(text: str, public: bool) -> None:
    address = parse_address(text)
    assert address is not None
    assert is_public(address) is public


def test_a_name_that_leads_inside_needs_its_address_allowed_too(
    tmp_path: Path, label_studio: Server, elsewhere: Server
) -> None:
    elsewhere.on("/a.png", body=PICTURE)
    uri = elsewhere.url("/a.png", host="localhost")
    name = f"localhost:{elsewhere.port}"
    assert "not among the allowed hosts" in Loading(tmp_path / "a", label_studio).fault(uri)
    refused = Loading(tmp_path / "b", label_studio, image_hosts=(name,)).fault(uri)
    assert "which is not a public address" in refused
    assert elsewhere.seen == []
    Loading(tmp_path / "c", label_studio, image_hosts=(name, "127.0.0.1")).get(uri)
    assert elsewhere.seen[0][1]["Host"] == name


def test_a_name_is_looked_up_once_and_the_checked_address_is_the_one_that_is_asked(
    tmp_path: Path, label_studio: Server, elsewhere: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the second answer of a hostile name server is never asked for."""
    elsewhere.on("/a.png", body=PICTURE)
    real, asked = socket.getaddrinfo, []

    def changing(host: Any, *rest: Any, **more: Any) -> Any:
        if host == "rebind.example":
            asked.append(host)
            return real("127.0.0.1" if len(asked) == 1 else "127.0.0.2", *rest, **more)
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    load = Loading(tmp_path, label_studio, image_hosts=(f"rebind.example:{elsewhere.port}", "127.0.0.1"))
    load.get(elsewhere.url("/a.png", host="rebind.example"))
    assert asked == ["rebind.example"]


def test_an_unknown_name_is_told(tmp_path: Path, label_studio: Server) -> None:
    load = Loading(tmp_path, label_studio, image_hosts=("nowhere.invalid",))
    assert "the host nowhere.invalid is not known" in load.fault("http://nowhere.invalid/a.png")


def test_a_redirect_is_checked_like_the_first_address(tmp_path: Path, label_studio: Server, elsewhere: Server) -> None:
    elsewhere.on("/out", status=302, Location=label_studio.url("/data/upload/1/a.png"))
    elsewhere.on("/meta", status=302, Location="http://169.254.169.254/latest/")
    elsewhere.on("/file", status=302, Location="file:///etc/passwd")
    elsewhere.on("/loop", status=302, Location="/loop")
    elsewhere.on("/nowhere", status=302)
    elsewhere.on("/relative", status=307, Location="a.png")
    elsewhere.on("/a.png", body=PICTURE)
    label_studio.on("/data/upload/1/a.png", body=PICTURE)
    load = Loading(tmp_path, label_studio, image_hosts=(f"127.0.0.1:{elsewhere.port}",))
    assert "169.254.169.254 is not among the allowed hosts" in load.fault(elsewhere.url("/meta"))
    assert "not a web address" in load.fault(elsewhere.url("/file"))
    assert "more than 5 redirects" in load.fault(elsewhere.url("/loop"))
    assert "redirects without saying where to" in load.fault(elsewhere.url("/nowhere"))
    load.get(elsewhere.url("/relative"))
    load.get(elsewhere.url("/out"))


# -- what servers do


def image_from(load: Loading, server: Server) -> str:
    return load.fault(server.url("/data/upload/1/a.png"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "the file is empty"),
        (b"<html>secret</html>", "found a web page (HTML; perhaps a login page)"),
        (PICTURE[:400], "damaged or cut off"),
        (b"x" * 3000, "expected at most 2,000"),
    ],
)
def test_an_answer_that_is_no_image_is_told(tmp_path: Path, label_studio: Server, body: bytes, expected: str) -> None:
    load = Loading(tmp_path, label_studio, image_max_bytes=2000)
    label_studio.on("/data/upload/1/a.png", body=body)
    assert expected in image_from(load, label_studio)


def chunked(*bodies: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(body), body) for body in bodies)


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (HEAD + b"Content-Length: 999999999\r\n\r\n", "found 999,999,999 bytes, expected at most 2,000"),
        (HEAD + b"Content-Length: 1500\r\n\r\nshort", "found 5 of 1,500 bytes"),
        (HEAD + b"Content-Length: 50\r\n\r\n" + PICTURE, "damaged or cut off"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*[b"x" * 500] * 9), "more than 2,000 bytes"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * 500) + b"1f4\r\nshort", "broke"),
        (HEAD + b"Connection: close\r\n\r\n" + b"x" * 9000, "more than 2,000 bytes"),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nxxxxx", "compressed"),
        (b"nonsense\r\n\r\n", "broke"),
        (HEAD + b"X: " + b"y" * 70_000 + b"\r\n\r\n", "broke"),
        (b"", "broke"),
    ],
)
def test_a_lying_server_costs_no_more_than_the_limit(
    tmp_path: Path, label_studio: Server, answer: bytes, expected: str
) -> None:
    load = Loading(tmp_path, label_studio, image_max_bytes=2000)
    label_studio.raw("/data/upload/1/a.png", answer)
    assert expected in image_from(load, label_studio)


def test_a_chunked_answer_is_read(load: Loading, label_studio: Server) -> None:
    body = chunked(PICTURE[:100], PICTURE[100:]) + b"0\r\n\r\n"
    label_studio.raw("/data/upload/1/a.png", HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    load.get("/data/upload/1/a.png")


@pytest.mark.parametrize(
    "pieces",
    [
        (20.0, HEAD),
        (HEAD + b"Content-Length: 1000\r\n\r\n", *[b"x", 0.05] * 400),
        (*[b"H", 0.05] * 400,),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n", 0.05] * 400),
    ],
    ids=["silent", "dripping body", "dripping head", "dripping chunks"],
)
def test_a_slow_server_is_given_up_at_the_total_time_limit(
    tmp_path: Path, label_studio: Server, pieces: tuple[bytes | float, ...]
) -> None:
    load = Loading(tmp_path, label_studio, image_timeout_seconds=0.4)
    label_studio.raw("/data/upload/1/a.png", *pieces)
    began = time.monotonic()
    message = load.fault("/data/upload/1/a.png")
    assert "took longer than 0.4 s" in message
    assert "HEMALOOP_IMAGE_TIMEOUT_SECONDS" in message
    assert time.monotonic() - began < 10


def test_a_silent_server_is_given_up_before_the_total_limit(
    load: Loading, label_studio: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "READ_SECONDS", 0.2)
    label_studio.raw("/data/upload/1/a.png", 20.0)
    assert "was silent for 0.2 s" in load.fault("/data/upload/1/a.png")


def test_a_name_server_that_does_not_answer_is_given_up(
    tmp_path: Path, label_studio: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Loading(tmp_path, label_studio, image_hosts=("slow.example",), image_timeout_seconds=0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [threading.Event().wait(20)][:0])
    began = time.monotonic()
    assert "the look-up of slow.example took longer" in load.fault("http://slow.example/a.png")
    assert time.monotonic() - began < 10


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        gone = Server(port=taken.getsockname()[1])
    assert "cannot be reached" in Loading(tmp_path, gone).fault("/data/upload/1/a.png")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost with its key in one file, made for this run."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    key = path.with_name("key.pem")
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext"
    subprocess.run(
        ["openssl", *command.split(), "subjectAltName=DNS:localhost", "-keyout", key, "-out", path],
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + key.read_text())
    return path


def test_https_is_read_where_the_certificate_is_trusted_and_names_the_host(
    tmp_path: Path, label_studio: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(certificate) as secure:
        secure.on("/a.png", body=PICTURE)
        hosts = (f"localhost:{secure.port}", f"127.0.0.1:{secure.port}")
        load = Loading(tmp_path, label_studio, image_hosts=hosts)
        download._tls.cache_clear()
        assert "no secure connection" in load.fault(secure.url("/a.png", host="localhost"))
        download._tls.cache_clear()
        monkeypatch.setenv(ssl.get_default_verify_paths().openssl_cafile_env, str(certificate))
        load.get(secure.url("/a.png", host="localhost"))
        assert "no secure connection" in load.fault(secure.url("/a.png", host="127.0.0.1"))
    download._tls.cache_clear()


# -- local folders


@pytest.fixture
def smears(tmp_path: Path) -> Path:
    folder = tmp_path / "smears"
    folder.mkdir()
    (folder / "a b.png").write_bytes(PICTURE)
    (tmp_path / "outside.png").write_bytes(PICTURE)
    (folder / "link.png").symlink_to(folder / "a b.png")
    (folder / "escape.png").symlink_to(tmp_path / "outside.png")
    (folder / "up").symlink_to(tmp_path)
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    return folder


def test_files_of_allowed_folders_are_read(tmp_path: Path, label_studio: Server, smears: Path) -> None:
    load = Loading(tmp_path / "data", label_studio, image_folders=(smears,))
    for uri in (str(smears / "a b.png"), f"file://{quote(str(smears / 'a b.png'))}", str(smears / "link.png")):
        np.testing.assert_array_equal(load.get(uri), decode_image(PICTURE).pixels)


def test_an_allowed_folder_may_itself_be_a_link(tmp_path: Path, label_studio: Server, smears: Path) -> None:
    (tmp_path / "alias").symlink_to(smears)
    Loading(tmp_path / "data", label_studio, image_folders=(tmp_path / "alias",)).get(
        str(tmp_path / "alias" / "a b.png")
    )


@pytest.mark.parametrize(
    "name", ["../outside.png", "escape.png", "up/outside.png", "../nothing.png", "/etc/passwd", "../smears2/x.png"]
)
def test_nothing_outside_the_folders_is_read_or_told_apart(
    tmp_path: Path, label_studio: Server, smears: Path, name: str
) -> None:
    load = Loading(tmp_path / "data", label_studio, image_folders=(smears,))
    message = load.fault(name if name.startswith("/") else f"{smears}/{name}")
    assert "not in an allowed folder" in message
    assert "HEMALOOP_IMAGE_FOLDERS" in message


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none.png", "no such file"),
        ("folder.png", "not a plain file"),
        ("pipe.png", "not a plain file"),
        ("a b.png", "at most 1,024 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, label_studio: Server, smears: Path, name: str, expected: str
) -> None:
    load = Loading(tmp_path / "data", label_studio, image_folders=(smears,), image_max_bytes=1024)
    assert expected in load.fault(str(smears / name))


def test_without_folders_no_path_is_read(load: Loading) -> None:
    assert "allowed: none" in load.fault("/etc/hostname")


# -- the cache


def test_a_second_look_asks_nobody_and_another_project_asks_itself(load: Loading, label_studio: Server) -> None:
    label_studio.on("/data/upload/1/a.png", body=PICTURE)
    for project in ("1.1", "1.1", "2.1"):
        np.testing.assert_array_equal(load.get("/data/upload/1/a.png", project=project), decode_image(PICTURE).pixels)
    assert len(label_studio.seen) == 2


def test_what_is_no_image_is_not_remembered(load: Loading, label_studio: Server) -> None:
    label_studio.on("/data/upload/1/a.png", body=b"<html>")
    load.fault("/data/upload/1/a.png")
    label_studio.on("/data/upload/1/a.png", body=PICTURE)
    load.get("/data/upload/1/a.png")


def test_names_do_not_run_together(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 10_000)
    cache.put(b"one", "1", "1/a")
    assert cache.get("11", "/a") is None
    assert cache.get("1", "1/a") == b"one"


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_cache_stays_within_its_limit_and_drops_what_was_used_longest_ago(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 10_000)
    for number in range(40):
        cache.put(bytes([number]) * 500, "p", str(number))
        assert cache.get("p", "0") is not None, "used all the time, so never the oldest"
        assert on_disk(tmp_path) <= 10_000
        time.sleep(0.002)
    assert cache.get("p", "1") is None
    assert cache.get("p", "39") == bytes([39]) * 500


def test_a_limit_of_nought_or_a_file_larger_than_the_limit_keeps_nothing(tmp_path: Path) -> None:
    DiskCache(tmp_path, 0).put(b"x", "p", "a")
    DiskCache(tmp_path, 100).put(b"x" * 200, "p", "a")
    assert on_disk(tmp_path) == 0


def test_a_damaged_entry_is_forgotten(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 10_000)
    cache.put(b"whole", "p", "a")
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.get("p", "a") is None
    assert not path.exists()


def test_an_old_entry_is_fetched_anew(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 10_000)
    cache.put(b"old", "p", "a")
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    os.utime(path, (time.time(), time.time() - 25 * 3600))
    assert cache.get("p", "a") is None


def test_a_disk_that_takes_nothing_costs_no_answer(
    tmp_path: Path, label_studio: Server, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "image-cache").write_text("a file where the folder should be")
    label_studio.on("/data/upload/1/a.png", body=PICTURE)
    Loading(tmp_path, label_studio).get("/data/upload/1/a.png")
    assert "not written" in caplog.text


def test_many_writers_and_readers_never_see_half_a_file(tmp_path: Path) -> None:
    caches = [DiskCache(tmp_path, 60_000) for _ in range(3)]
    stop = threading.Event()

    def read(cache: DiskCache) -> int:
        seen = 0
        while not stop.is_set():
            time.sleep(0.001)
            for number in range(8):
                data = cache.get("p", str(number))
                if data is not None:
                    assert data == bytes([number]) * 5000
                    seen += 1
        return seen

    def write(cache: DiskCache) -> None:
        for turn in range(32):
            cache.put(bytes([turn % 8]) * 5000, "p", str(turn % 8))

    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read, cache) for cache in caches]
        for writer in [pool.submit(write, cache) for cache in caches]:
            writer.result()
        stop.set()
        assert sum(reader.result() for reader in readers) > 0
    assert on_disk(tmp_path) <= 60_000 * (1 + 3 / 16)
    assert not list(tmp_path.rglob("*.part"))


def test_auth_is_asked_for_at_each_request_so_that_it_may_be_refreshed(tmp_path: Path, label_studio: Server) -> None:
    tokens = iter(("one", "two"))

    def auth() -> Mapping[str, str]:
        return {"Authorization": f"Bearer {next(tokens)}"}

    load = Loading(tmp_path, label_studio, auth)
    for name in ("a", "b"):
        label_studio.on(f"/data/upload/1/{name}.png", body=PICTURE)
        load.get(f"/data/upload/1/{name}.png")
    assert [headers["Authorization"] for _, headers in label_studio.seen] == ["Bearer one", "Bearer two"]
