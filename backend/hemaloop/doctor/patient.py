"""What the checks look at: settings, Label Studio, Redis, the artifact store and, where one was named, a project."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from hemaloop import projects
from hemaloop.client import Json, LabelStudio, ProjectInfo
from hemaloop.config import Settings
from hemaloop.labelconfig import LabelConfig, parse_label_config
from hemaloop.projects import LiveModel
from hemaloop.queues import Queues
from hemaloop.store import ArtifactStore


@dataclass
class Patient:
    """Everything is read once, when the first check asks; what cannot be read raises what its reader raises.

    number: of the project, None for checks of the installation alone.
    """

    settings: Settings
    number: int | None = None
    queues: Queues = field(init=False)
    store: ArtifactStore = field(init=False)

    def __post_init__(self) -> None:
        self.queues = Queues(self.settings)
        self.store = ArtifactStore(self.settings.artifacts)

    @cached_property
    def studio(self) -> LabelStudio:
        """Raises `LabelStudioError` for a key that cannot be one."""
        return LabelStudio.from_settings(self.settings)

    @property
    def project(self) -> int:
        """The project's number, for checks that are only asked where there is one."""
        if self.number is None:
            raise ValueError("found no project, expected --project")
        return self.number

    @cached_property
    def info(self) -> ProjectInfo:
        """The project as Label Studio has it."""
        return self.studio.project(self.project)

    @cached_property
    def config(self) -> LabelConfig:
        """Its labelling config."""
        return parse_label_config(self.info.label_config)

    @cached_property
    def backend(self) -> Json | None:
        """Its first backend; Label Studio asks for its health before it answers."""
        return self.studio.backend(self.project)

    @cached_property
    def live(self) -> LiveModel:
        """What serves it now."""
        return projects.live_model(self.info.key, self.config, self.store, self.store.published(self.info.key))

    @property
    def setup(self) -> str:
        """The command that connects or mends the project."""
        return f"hemaloop setup {self.project}"

    def close(self) -> None:
        """Give the connections back."""
        self.queues.close()
        if "studio" in self.__dict__:
            self.studio.close()
