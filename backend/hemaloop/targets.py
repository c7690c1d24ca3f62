"""What a project should serve: the promoted version of each control, whether or not it is published already."""

from __future__ import annotations

import re
import time

from hemaloop.labelconfig import Control, LabelConfig
from hemaloop.projects import LiveModel, Part, compose_version, live_model
from hemaloop.store import ArtifactStore, Published


class _As(ArtifactStore):
    """A store that answers with another publication than the one in force."""

    def __init__(self, store: ArtifactStore, published: Published) -> None:
        self.__dict__.update(store.__dict__)
        self._shown = published

    def published(self, project: str) -> Published | None:  # noqa: ARG002 - the store's signature
        return self._shown


def target(store: ArtifactStore, project: str, config: LabelConfig) -> LiveModel:
    """The model that the promotions ask for; starters, or nothing, where a control has none."""
    return model_of(store, project, config, _promotions(store, project, config.require_bound()))


def target_part(store: ArtifactStore, project: str, control: Control) -> Part:
    """The part of one control in `target`: the model that a candidate has to beat."""
    alone = LabelConfig("", (control,), {}, "")
    return model_of(store, project, alone, _promotions(store, project, (control,))).parts[control.name]


def model_of(store: ArtifactStore, project: str, config: LabelConfig, published: Published) -> LiveModel:
    """The model of a publication that may not be in force."""
    parts = live_model(project, config, _As(store, published)).parts
    return LiveModel(compose_version([part.version for part in parts.values()]), parts)


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
    return Published("", {name: version for name, version in found.items() if version is not None})
