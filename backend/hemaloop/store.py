"""Versioned artifacts of models behind fsspec: `file://` on one machine, `s3://` for many.

    <root>/<project>/<control>/<version>/…, manifest.json     one artifact; without its manifest it does not exist
    <root>/<project>/<control>/promoted.json                  the version that won its gate, and those before it
    <root>/<project>/published.json                           what annotators see, and what they saw before
    <root>/<project>/_vectors/<control>/<representation>/…    vectors of images (`quick.vectors`)
    <root>/<project>/_scratch/…                               results on their way between jobs

The manifest is written last and pointers are replaced in one step, so that a reader never meets half an artifact.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hemaloop.blobs import Blobs
from hemaloop.errors import StoreError
from hemaloop.integrity import damaged_files, sha256_of
from hemaloop.manifest import Manifest, Published, from_json
from hemaloop.plugin import Plugin

__all__ = ["ArtifactStore", "Manifest", "Published", "safe_name"]

MANIFEST = "manifest.json"
HISTORY = 20
"""Earlier versions that a pointer remembers for a rollback."""

_VERSION = re.compile(r"^(?P<family>.+)-(?P<number>\d{4,})-(?P<hash>[0-9a-f]{6})$")


class ArtifactStore:
    """Artifacts, promotions and publications of every project under one fsspec address.

    url: such as ``file:///var/lib/hemaloop/artifacts`` or ``s3://bucket/hemaloop``. cache: where artifacts of a remote
    store are copied to; a folder of the user's own if not given, for what lies there is loaded.
    """

    def __init__(self, url: str, cache: Path | None = None) -> None:
        self.url = url
        self._blobs = Blobs(url)
        name = hashlib.sha256(url.encode()).hexdigest()[:12]
        self._cache = cache or Path.home() / ".cache" / "hemaloop" / name

    # -- artifacts

    def put(self, project: str, control: str, plugin: Plugin, manifest: Manifest) -> str:
        """Save a fitted plugin and return its new version, ``<family>-<nnnn>-<hash6>``.

        Raises `StoreError` where the plugin writes nothing or the store cannot be written.
        """
        with tempfile.TemporaryDirectory(prefix="hemaloop-artifact-") as name:
            folder = Path(name)
            plugin.save(folder)
            files = {
                path.relative_to(folder).as_posix(): sha256_of(path)
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
            if not files:
                raise StoreError(f"artifact of {manifest.family!r}: save() wrote no file, expected at least one")
            content = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:6]
            version = f"{manifest.family}-{self._next_number(project, control):04d}-{content}"
            target = self._path(project, control, version)
            for file in files:
                self._blobs.write(f"{target}/{file}", (folder / file).read_bytes())
            self._write_json(f"{target}/{MANIFEST}", asdict(replace(manifest, version=version, files=files)))
        return version

    def manifest(self, project: str, control: str, version: str) -> Manifest:
        """What is known of an artifact. Raises `StoreError` where there is none of that version."""
        found = self._read_json(self._path(project, control, version) + "/" + MANIFEST)
        if found is None:
            known = ", ".join(self.versions(project, control)) or "none"
            raise StoreError(
                f"artifact {version!r} of project {project}, control {control!r}: not there; stored: {known}"
            )
        return from_json(Manifest, found, version)

    def update(self, project: str, control: str, manifest: Manifest) -> None:
        """Replace the manifest of a stored artifact, whose files stay as they are."""
        self.manifest(project, control, manifest.version)
        self._write_json(self._path(project, control, manifest.version) + "/" + MANIFEST, asdict(manifest))

    def has(self, project: str, control: str, version: str) -> bool:
        """Whether an artifact of that version is complete."""
        return self._blobs.exists(self._path(project, control, version) + "/" + MANIFEST)

    def directory(self, project: str, control: str, version: str) -> Path:
        """A local folder with the artifact, for `Plugin.load`; a remote one is copied once, its hashes checked."""
        manifest = self.manifest(project, control, version)
        target = self._folder(project, control, version)
        if not self._blobs.local and not target.exists():
            self._download(self._path(project, control, version), target, manifest.files)
        return target

    def _folder(self, project: str, control: str, version: str) -> Path:
        """Where a version's files are on this machine, or would be."""
        if self._blobs.local:
            return Path(self._path(project, control, version))
        return self._cache / safe_name(project) / safe_name(control) / safe_name(version)

    def damaged(self, project: str, control: str, version: str) -> list[str]:
        """Files of a stored version that are gone or not what was stored; read to the end, which takes a while.

        Of a remote store this machine's copy is looked at, and fetched anew where it is damaged.
        """
        files = self.manifest(project, control, version).files
        folder = self._folder(project, control, version)
        wrong = damaged_files(folder, files)
        if not wrong or self._blobs.local or not folder.exists():
            return wrong if self._blobs.local else []
        shutil.rmtree(folder, ignore_errors=True)
        try:
            self.directory(project, control, version)
        except StoreError:
            return wrong
        return []

    def withdraw(self, project: str, control: str, version: str) -> None:
        """Let a damaged version exist no longer: neither promoted nor published, its manifest kept as ``damaged.json``.

        What was promoted and published before it takes its place.
        """
        path = self._path(project, control, version)
        manifest = self._read_json(f"{path}/{MANIFEST}")
        if manifest is not None:
            self._write_json(f"{path}/damaged.json", manifest)
        before = [one for one in self._pointer(project, control) if one != version]
        self._write_json(self._pointer_path(project, control), {"versions": before})
        entries = [one for one in self._publications(project) if one.parts.get(control) != version]
        self._write_publications(project, entries)
        self._blobs.remove(f"{path}/{MANIFEST}")

    def versions(self, project: str, control: str) -> list[str]:
        """Complete artifacts, oldest first."""
        return self._complete(self._path(project, control))

    def _complete(self, folder: str) -> list[str]:
        names = [name for name in self._blobs.names(folder) if self._blobs.exists(f"{folder}/{name}/{MANIFEST}")]
        return sorted(names, key=lambda name: (_number(name), name))

    def models(self, project: str) -> dict[str, tuple[str, ...]]:
        """Complete artifacts of every control of a project, also of controls that its config no longer has."""
        folder = self._path(project)
        found = {name: self._complete(f"{folder}/{name}") for name in sorted(self._blobs.names(folder))}
        return {name: tuple(versions) for name, versions in found.items() if versions}

    # -- promotion

    def promote(self, project: str, control: str, version: str) -> None:
        """Make a stored version the one to beat and to serve. Raises `StoreError` where it is not stored."""
        self.manifest(project, control, version)
        before = self._pointer(project, control)
        if before and before[-1] == version:
            return
        self._write_json(self._pointer_path(project, control), {"versions": [*before, version][-HISTORY:]})

    def demote(self, project: str, control: str) -> None:
        """Promote nothing, so that the starter, or no model at all, is the one to beat."""
        self._write_json(self._pointer_path(project, control), {"versions": []})

    def rollback(self, project: str, control: str) -> str | None:
        """Promote the version before the current one and return it, or None where the starter came before."""
        before = self._pointer(project, control)
        if not before:
            raise StoreError(
                f"project {project}, control {control!r}: no version was promoted, so there is none to go back to"
            )
        self._write_json(self._pointer_path(project, control), {"versions": before[:-1]})
        return before[-2] if len(before) > 1 else None

    def promoted(self, project: str, control: str) -> str | None:
        """The version that won its gate last, or None."""
        versions = self._pointer(project, control)
        return versions[-1] if versions else None

    def promotions(self, project: str, control: str) -> list[str]:
        """Versions that were promoted, oldest first, as far as a rollback goes."""
        return self._pointer(project, control)

    # -- publication

    def publish(self, project: str, published: Published) -> None:
        """Let every process serve this from now on; the one before is remembered for a rollback.

        A version that was published before takes its old place: what came after it was rolled back.
        """
        entries = self._publications(project)
        versions = [entry.version for entry in entries]
        if published.version in versions:
            entries = entries[: versions.index(published.version)]
        self._write_publications(project, [*entries, published])

    def published(self, project: str) -> Published | None:
        """What annotators see, or None where nothing was published yet."""
        entries = self._publications(project)
        return entries[-1] if entries else None

    def history(self, project: str) -> list[Published]:
        """Publications, newest first."""
        return self._publications(project)[::-1]

    def duplicate(self, source: str, target: str) -> Published | None:
        """Copy what a project has published, artifacts included, to another project; None where it has nothing."""
        published = self.published(source)
        if published is None:
            return None
        for control, version in published.parts.items():
            if self.has(source, control, version):
                self._copy(self._path(source, control, version), self._path(target, control, version))
                self.promote(target, control, version)
        self.publish(target, published)
        return published

    def remove(self, project: str) -> None:
        """Delete everything of a project: artifacts, promotions, publications. There is no way back."""
        self._blobs.remove(self._path(project))

    # -- results on their way

    def put_scratch(self, project: str, name: str, data: bytes) -> None:
        """Keep bytes that one job hands to another under a name such as ``<plan>/<shard>``."""
        self._blobs.write(self._scratch(project, name), data)

    def get_scratch(self, project: str, name: str) -> bytes | None:
        """What `put_scratch` kept, or None."""
        return self._blobs.read(self._scratch(project, name))

    def drop_scratch(self, project: str, name: str) -> None:
        """Remove what was kept under a name and below it; nothing happens where nothing is there."""
        self._blobs.remove(self._scratch(project, name))

    # -- vectors of images

    def put_vectors(self, project: str, control: str, representation: str, part: str, data: bytes) -> None:
        """Keep a part of the vectors of a representation."""
        self._blobs.write(f"{self._vectors(project, control, representation)}/{part}", data)

    def vectors(self, project: str, control: str, representation: str) -> Iterator[tuple[str, bytes]]:
        """Each part of a representation's vectors, with its name."""
        folder = self._vectors(project, control, representation)
        for name in self._blobs.names(folder):
            data = self._blobs.read(f"{folder}/{name}") if not name.startswith(".") else None
            if data is not None:
                yield name, data

    def keep_vectors(self, project: str, control: str, representations: Collection[str]) -> None:
        """Remove the vectors of every representation but these."""
        folder = f"{self._path(project)}/_vectors/{safe_name(control)}"
        kept = {safe_name(one) for one in representations}
        for name in self._blobs.names(folder):
            if name not in kept:
                self._blobs.remove(f"{folder}/{name}")

    def drop(self, project: str, control: str, version: str) -> None:
        """Remove an artifact that nothing points to; the manifest first, so that no half of one is met."""
        folder = self._path(project, control, version)
        self._blobs.remove(f"{folder}/{MANIFEST}")
        self._blobs.remove(folder)

    # -- paths and files

    def _path(self, *parts: str) -> str:
        return "/".join([self._blobs.root, *(safe_name(part) for part in parts)])

    def _pointer_path(self, project: str, control: str) -> str:
        return self._path(project, control) + "/promoted.json"

    def _vectors(self, project: str, control: str, representation: str) -> str:
        return "/".join([self._path(project), "_vectors", safe_name(control), safe_name(representation)])

    def _scratch(self, project: str, name: str) -> str:
        return "/".join([self._path(project), "_scratch", *(safe_name(part) for part in name.split("/"))])

    def _next_number(self, project: str, control: str) -> int:
        return max((_number(name) for name in self._blobs.names(self._path(project, control))), default=0) + 1

    def _pointer(self, project: str, control: str) -> list[str]:
        found = self._read_json(self._pointer_path(project, control)) or {}
        return [str(version) for version in found.get("versions", [])]

    def _publications(self, project: str) -> list[Published]:
        found = self._read_json(self._path(project) + "/published.json") or {}
        return [from_json(Published, entry, "published.json") for entry in found.get("entries", [])]

    def _write_publications(self, project: str, entries: Sequence[Published]) -> None:
        self._write_json(
            self._path(project) + "/published.json", {"entries": [asdict(entry) for entry in entries[-HISTORY:]]}
        )

    def _read_json(self, path: str) -> dict[str, Any] | None:
        data = self._blobs.read(path)
        if data is None:
            return None
        try:
            found = json.loads(data)
        except ValueError as error:
            raise StoreError(f"{path}: not JSON ({error}); remove it or restore it from a copy") from None
        if not isinstance(found, dict):
            raise StoreError(f"{path}: found {type(found).__name__}, expected an object")
        return found

    def _write_json(self, path: str, value: Mapping[str, Any]) -> None:
        self._blobs.write(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode())

    def _copy(self, source: str, target: str) -> None:
        manifest = self._read_json(f"{source}/{MANIFEST}") or {}
        for name in [*manifest.get("files", {}), MANIFEST]:  # the manifest last
            data = self._blobs.read(f"{source}/{name}")
            if data is None:
                raise StoreError(f"{source}/{name}: is gone, the artifact cannot be copied")
            self._blobs.write(f"{target}/{name}", data)

    def _download(self, source: str, target: Path, files: Mapping[str, str]) -> None:
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            for name, expected in files.items():
                path = partial / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._blobs.read(f"{source}/{name}") or b"")
                if sha256_of(path) != expected:
                    raise StoreError(
                        f"{source}/{name}: its content is not what was stored; roll back to another version"
                    )
            try:
                partial.rename(target)
            except OSError:
                if not target.exists():  # another process was first
                    raise
        except OSError as error:
            raise StoreError(f"{source}: cannot be copied to {target}: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def safe_name(name: str) -> str:
    """A part of a path for any text: readable where it can be, never colliding, also where case is ignored.

    None begins with an underscore and has no ~, so that such names are the store's own.
    """
    if re.fullmatch(r"[a-z0-9][a-z0-9._+-]{0,99}", name) and not name.endswith(".json"):
        return name
    return f"{quote(name, safe='').replace('.', '%2E')[:80]}~{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _number(version: str) -> int:
    match = _VERSION.match(version)
    return int(match["number"]) if match else 0
