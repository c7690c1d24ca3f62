"""A task's image address -> pixels: located, allowed, cached, limited, decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from hemaloop.config import Settings
from hemaloop.errors import ImageError
from hemaloop.images.address import locate, parse_url, shown
from hemaloop.images.allow_list import AllowList
from hemaloop.images.cache import DiskCache
from hemaloop.images.decode import Limits, LoadedImage, decode_image
from hemaloop.images.download import Downloader
from hemaloop.images.folders import read_allowed


class ImageLoader:
    """Images of tasks. Thread-safe; processes share the cache.

    auth: headers that open Label Studio's files; they go to Label Studio alone, never along a redirect.
    """

    def __init__(self, settings: Settings, auth: Callable[[], Mapping[str, str]] | None = None) -> None:
        """Raises `SettingsError` for a host in `image_hosts` that is none."""
        self._label_studio_url = settings.label_studio_url
        self._folders = settings.image_folders
        self._limits = Limits(settings.image_max_bytes, settings.image_max_pixels)
        self._cache = DiskCache(settings.data_dir / "image-cache", settings.image_cache_bytes)
        self._downloader = Downloader(
            allow_list=AllowList(settings.image_hosts, parse_url(settings.label_studio_url).origin),
            label_studio_url=settings.label_studio_url,
            auth=auth,
            max_bytes=settings.image_max_bytes,
            seconds=settings.image_timeout_seconds,
        )

    def taken(self) -> dict[str, int]:
        """How often the cache had a downloaded image ("hit") or not ("miss") since the last call."""
        return self._cache.taken()

    def load(self, uri: object, task_id: int | None = None, *, project: str) -> LoadedImage:
        """The image behind the address in a task's data.

        task_id: needed for files of connected storages (``s3://…``). project: two projects never share a cached file.
        Raises `ImageError` that names the image, and what an `auth` that cannot get its headers raises.
        """
        return self.load_file(uri, task_id, project=project)[1]

    def load_file(self, uri: object, task_id: int | None = None, *, project: str) -> tuple[bytes, LoadedImage]:
        """As `load`, with the bytes of the file."""
        if not isinstance(uri, str) or not uri.strip():
            found = "nothing" if uri in (None, "") or isinstance(uri, str) else type(uri).__name__
            raise ImageError(f"image: found {found} in the task, expected an address such as /data/upload/…")
        name = shown(uri)
        source = locate(uri, task_id, self._label_studio_url)
        if isinstance(source, Path):
            data = read_allowed(source, self._folders, self._limits.max_bytes, name)
            return data, decode_image(data, self._limits, name=name)
        cached = self._cache.get(project, uri)
        if cached is not None:
            return cached, decode_image(cached, self._limits, name=name)
        data = self._downloader.get(source, name)
        image = decode_image(data, self._limits, name=name)
        # Only what is an image is kept, so that a login page is not remembered.
        self._cache.put(data, project, uri)
        return data, image
