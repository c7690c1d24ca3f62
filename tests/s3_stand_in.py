"""A bucket over HTTP, as far as Label Studio's storages ask for it: list, look, get. Signatures are not checked."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_WHEN = "2026-01-01T00:00:00.000Z"


class _Handler(BaseHTTPRequestHandler):
    objects: Mapping[str, bytes]
    bucket: str

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if bucket != self.bucket or (key and key not in self.objects):
            status, kind, data = 404, "application/xml", b"<Error><Code>NoSuchKey</Code></Error>"
        elif key:
            status, kind, data = 200, "image/png", self.objects[key]
        else:
            status, kind = 200, "application/xml"
            data = self._listing(parse_qs(parts.query).get("prefix", [""])[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _listing(self, prefix: str) -> bytes:
        keys = [key for key in sorted(self.objects) if key.startswith(prefix)]
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{_WHEN}</LastModified><ETag>x</ETag>"
            f"<Size>{len(self.objects[key])}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key in keys
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{self.bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(keys)}</KeyCount>"
            f"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
        ).encode()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def bucket(name: str, objects: Mapping[str, bytes]) -> Iterator[str]:
    """The address of an S3 endpoint with one bucket, while the context lasts."""
    handler = type("Handler", (_Handler,), {"objects": objects, "bucket": name})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
