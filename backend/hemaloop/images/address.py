"""A task's image address, read: which of the kinds that Label Studio knows, and the URL or path to get it from."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from hemaloop.errors import ImageError
from hemaloop.images.allow_list import USUAL_PORTS, Origin

LABEL_STUDIO_PATHS = ("/data/upload/", "/data/local-files/", "/storage-data/", "/tasks/", "/projects/")
"""Paths under which Label Studio hands out files; nothing else is asked of it with our key."""
STORAGES = ("s3", "gs", "azure-blob")

_URL_CHARACTERS = "/:?#[]@!$&'()*+,;=%-._~"


@dataclass(frozen=True, slots=True)
class Url:
    """An http(s) address: its origin, and path with query, percent-encoded."""

    origin: Origin
    target: str

    def __str__(self) -> str:
        return f"{self.origin.scheme}://{self.origin}{self.target}"


def parse_url(text: str) -> Url:
    """Raises `ImageError` for what is no plain http(s) URL: with a login, without a host, with control characters."""
    if any(character < " " or character in "\\\x7f" for character in text):
        raise ImageError(f"{shown(text)}: the address holds control characters or a backslash")
    try:
        parts = urlsplit(quote(text, safe=_URL_CHARACTERS))
        port = parts.port
        host = unquote(parts.hostname or "")
        host = host if ":" in host or host.isascii() else host.encode("idna").decode("ascii")
    except ValueError as error:
        raise ImageError(f"{shown(text)}: not a web address: {error}") from None
    if parts.scheme not in USUAL_PORTS or not host:
        raise ImageError(f"{shown(text)}: not a web address, expected http://… or https://…")
    if "@" in parts.netloc:
        raise ImageError(f"{shown(text)}: the address holds a login, which is refused; use a storage of Label Studio")
    # A final dot names the same host and would slip past a comparison by name.
    origin = Origin(parts.scheme, host.lower().rstrip("."), port or USUAL_PORTS[parts.scheme])
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Url(origin, target)


def locate(uri: str, task_id: int | None, label_studio_url: str) -> Url | Path:
    """Where the image of a task is: a web address, or a path on this machine that is yet to be allowed.

    Raises `ImageError` for an address of a kind that Label Studio does not use for images.
    """
    text = uri.strip()
    if text.startswith(("http://", "https://")):
        return parse_url(text)
    scheme = text.partition("://")[0]
    if scheme in STORAGES:
        return _stored(text, task_id, label_studio_url)
    base = urlsplit(label_studio_url).path.rstrip("/")
    path = text.removeprefix(base) if base and text.startswith(base + "/") else text
    if path.startswith(LABEL_STUDIO_PATHS):
        return parse_url(label_studio_url + path)
    if text.startswith("file://"):
        return Path(unquote(text.removeprefix("file://")))
    if text.startswith("/") and not text.startswith("//"):
        return Path(text)
    expected = ", ".join(("http://…", "https://…", *(f"{kind}://…" for kind in STORAGES), *LABEL_STUDIO_PATHS[:2]))
    raise ImageError(f"{shown(text)}: not an image address, expected one of {expected} or a file path")


def is_label_studio(url: Url, label_studio_url: str) -> bool:
    """Whether a URL asks Label Studio for a file, so that our key may go with it."""
    own = parse_url(label_studio_url)
    base = own.target.rstrip("/")
    path = url.target.removeprefix(base) if base else url.target
    # A path that climbs ("/tasks/../api") is not one of Label Studio's own.
    return url.origin == own.origin and path.startswith(LABEL_STUDIO_PATHS) and ".." not in unquote(path).split("/")


def shown(uri: object) -> str:
    """An image address for messages and logs: short, without login, and without a signed query."""
    text = str(uri)
    if "://" in text:
        scheme, _, rest = text.partition("://")
        rest = rest.partition("?")[0] if scheme.lower() in USUAL_PORTS else rest
        host, slash, path = rest.partition("/")
        text = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    text = text if len(text) <= 200 else f"{text[:120]}…{text[-60:]}"
    return f"image {text!r}"


def _stored(uri: str, task_id: int | None, label_studio_url: str) -> Url:
    """A file of a connected storage: Label Studio fetches it or redirects to a signed URL, for a task's sake only."""
    if task_id is None:
        raise ImageError(f"{shown(uri)}: Label Studio hands it out for a saved task only, and this task has no number")
    encoded = quote(base64.urlsafe_b64encode(uri.encode()).decode())
    return parse_url(f"{label_studio_url}/tasks/{task_id}/resolve/?fileuri={encoded}")
