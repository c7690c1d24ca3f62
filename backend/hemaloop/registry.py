"""Model families by name, from entry points; one that fails to import disables only itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from hemaloop.errors import PluginNotFound
from hemaloop.plugin import Plugin

GROUP = "hemaloop.plugins"


@dataclass(frozen=True, slots=True)
class Registered:
    """One entry point: the family's name, where it comes from, and the class or the reason why there is none."""

    name: str
    source: str
    plugin: type[Plugin] | None
    fault: str | None


@cache
def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


@cache
def look_up(name: str) -> Registered:
    """The family of that name, imported on first use. Raises `PluginNotFound` where nothing is registered."""
    entry = _entries().get(name)
    if entry is None:
        known = ", ".join(sorted(_entries())) or "none"
        raise PluginNotFound(f"model family {name!r}: none of that name is installed; installed: {known}")
    source = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
    try:
        loaded = entry.load()
    except Exception as error:  # noqa: BLE001 - foreign code: whatever it raises disables this family alone
        return Registered(name, source, None, f"importing {entry.value} failed: {type(error).__name__}: {error}")
    if not (isinstance(loaded, type) and issubclass(loaded, Plugin)):
        return Registered(name, source, None, f"{entry.value} is {loaded!r}, expected a class derived from Plugin")
    if getattr(loaded, "family", None) != name:
        found = getattr(loaded, "family", None)
        return Registered(name, source, None, f"{entry.value} calls itself {found!r}, its entry point {name!r}")
    return Registered(name, source, loaded, None)


def find(name: str) -> type[Plugin]:
    """The class of a family. Raises `PluginNotFound` that says why there is none."""
    registered = look_up(name)
    if registered.plugin is None:
        raise PluginNotFound(f"model family {name!r} from {registered.source}: {registered.fault}")
    return registered.plugin


def all_registered() -> list[Registered]:
    """Every family with its faults, by name."""
    return [look_up(name) for name in sorted(_entries())]
