"""A local HTTP server for tests of image fetching: each path has its own (mis)behaviour; it notes what it was asked."""

from __future__ import annotations

import contextlib
import io
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(width: int = 40, height: int = 30, seed: int = 0, kind: str = "PNG") -> bytes:
    """A small coloured image file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """port: where it listens on 127.0.0.1. seen: path and headers of each request. answers: by path without query."""

    port: int = 0
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    scheme: str = "http"

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def on(self, path: str, status: int = 200, body: bytes = b"", **headers: Any) -> str:
        """Answer `path` so; underscores in header names become hyphens. Returns the path."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            for name, value in {"Content-Length": len(body), **given}.items():
                if value is not None:
                    request.send_header(name, str(value))
            request.end_headers()
            request.wfile.write(body)

        self.answers[path] = answer
        return path

    def raw(self, path: str, *pieces: bytes | float) -> str:
        """Answer `path` with these bytes, numbers being pauses in seconds."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            for piece in pieces:
                if isinstance(piece, bytes):
                    request.wfile.write(piece)
                    request.wfile.flush()
                else:
                    time.sleep(piece)
            request.close_connection = True

        self.answers[path] = answer
        return path


@contextlib.contextmanager
def serving(certificate: Path | None = None) -> Iterator[Server]:
    """A running server; over TLS where a file with certificate and key is given."""
    server = Server(scheme="https" if certificate else "http")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.seen.append((self.path, dict(self.headers.items())))
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                answer = server.answers.get(self.path.partition("?")[0])
                if answer is None:
                    self.send_error(404)
                else:
                    answer(self)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.handle_error = lambda *_: None  # type: ignore[method-assign]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        http.socket = context.wrap_socket(http.socket, server_side=True)
    server.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
