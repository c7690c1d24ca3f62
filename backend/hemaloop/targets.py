"""What a project should serve, published already or not, and the model that a candidate has to beat."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

from hemaloop.labelconfig import Control, LabelConfig
from hemaloop.plugin import Plugin
from hemaloop.projects import LiveModel, compose_version, live_model, load_part
from hemaloop.store import ArtifactStore, Published

TRAINED_ON = "trained_on.json"
"""A list of image keys beside a family's starter weights: these images do not judge it."""


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The model to beat. plugin: None where no model is live. seen: keys of images that it has learned from."""

    version: str
    plugin: Plugin | None
    seen: frozenset[str]


def target(store: ArtifactStore, project: str, config: LabelConfig) -> LiveModel:
    """The model that the promotions ask for; starters, or nothing, where a control has none."""
    return live_model(project, config, store, _promotions(store, project, config.require_bound()))


def the_incumbent(store: ArtifactStore, project: str, control: Control, device: str = "cpu") -> Incumbent:
    """The promoted model of one control, else the starter, else none."""
    alone = LabelConfig("", (control,), {}, "")
    part = target(store, project, alone).parts[control.name]
    if part.directory is None:
        return Incumbent(part.version, None, frozenset())
    if store.has(project, control.name, part.version):
        seen = store.manifest(project, control.name, part.version).seen
    else:
        seen = _seen_by_starter(part.directory)
    return Incumbent(part.version, load_part(part, control, device), seen)


def _seen_by_starter(directory: Path) -> frozenset[str]:
    path = directory / TRAINED_ON
    return frozenset(json.loads(path.read_text())) if path.exists() else frozenset()


def publication_of(model: LiveModel, reason: str) -> Published:
    """The publication that makes a model live."""
    return Published(model.version, {name: part.version for name, part in model.parts.items()}, time.time(), reason)


def made_here(version: str, config: LabelConfig) -> bool:
    """Whether a version's name is one that hemaloop gives to models of this config."""
    families = [re.escape(control.binding.family) for control in config.bound if control.binding is not None]
    if not families:
        return False
    one = rf"(?:{'|'.join(families)})-(?:\d{{4,}}-[0-9a-f]{{6}}|.+-starter-.+|untrained)"
    return re.fullmatch(rf"{one}(?:\+{one})*", version) is not None


def _promotions(store: ArtifactStore, project: str, controls: tuple[Control, ...]) -> Published:
    found = {control.name: store.promoted(project, control.name) for control in controls}
    parts = {name: version for name, version in found.items() if version is not None}
    return Published(compose_version(list(parts.values())), parts)
