"""Where a project stands: what is labelled, how good its models are, and how far the end of labelling is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hemaloop import dataset, policy, registry
from hemaloop.binding import Binding
from hemaloop.client import LabelStudio, ProjectInfo
from hemaloop.config import Settings
from hemaloop.dataset import Examples, Loader, Splits
from hemaloop.errors import DatasetError
from hemaloop.labelconfig import Control, parse_label_config
from hemaloop.marked import marked
from hemaloop.plugin import Progress
from hemaloop.pool import listed
from hemaloop.stopping import FIGURES, Outlook, Performance, Uncertainty, measure, outlook
from hemaloop.store import ArtifactStore
from hemaloop.targets import the_incumbent


@dataclass(frozen=True, slots=True)
class ControlStatus:
    """One bound control. version: of the model to beat. unclear: why there is no outlook, empty where there is one."""

    name: str
    version: str
    uncertainty: Uncertainty
    performance: Performance
    outlook: Outlook | None
    unclear: str

    @property
    def can_stop(self) -> bool:
        """Whether one of the project's wishes is fulfilled."""
        return self.uncertainty.reached or self.performance.reached


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """A project. published: the version that annotators see, None where nothing was published yet."""

    info: ProjectInfo
    annotated: int
    tasks: int
    published: str | None
    controls: tuple[ControlStatus, ...]


def status_of(
    settings: Settings, store: ArtifactStore, studio: LabelStudio, images: Loader, number: int, progress: Progress
) -> ProjectStatus:
    """Look at a project. Opens its annotated images and runs the model on those of the gate, which takes a while.

    Raises `LabelConfigError` where no control is bound.
    """
    info = studio.project(number)
    bound = [(control, control.binding) for control in parse_label_config(info.label_config).require_bound()]
    annotated = {task["id"]: task["annotated"] for task in listed(studio, number)}
    waiting = tuple(task for task, done in annotated.items() if not done)
    tasks = tuple(studio.tasks(number, only="annotated"))
    look = _Look(settings, store, images, info.key, tasks, waiting, progress)
    controls = tuple(look.at(control, binding) for control, binding in bound if binding is not None)
    published = store.published(info.key)
    return ProjectStatus(
        info, sum(annotated.values()), len(annotated), published.version if published else None, controls
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """A project being looked at. tasks: annotated ones, with their annotations. waiting: ids of the others."""

    settings: Settings
    store: ArtifactStore
    images: Loader
    project: str
    tasks: tuple[Mapping[str, Any], ...]
    waiting: tuple[int, ...]
    progress: Progress

    def at(self, control: Control, binding: Binding) -> ControlStatus:
        """One bound control."""
        family = registry.find(binding.family)
        figure = binding.stop_figure or FIGURES[family.produces]
        published = self.store.published(self.project)
        looked = marked(self.store, self.project, published.version if published else "", control, self.waiting)
        splits = self._splits(control, family.version)
        incumbent = the_incumbent(self.store, self.project, control, self.settings.device)
        gate = (splits.gate if splits else Examples((), self.images, self.project)).without(incumbent.seen)
        self.progress.report(0, 1, f"measuring {incumbent.version} on {len(gate)} gate images")
        performance = measure(incumbent.plugin, gate, figure, binding.stop_performance)
        self.progress.report(1, 1, f"measured {incumbent.version}")
        uncertainty = Uncertainty(len(self.waiting), looked, binding.stop_uncertain_cells)
        ahead, unclear = self._ahead(control, binding, figure, splits)
        return ControlStatus(control.name, incumbent.version, uncertainty, performance, ahead, unclear)

    def _splits(self, control: Control, family_version: str) -> Splits | None:
        """What is labelled; None where it is nothing that could be learned from."""
        found = dataset.survey(self.tasks, control, family_version)
        shares = {"gate": self.settings.gate_fraction, "tune": self.settings.tune_fraction}
        try:
            return dataset.load(found, control, self.images, self.project, **shares, progress=self.progress)
        except DatasetError:
            return None

    def _ahead(
        self, control: Control, binding: Binding, figure: str, splits: Splits | None
    ) -> tuple[Outlook | None, str]:
        """What the next batch should bring, or why that cannot be said."""
        labelled = len(splits.train) + len(splits.tune) if splits else 0
        annotations = binding.min_new_annotations or self.settings.train_min_new_annotations
        batch = annotations * (1 - self.settings.gate_fraction)  # the gate's share of what people label teaches nothing
        trained = policy.latest(self.store, self.project, control.name)
        try:
            return outlook(trained, figure, labelled, batch, binding.stop_performance), ""
        except DatasetError as error:
            return None, str(error)
