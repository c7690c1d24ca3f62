"""A trained model as a folder of its own: what `Plugin.save` wrote, and a manifest that says how to load it.

The layout is that of an artifact in the store, so that one can be looked at with the offline commands too.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from hemaloop import registry
from hemaloop.errors import PluginError, PluginNotFound, StoreError
from hemaloop.plugin import Plugin, Preset
from hemaloop.store import MANIFEST, Manifest

STARTER = "starter:"
_NEEDED = ("family", "plugin_version", "labels", "options")


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A plugin that is ready to predict, and the name of where it came from. manifest: None for starter weights."""

    plugin: Plugin
    name: str
    manifest: Manifest | None


def preset_of(family: type[Plugin], name: str) -> Preset:
    """A preset by name. Raises `PluginError` that lists those there are."""
    if name not in family.presets:
        known = ", ".join(family.presets) or "none"
        raise PluginError(f"preset {name!r} of {family.family!r}: there is none of that name; presets: {known}")
    return family.presets[name]


def write_model(directory: Path, plugin: Plugin, manifest: Manifest, extra: Mapping[str, str] | None = None) -> None:
    """Write a fitted plugin with its manifest; the folder appears complete or not at all.

    extra: further text files by name, such as figures. A folder of that name is replaced.
    Raises `StoreError` where it cannot be written.
    """
    mark = uuid.uuid4().hex[:8]
    partial, old = (directory.with_name(f".{directory.name}.{kind}-{mark}") for kind in ("partial", "old"))
    try:
        partial.mkdir(parents=True)
        plugin.save(partial)
        files = {path.relative_to(partial).as_posix(): _sha256(path) for path in _files(partial)}
        for name, text in (extra or {}).items():
            (partial / name).write_text(text, "utf-8")
        content = asdict(replace(manifest, files=files))
        (partial / MANIFEST).write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False), "utf-8")
        if directory.exists():
            directory.rename(old)
        partial.rename(directory)
    except OSError as error:
        with suppress(OSError):
            if old.exists() and not directory.exists():
                old.rename(directory)
        raise StoreError(f"model folder {directory}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a model folder. Raises `StoreError` that says what is missing or wrong."""
    path = directory / MANIFEST
    if not path.is_file():
        raise StoreError(
            f"model {directory}: found no {MANIFEST}; expected a folder that `hemaloop train` wrote, or {STARTER}cbc"
        )
    try:
        found: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read as JSON ({error}); train again") from error
    if not isinstance(found, dict) or not all(name in found for name in _NEEDED):
        raise StoreError(f"{path}: expected an object with {', '.join(_NEEDED)}; train again")
    known = {field.name for field in fields(Manifest)}
    manifest = Manifest(**{name: value for name, value in found.items() if name in known})
    labels, options = manifest.labels, manifest.options
    if not (isinstance(labels, list) and all(isinstance(label, str) for label in labels) and isinstance(options, dict)):
        raise StoreError(f"{path}: expected a list of names under labels and an object under options; train again")
    if not isinstance(manifest.files, dict):
        raise StoreError(f"{path}: expected an object under files; train again")
    return replace(manifest, labels=tuple(labels), train=tuple(manifest.train), tune=tuple(manifest.tune))


def open_model(name: str, device: str = "auto") -> Opened:
    """A model by the name people type: a folder, or ``starter:cbc`` for weights that a family ships.

    Raises `StoreError` for a folder that is not a model or was changed, `PluginError` for a family or preset that is
    not there.
    """
    if name.startswith(STARTER):
        return _open_starter(name.removeprefix(STARTER), device)
    directory = Path(name)
    manifest = read_manifest(directory)
    for file, expected in manifest.files.items():
        if not (directory / file).is_file() or _sha256(directory / file) != expected:
            raise StoreError(f"model {directory}: {file} is missing or was changed after training; train again")
    plugin = registry.find(manifest.family)(manifest.labels, manifest.options, device, manifest.seed)
    plugin.load(directory)
    return Opened(plugin, manifest.version or directory.name, manifest)


def _open_starter(name: str, device: str) -> Opened:
    family_name, _, preset_name = name.rpartition("/")
    known = []
    for registered in registry.all_registered():
        family = registered.plugin
        if family is None or (family_name and family.family != family_name):
            continue
        for preset_key, preset in family.presets.items():
            if preset.starter is None:
                continue
            known.append(f"{STARTER}{preset_key}")
            if preset_key == preset_name:
                plugin = family(preset.labels, preset.options, device)
                plugin.load(preset.starter)
                return Opened(plugin, f"{family.family}-{preset_key}-starter-{family.version}", None)
    raise PluginNotFound(f"{STARTER}{name}: no family ships such weights; there are: {', '.join(known) or 'none'}")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
