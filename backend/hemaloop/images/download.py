"""One file over HTTP, from allowed hosts at allowed addresses only, within one limit of time and one of bytes.

Each hop of a redirect is checked like the first. The connection is made to the very address that was checked, so that
a name which changes its meaning in between (DNS rebinding) gains nothing. Proxies of the environment are not used.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import urljoin, urlsplit

from hemaloop.errors import ImageError
from hemaloop.images.address import Url, is_label_studio, parse_url
from hemaloop.images.allow_list import Address, AllowList, parse_address

MAX_REDIRECTS = 5
CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
"""Silence of a server; the whole download is limited besides."""

_CHUNK = 2**16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({429, 502, 503, 504})


class _Again(Exception):
    """A fault that may pass: the connection broke, or the server is busy."""


@dataclass(frozen=True, slots=True)
class Downloader:
    """allow_list: where to. label_studio_url: whom `auth` is for. auth: headers, asked for at each request.
    max_bytes: of one file. seconds: for one file, redirects and name look-up included."""

    allow_list: AllowList
    label_studio_url: str
    auth: Callable[[], Mapping[str, str]] | None
    max_bytes: int
    seconds: float

    def get(self, url: Url, name: str) -> bytes:
        """The file's bytes. Raises `ImageError` that begins with `name` and says what to do."""
        deadline = time.monotonic() + self.seconds
        try:
            try:
                return self._follow(url, name, deadline)
            except _Again:
                time.sleep(min(0.2, self.seconds / 10))
                return self._follow(url, name, deadline)
        except _Again as error:
            raise ImageError(f"{name}: {error}; try again later") from None

    def _follow(self, url: Url, name: str, deadline: float) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._request(url, name, deadline)
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise ImageError(f"{name}: more than {MAX_REDIRECTS} redirects; correct the address in the task")

    def _request(self, url: Url, name: str, deadline: float) -> bytes | Url:
        """The body, or where the server sends us."""
        own = is_label_studio(url, self.label_studio_url)
        headers = {"Host": str(url.origin), "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
        headers |= self.auth() if own and self.auth is not None else {}
        connection = self._connect(url, name, deadline)
        try:
            with _closed_at(connection, deadline):
                connection.request("GET", url.target, headers=headers)
                with contextlib.closing(connection.getresponse()) as response:
                    if response.status in _REDIRECTS:
                        return self._redirect(url, response, name, own=own)
                    _check_status(response, name, str(url.origin), own=own)
                    return self._body(response, name, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() >= deadline:
                raise ImageError(_slow(name, str(url.origin), self.seconds)) from None
            if isinstance(error, TimeoutError):
                raise ImageError(f"{name}: {url.origin} was silent for {READ_SECONDS:g} s; check the server") from None
            raise _Again(f"the connection to {url.origin} broke ({type(error).__name__}: {error})") from None
        finally:
            connection.close()

    def _redirect(self, url: Url, response: http.client.HTTPResponse, name: str, *, own: bool) -> Url:
        location = response.getheader("Location")
        if not location:
            raise ImageError(f"{name}: {url.origin} redirects without saying where to; correct the address in the task")
        target = parse_url(urljoin(str(url), location))
        if own and urlsplit(target.target).path.rstrip("/").endswith("/login"):
            raise ImageError(f"{name}: Label Studio asks to log in; check LABEL_STUDIO_API_KEY")
        return target

    def _connect(self, url: Url, name: str, deadline: float) -> http.client.HTTPConnection:
        """A connection whose peer is an address that was checked."""
        origin = url.origin
        if not self.allow_list.allows(origin):
            raise ImageError(
                f"{name}: {origin} is not among the allowed hosts; if it is meant, add {str(origin)!r} to "
                "HEMALOOP_IMAGE_HOSTS"
            )
        found = _look_up(origin.host, origin.port, deadline - time.monotonic(), name)
        allowed = [address for address in found if self.allow_list.allows_address(address, origin)]
        if not allowed:
            raise ImageError(
                f"{name}: {origin.host} leads to {', '.join(map(str, found))}, which is not a public address; if it is "
                f"meant, add {str(found[0])!r} to HEMALOOP_IMAGE_HOSTS"
            )
        stream = _open(allowed, origin.port, deadline, f"{name}: {origin}")
        try:
            if origin.scheme == "https":
                stream.settimeout(max(0.01, min(READ_SECONDS, deadline - time.monotonic())))
                stream = _tls().wrap_socket(stream, server_hostname=origin.host)
        except (OSError, ValueError) as error:
            stream.close()
            raise ImageError(f"{name}: no secure connection to {origin}: {error}") from None
        stream.settimeout(max(0.01, min(READ_SECONDS, deadline - time.monotonic())))
        connection = http.client.HTTPConnection(origin.host, origin.port)
        # A ready socket, and no other: http.client must not look the name up again.
        connection.sock = stream
        connection.auto_open = 0
        return connection

    def _body(self, response: http.client.HTTPResponse, name: str, deadline: float) -> bytes:
        if response.getheader("Content-Encoding", "identity") != "identity":
            raise ImageError(f"{name}: the server compressed the file though asked not to; mend the server")
        announced = response.length  # None where the server does not say
        if announced is not None and announced > self.max_bytes:
            raise ImageError(self._too_large(name, f"{announced:,}"))
        chunks: list[bytes] = []
        size = 0
        while chunk := response.read1(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > self.max_bytes:
                raise ImageError(self._too_large(name, f"more than {self.max_bytes:,}"))
        if time.monotonic() >= deadline:
            raise TimeoutError
        if announced is not None and size < announced:
            raise _Again(f"the file was cut off: found {size:,} of {announced:,} bytes")
        return b"".join(chunks)

    def _too_large(self, name: str, found: str) -> str:
        return f"{name}: found {found} bytes, expected at most {self.max_bytes:,} (HEMALOOP_IMAGE_MAX_BYTES)"


@cache
def _tls() -> ssl.SSLContext:
    """Verifies certificates and names; made once, since reading the system's certificates takes 20 ms."""
    return ssl.create_default_context()


def _check_status(response: http.client.HTTPResponse, name: str, host: str, *, own: bool) -> None:
    status = response.status
    if status == 200:
        return
    if status in _BUSY:
        raise _Again(f"{host} is busy (HTTP {status})")
    if status in (401, 403):
        todo = "check LABEL_STUDIO_API_KEY and that its user may see the project" if own else "allow reading it there"
        raise ImageError(f"{name}: {'Label Studio' if own else host} refuses to hand it out (HTTP {status}); {todo}")
    if status in (404, 410):
        todo = "check the storage it came from" if own else "correct the address in the task"
        raise ImageError(f"{name}: not found (HTTP {status}); {todo}")
    raise ImageError(f"{name}: {host} answers HTTP {status}, expected 200 and an image")


def _look_up(host: str, port: int, seconds: float, name: str) -> list[Address]:
    """Addresses of a host, within a time limit that the system's resolver does not have."""
    literal = parse_address(host)
    if literal is not None:
        return [literal]
    answers: queue.SimpleQueue[list[Address] | OSError | UnicodeError] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            texts = dict.fromkeys(str(info[4][0]).partition("%")[0] for info in infos)
            answers.put([address for text in texts if (address := parse_address(text)) is not None])
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=resolve, daemon=True, name="look-up").start()
    try:
        answer = answers.get(timeout=max(0.01, seconds))
    except queue.Empty:
        raise ImageError(_slow(name, f"the look-up of {host}", seconds)) from None
    if not isinstance(answer, list) or not answer:
        raise ImageError(f"{name}: the host {host} is not known ({answer}); correct the address or the network's DNS")
    return answer


def _open(addresses: list[Address], port: int, deadline: float, where: str) -> socket.socket:
    """A TCP connection to the first address that answers."""
    fault: OSError | None = None
    for address in addresses:
        seconds = min(CONNECT_SECONDS, deadline - time.monotonic())
        if seconds <= 0:
            break
        try:
            return socket.create_connection((str(address), port), timeout=seconds)
        except OSError as error:
            fault = error
    if fault is None or isinstance(fault, TimeoutError):
        raise ImageError(f"{where} does not answer; check that it runs and can be reached from here")
    raise _Again(f"{where.rpartition(': ')[2]} cannot be reached ({fault})")


@contextlib.contextmanager
def _closed_at(connection: http.client.HTTPConnection, deadline: float) -> Iterator[None]:
    """Cut the connection at the deadline: a time-out of the socket starts anew with every byte that drips in."""
    stream = connection.sock

    def cut() -> None:
        with contextlib.suppress(OSError):
            stream.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _slow(name: str, what: str, seconds: float) -> str:
    return f"{name}: {what} took longer than {seconds:g} s; check it, or raise HEMALOOP_IMAGE_TIMEOUT_SECONDS"
