"""A project's labelling config bound to model families: which plugin each control gets and which version is live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hemaloop import integrity, registry
from hemaloop.errors import LabelConfigError, PluginError, StoreError
from hemaloop.labelconfig import Binding, Control, LabelConfig
from hemaloop.plugin import Plugin, Preset
from hemaloop.results import KIND_OF

if TYPE_CHECKING:
    from hemaloop.store import ArtifactStore, Published


@dataclass(frozen=True, slots=True)
class Part:
    """The live model of one control.

    directory: what `Plugin.load` reads, or None where nothing has been trained. labels: of the plugin, in its order; a
    starter may know more than the control has. options: what a stored artifact was trained with, empty otherwise.
    files: sha256 of a stored artifact's files by name.
    """

    control: str
    version: str
    directory: Path | None
    labels: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LiveModel:
    """What serves a project now: its version, and a part for each bound control in the config's order."""

    version: str
    parts: Mapping[str, Part]

    @property
    def ready(self) -> bool:
        """Whether every part has weights."""
        return all(part.directory is not None for part in self.parts.values())

    @property
    def blank(self) -> bool:
        """Whether no part has weights: nothing was trained yet, and no starter fits the labels."""
        return all(part.directory is None for part in self.parts.values())


def compose_version(versions: Sequence[str]) -> str:
    """The version of a project whose controls have these: joined by ``+``, in the order of the config."""
    return "+".join(versions)


def build_plugin(control: Control, device: str = "cpu", seed: int = 0, labels: Sequence[str] | None = None) -> Plugin:
    """The plugin that a control binds, without weights: the preset's options, then those of the control's attributes.

    labels: the control's model labels if not given.
    Raises `LabelConfigError` for an unbound control, an unknown preset or a family of another kind, `PluginNotFound`,
    and `OptionError` that lists every wrong option.
    """
    family, binding, preset = _resolve(control)
    options = {**(preset.options if preset else {}), **binding.options}
    return family(labels=tuple(labels or control.model_labels), options=options, device=device, seed=seed)


def load_part(part: Part, control: Control, device: str = "cpu", seed: int = 0) -> Plugin:
    """The plugin of a part, loaded where it has weights.

    Options of the control count at once where the stored weights allow it (a threshold); those that ask for another
    architecture wait for the next training, until then the options of the last one are in force.
    Raises `StoreError` where the weights fit neither, or a file is not what was stored.
    """
    plugin = build_plugin(control, device, seed, part.labels)
    if part.directory is None:
        return plugin
    damaged = integrity.damaged_files(part.directory, part.files)
    if damaged:
        raise StoreError(f"model {part.version}: {', '.join(damaged)} in {part.directory} is not what was stored")
    try:
        plugin.load(part.directory)
    except StoreError:
        if not part.options:
            raise
        plugin = type(plugin)(labels=part.labels, options=part.options, device=device, seed=seed)
        plugin.load(part.directory)
    return plugin


def live_model(
    project_key: str, label_config: LabelConfig, store: ArtifactStore, published: Published | None
) -> LiveModel:
    """What serves a project under a publication: what it names, else each family's starter, else nothing trained yet.

    published: the one in force (`ArtifactStore.published`), or another, to know what it would serve.
    Raises `LabelConfigError` or `PluginError` for a binding that cannot be served, `StoreError` for a published
    version that the store does not hold.
    """
    parts = {control.name: _part(project_key, control, published, store) for control in label_config.require_bound()}
    versions = {name: part.version for name, part in parts.items()}
    if published is not None and versions == dict(published.parts):
        return LiveModel(published.version, parts)
    return LiveModel(compose_version(list(versions.values())), parts)


def starter_part(control: Control) -> Part:
    """The part of a control before its first training: the preset's starter if it knows every label, else nothing."""
    family, binding, preset = _resolve(control)
    if preset is None or preset.starter is None or not binding.starter or _unknown_to(control, preset):
        return Part(control.name, f"{family.family}-untrained", None, control.model_labels)
    version = f"{family.family}-{binding.preset}-starter-{family.version}"
    return Part(control.name, version, preset.starter, preset.labels)


def faults(label_config: LabelConfig) -> list[str]:
    """Why the bound controls of a config cannot be served, one sentence each; empty where they can."""
    found = []
    for control in label_config.bound:
        try:
            build_plugin(control)
        except (LabelConfigError, PluginError) as error:
            found.append(str(error))
    return found


def notes(label_config: LabelConfig) -> list[str]:
    """What a manager should know of a config that can be served: labels without a counterpart, labels left out."""
    found = []
    for control in label_config.bound:
        try:
            _, binding, preset = _resolve(control)
        except (LabelConfigError, PluginError):
            continue
        left_out = [label for label in control.labels if label not in (*control.label_map, *control.ignored)]
        if left_out:
            found.append(f"control {control.name!r}: the model does not learn {_list(left_out)} (model_label is empty)")
        unknown = _unknown_to(control, preset) if preset else ()
        if preset is not None and unknown and binding.starter:
            found.append(
                f"control {control.name!r}: {_list(unknown)} has no counterpart among the labels of preset "
                f"{binding.preset!r} ({_list(preset.labels)}), so nothing is shown before the first training; if a "
                'label means one of these, write <Label value="Red cell" model_label="RBC"/>; model_label="" leaves '
                "it out"
            )
    return found


def _part(project_key: str, control: Control, published: Published | None, store: ArtifactStore) -> Part:
    starter = starter_part(control)
    version = published.parts.get(control.name) if published else None
    if version is None or not _is_artifact(version, control):
        return starter
    manifest = store.manifest(project_key, control.name, version)
    if not set(manifest.labels) & set(control.model_labels):
        return starter
    directory = store.directory(project_key, control.name, version)
    return Part(control.name, version, directory, tuple(manifest.labels), dict(manifest.options), manifest.files)


def _is_artifact(version: str, control: Control) -> bool:
    """Whether a published version is a trained one of the family that the control is bound to now."""
    family = control.binding.family if control.binding else ""
    prefix, _, rest = version.partition(f"{family}-")
    return not prefix and rest[:1].isdigit()


def _resolve(control: Control) -> tuple[type[Plugin], Binding, Preset | None]:
    binding = control.binding
    if binding is None:
        raise LabelConfigError(f"control {control.name!r}: not bound to a model; add model_family to its tag")
    family = registry.find(binding.family)
    kind = KIND_OF[family.produces]
    if kind != control.kind:
        raise LabelConfigError(
            f"control {control.name!r}: holds {control.kind}, but model family {binding.family!r} gives {kind}; "
            "bind it to a tag of that kind"
        )
    if binding.preset is None:
        return family, binding, None
    if binding.preset not in family.presets:
        known = ", ".join(map(repr, family.presets)) or "none"
        raise LabelConfigError(
            f"control {control.name!r}: model_preset={binding.preset!r} is unknown to family {binding.family!r}; "
            f"presets: {known}"
        )
    return family, binding, family.presets[binding.preset]


def _unknown_to(control: Control, preset: Preset) -> tuple[str, ...]:
    """Labels that people see whose model label the preset does not know."""
    return tuple(shown for shown, known in control.label_map.items() if known not in preset.labels)


def _list(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
