"""`hemaloop train`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hemaloop import registry
from hemaloop.cli import offline_classes
from hemaloop.cli.offline_data import (
    for_learning,
    load,
    require_free,
    require_labels,
    require_masks,
    require_regions,
    show_findings,
    show_notes,
)
from hemaloop.cli.offline_evaluation import Report, as_json, measure, show
from hemaloop.cli.watching import Watch
from hemaloop.describe import suspects
from hemaloop.errors import DatasetError
from hemaloop.evaluation.classification import ClassificationReport
from hemaloop.formats import Dataset, Item, PointRules
from hemaloop.formats.items import Examples
from hemaloop.manifest import Manifest, finite
from hemaloop.model_folder import preset_of, write_model
from hemaloop.plugin import Classification, ClassMap, FitReport
from hemaloop.store import MANIFEST


@dataclass(frozen=True, slots=True)
class Order:
    """What to train, as it was asked for.

    tune: share of the images kept back to tune. test: share that is not looked at, as `for_learning` has it. labels:
    None for the preset's or all. rules: how points become boxes.
    """

    data: Path
    out: Path
    family: str
    preset: str | None = None
    options: Mapping[str, str] | None = None
    labels: tuple[str, ...] | None = None
    images: Path | None = None
    renamed: Mapping[str, str] | None = None
    seed: int = 0
    tune: float = 0.15
    test: float = 0.0
    rules: PointRules | None = None
    device: str = "auto"
    overwrite: bool = False


def run(order: Order) -> Report | ClassificationReport:
    """Train, measure on the images kept back, and write the model folder.

    Raises `DatasetError` where nothing can be learned, `OptionError`, `TrainingDiverged`, `Cancelled`; then nothing is
    written.
    """
    console = Console()
    family = registry.find(order.family)
    if family.produces is Classification:
        return offline_classes.train(order, family)
    require_regions(family)
    preset = preset_of(family, order.preset) if order.preset else None
    options = {**(preset.options if preset else {}), **(order.options or {})}
    require_free(order.out, MANIFEST, overwrite=order.overwrite)
    family.parse_options(options)  # before the data are read: a wrong option is told at once
    dataset = for_learning(load(order.data, order.images, order.renamed or {}, order.rules), order.test)
    require_masks(family, dataset)
    labels = order.labels or (preset.labels if preset else tuple(label for label, n in dataset.counts().items() if n))
    show_notes(console, dataset)
    _say_what_is_wrong(console, dataset, labels, family.produces is not ClassMap)
    require_labels(dataset, labels or dataset.labels)
    train, tune = split(dataset.items, order.tune)
    console.print(f"{len(train)} images to learn from, {len(tune)} kept back to tune and check", highlight=False)
    plugin = family(labels, options, order.device, order.seed)
    with Watch("training") as watch:
        report = plugin.fit(Examples(train, labels, family.produces), Examples(tune, labels, family.produces), watch)
    with Watch("checking") as watch:
        figures = measure(plugin, tune, watch)
    _show_fit(console, report, dataset.items)
    show(console, "the new model, whose thresholds they chose,", figures)
    manifest = Manifest.of_fit(plugin, report, train=_keys(train), tune=_keys(tune), figures=finite(figures.figures()))
    write_model(order.out, plugin, manifest, _files(report, figures))
    console.print(f"model: {order.out}", markup=False, highlight=False)
    return figures


def split(items: Sequence[Item], share: float) -> tuple[list[Item], list[Item]]:
    """Items to learn from, and items kept back, chosen by the hash of their content.

    The same picture is always on the same side, whatever else is in the data set; both sides get at least one.
    Raises `DatasetError` for fewer than two different images.
    """
    keys = sorted(set(_keys(items)))
    if len(keys) < 2:
        raise DatasetError(
            f"found {len(items)} usable image(s), expected at least two different ones, because one is kept back"
        )
    kept_back = {key for key in keys if int(key[:8], 16) < share * 2**32} or {keys[0]}
    if len(kept_back) == len(keys):
        kept_back.remove(keys[-1])
    return [item for item in items if item.key not in kept_back], [item for item in items if item.key in kept_back]


def _keys(items: Iterable[Item]) -> tuple[str, ...]:
    return tuple(item.key for item in items)


def _say_what_is_wrong(console: Console, dataset: Dataset, labels: Sequence[str], boxes: bool) -> None:
    counts = dataset.counts()
    findings = {
        "images that look unlabelled; label them or take them out, or their cells may be learned as background": [
            str(suspect) for suspect in (suspects(dataset) if boxes else ())
        ],
        "faults in the files": [str(fault) for fault in dataset.faults],
        "classes of the model without an example": [label for label in labels if not counts[label]],
        "classes of the data that the model does not learn": [
            f"{label}: {count} regions" for label, count in counts.items() if label not in labels and count
        ],
        "the very same file more than once": [" = ".join(p.name for p in group) for group in dataset.duplicates()],
    }
    show_findings(console, {kind: lines for kind, lines in findings.items() if lines})


def _show_fit(console: Console, report: FitReport, items: Sequence[Item]) -> None:
    names = {item.key: item.path.name for item in items}
    minutes = report.seconds / 60
    console.print(f"{len(report.epochs)} epochs in {minutes:.1f} minutes", highlight=False)
    if report.epochs:
        last = ", ".join(f"{name} {value:.4g}" for name, value in report.epochs[-1].items())
        console.print(f"last epoch: {last}", markup=False, highlight=False, soft_wrap=True)
    for note in report.notes:
        for key, name in names.items():  # a family knows images by their content only
            note = note.replace(key, name)
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _files(report: FitReport, figures: Report) -> dict[str, str]:
    content = {"tune": as_json(figures), "fit": dict(report.figures), "epochs": [dict(one) for one in report.epochs]}
    return {"figures.json": json.dumps(content, indent=1)}
