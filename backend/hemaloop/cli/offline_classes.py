"""`hemaloop describe`, `train`, `evaluate` and `predict` for families that say a class of a whole image."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.table import Table

from hemaloop import measuring
from hemaloop.class_figures import heat_on, save_figures
from hemaloop.cli.offline_data import require_free, show_findings
from hemaloop.cli.watching import Watch
from hemaloop.errors import DatasetError, ImageError
from hemaloop.evaluation.classification import ClassFigures, ClassificationReport, evaluate_classification
from hemaloop.formats import detect_format
from hemaloop.formats.classes import ClassDataset, ClassExamples, ClassItem, detect_layout, read_classes
from hemaloop.formats.items import load_picture
from hemaloop.manifest import Manifest, finite
from hemaloop.model_folder import Opened, preset_of, write_model
from hemaloop.plugin import Classification, Plugin, Progress, Scored
from hemaloop.store import MANIFEST
from hemaloop.subjects import kept_back, part, require_no_leak

if TYPE_CHECKING:
    from hemaloop.cli.offline_training import Order

SUBJECTS = "subjects.json"
"""In a model folder: the subjects that it was trained or tuned on."""
_PATIENCE = 2.0
"""Seconds of reading before anything is said of it."""


def train(order: Order, family: type[Plugin]) -> ClassificationReport:
    """Train, measure on the images kept back, and write the model folder; no subject is on both sides."""
    console = Console()
    preset = preset_of(family, order.preset) if order.preset else None
    options = {**(preset.options if preset else {}), **(order.options or {})}
    require_free(order.out, MANIFEST, overwrite=order.overwrite)
    family.parse_options(options)  # before the data are read: a wrong option is told at once
    dataset = _load(order.data, order.images, order.renamed or {})
    labels = order.labels or (preset.labels if preset else dataset.labels)
    _say_what_is_wrong(console, dataset, labels)
    items = _of_labels(dataset, labels)
    if order.test:
        items = part(items, order.test, testing=False)
    learned, back = kept_back(items, order.tune)
    require_no_leak({"training": learned, "tuning": back})
    console.print(f"{len(learned)} images to learn from, {len(back)} kept back to tune and check", highlight=False)
    plugin = family(labels, options, order.device, order.seed)
    with Watch("training") as watch:
        report = plugin.fit(ClassExamples(learned, labels), ClassExamples(back, labels), watch)
    with Watch("checking") as watch:
        figures = measure(plugin, back, watch)
    console.print(f"{len(report.epochs)} epochs in {report.seconds / 60:.1f} minutes", highlight=False)
    names = {item.key: item.path.name for item in items}
    for note in report.notes:
        for key, name in names.items():  # a family knows images by their content only
            note = note.replace(key, name)
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    show(console, "the new model, whose epochs they chose,", figures)
    keys = tuple(item.key for item in learned), tuple(item.key for item in back)
    manifest = Manifest.of_fit(plugin, report, train=keys[0], tune=keys[1], figures=finite(figures.figures()))
    fit = {"fit": dict(report.figures), "epochs": [dict(one) for one in report.epochs]}
    subjects = json.dumps(sorted({item.subject for item in items if item.subject is not None}))
    files = {"figures.json": json.dumps({"tune": figures.as_json(), **fit}, indent=1), SUBJECTS: subjects}
    write_model(order.out, plugin, manifest, files)
    console.print(f"model: {order.out}", markup=False, highlight=False)
    return figures


def evaluate(
    opened: Opened, model: str, data: Path, out: Path, *, images: Path | None, renamed: Mapping[str, str], test: float
) -> ClassificationReport:
    """Measure a model; on the screen, as evaluation.json, roc.png, reliability.png and confusion.png in `out`."""
    console = Console()
    dataset = _load(data, images, renamed)
    labels = opened.plugin.labels
    _say_what_is_wrong(console, dataset, labels)
    items = _of_labels(dataset, labels)
    if test:
        items = part(items, test, testing=True)
        if not items:
            raise DatasetError(f"--test {test:g}: leaves none of {len(dataset)} images of {data} to test on")
    flattering = _seen(opened, Path(model), items)
    if flattering:
        console.print(flattering, style="yellow", highlight=False)
    with Watch("evaluating") as watch:
        report = measure(opened.plugin, items, watch)
    show(console, opened.name, report)
    out.mkdir(parents=True, exist_ok=True)
    content = {"model": opened.name, "data": str(data), "warning": flattering, **report.as_json()}
    (out / "evaluation.json").write_text(json.dumps(content, indent=1, allow_nan=False), "utf-8")
    save_figures(report, out)
    console.print(f"figures and curves: {out}", markup=False, highlight=False)
    return report


def holds_classes(data: Path) -> bool:
    """Whether a path holds images with a class each, and no boxes."""
    try:
        detect_format(data)
    except DatasetError:
        pass
    else:
        return False
    try:
        detect_layout(data)
    except DatasetError:
        return False
    return True


def describe(data: Path, out: Path, *, renamed: Mapping[str, str]) -> ClassDataset:
    """Describe a data set of classes on the screen, and as description.json in `out`."""
    console = Console()
    dataset = _load(data, None, renamed)
    _say_what_is_wrong(console, dataset, dataset.labels)
    table = Table("class", "images", "subjects")
    whose = {label: {item.subject for item in dataset.items if item.label == label} for label in dataset.labels}
    rows = [(label, count, len(whose[label] - {None})) for label, count in dataset.counts().items()]
    for label, count, subjects in rows:
        table.add_row(label, f"{count:,}", f"{subjects:,}" if subjects else "-")
    console.print(table)
    content = {
        "path": str(data),
        "format": dataset.format,
        "images": len(dataset),
        "classes": {label: {"images": count, "subjects": subjects} for label, count, subjects in rows},
        "contradictions": dataset.contradictions(),
        "faults": [str(fault) for fault in dataset.faults],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "description.json").write_text(json.dumps(content, indent=1), "utf-8")
    console.print(f"findings: {out}", markup=False, highlight=False)
    return dataset


def measure(plugin: Plugin, items: Sequence[ClassItem], progress: Progress) -> ClassificationReport:
    """Every figure of a plugin on these items."""
    examples = ClassExamples(items, plugin.labels)
    found = cast("list[Classification]", measuring.predict(plugin, examples, progress, "images"))
    return evaluate_classification(examples.truths(), found, plugin.labels)


def show(console: Console, name: str, report: ClassificationReport) -> None:
    """A line a class and the weighted means, as in table 1 of Liu and Long (2019)."""
    table = Table(title=f"{name} on {report.images} images", title_justify="left")
    for column in ("class", "precision", "recall (sensitivity)", "F1", "specificity", "area under ROC", "images"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for label, one in report.classes.items():
        table.add_row(label, *_row(one))
    table.add_section()
    table.add_row("weighted by images", *_row(report.weighted))
    console.print(table)
    console.print(f"accuracy {report.accuracy:.3f}, expected calibration error {report.reliability.error:.3f}")


def _row(one: ClassFigures) -> list[str]:
    figures = (one.precision, one.recall, one.f1, one.specificity, one.auc)
    return [*("-" if math.isnan(value) else f"{value:.3f}" for value in figures), f"{one.support:,}"]


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What a model says of one file. file: as the person named it."""

    file: str
    scored: Scored

    def shares(self, labels: Sequence[str]) -> dict[str, float]:
        """Probability of each class."""
        prediction = cast("Classification", self.scored.prediction)
        return {label: float(share) for label, share in zip(labels, prediction.probabilities, strict=True)}

    def row(self, labels: Sequence[str]) -> dict[str, Any]:
        """Its line in a table: label, probability, relevance, why to look again, and the probability of each class."""
        shares = self.shares(labels)
        label = max(shares, key=lambda one: shares[one])
        return {
            "file": self.file,
            "label": label,
            "probability": round(shares[label], 4),
            "relevance": round(self.scored.relevance, 6),
            "review": "; ".join(mark.reason for mark in self.scored.review),
            **{f"p({name})": round(share, 4) for name, share in shares.items()},
        }


def predict(opened: Opened, files: Sequence[tuple[str, Path]], out: Path, *, explain: bool) -> list[Said]:
    """Say the class of each image: classes.csv, predictions.json and, if asked, heat maps in explanations/.

    Raises `DatasetError` where no image can be read.
    """
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    faults: dict[str, str] = {}
    said: list[Said] = []
    with Watch("looking at cells") as watch:
        for done, (name, path) in enumerate(files):
            watch.report(done, len(files), "images")
            try:
                pixels = load_picture(path).pixels
            except ImageError as error:
                faults[name] = str(error)
                continue
            said.append(Said(name, opened.plugin.score([pixels])[0]))
            if explain:
                target = (out / "explanations" / name).with_suffix(".png")
                target.parent.mkdir(parents=True, exist_ok=True)
                heat_on(pixels, opened.plugin.explain(pixels)).save(target)
        watch.report(len(files), len(files), "images")
    show_findings(console, {"images without a result": list(faults.values())} if faults else {})
    if not said:
        raise DatasetError(f"none of {len(files)} images can be read")
    _write(out, opened, said, faults)
    _show_said(console, opened.plugin.labels, said)
    console.print(f"results: {out}", markup=False, highlight=False)
    return said


def _write(out: Path, opened: Opened, said: Sequence[Said], faults: Mapping[str, str]) -> None:
    labels = opened.plugin.labels
    rows = [one.row(labels) for one in said]
    with (out / "classes.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    images = [
        {**row, "parts": {name: round(value, 6) for name, value in one.scored.parts.items()}}
        for row, one in zip(rows, said, strict=True)
    ]
    content = {"model": opened.name, "labels": list(labels), "images": images, "faults": dict(faults)}
    (out / "predictions.json").write_text(json.dumps(content, indent=1, allow_nan=False), "utf-8")


def _show_said(console: Console, labels: Sequence[str], said: Sequence[Said]) -> None:
    table = Table("image", "class", "probability", "to look at")
    rows = [one.row(labels) for one in said]
    for row in rows[:20]:
        table.add_row(row["file"], row["label"], f"{row['probability']:.0%}", row["review"])
    if len(rows) > 20:
        table.add_row(f"… and {len(rows) - 20} more", "", "", "")
    table.add_section()
    counts = ", ".join(f"{label} {sum(row['label'] == label for row in rows)}" for label in labels)
    table.add_row(f"all {len(rows)}", counts, "", str(sum(bool(row["review"]) for row in rows)))
    console.print(table)


def _load(data: Path, images: Path | None, renamed: Mapping[str, str]) -> ClassDataset:
    with Watch("reading", patience=_PATIENCE) as watch:
        dataset = read_classes(data, watch, images)
    unknown = [name for name in renamed if name not in dataset.labels]
    if unknown:
        raise DatasetError(
            f"--map: {data} has no class {', '.join(map(repr, unknown))}; its classes are {', '.join(dataset.labels)}"
        )
    items = tuple(replace(item, label=renamed.get(item.label, item.label)) for item in dataset.items)
    labels = tuple(dict.fromkeys(renamed.get(label, label) for label in dataset.labels))
    return replace(dataset, labels=labels, items=items)


def _of_labels(dataset: ClassDataset, labels: Sequence[str]) -> list[ClassItem]:
    """Items of these classes, each picture once. Raises `DatasetError` where there is none."""
    items = {item.key: item for item in dataset.items if item.label in labels}
    if not items:
        own = ", ".join(f"{label} ({count})" for label, count in dataset.counts().items()) or "none"
        raise DatasetError(
            f"data set {dataset.path}: no image of {', '.join(labels)}; its classes: {own}. Rename with --map FROM=TO"
        )
    return list(items.values())


def _say_what_is_wrong(console: Console, dataset: ClassDataset, labels: Sequence[str]) -> None:
    counts = dataset.counts()
    findings = {
        "faults in the files": [str(fault) for fault in dataset.faults],
        "pictures that are there under several classes; the last counts": dataset.contradictions(),
        "classes of the model without an example": [label for label in labels if not counts[label]],
        "classes of the data that are not looked at": [
            f"{label}: {count} images" for label, count in counts.items() if label not in labels and count
        ],
    }
    show_findings(console, {kind: lines for kind, lines in findings.items() if lines})
    known = f"{len(dataset.subjects)} subjects" if dataset.subjects else "no subject is named: splits are by image"
    console.print(f"{dataset.path}: {dataset.format}, {len(dataset)} images, {known}", markup=False, highlight=False)


def _seen(opened: Opened, model: Path, items: Sequence[ClassItem]) -> str:
    """Why the figures flatter a model: it has learned from some of the images, or from others of their subjects."""
    known = opened.manifest.seen if opened.manifest else frozenset()
    images = sum(item.key in known for item in items)
    path = model / SUBJECTS
    subjects = set(json.loads(path.read_text("utf-8"))) if path.is_file() else set()
    theirs = sorted({item.subject for item in items if item.subject is not None} & subjects)
    told = []
    if images:
        told.append(f"{images} of {len(items)} images were used to train this model")
    if theirs:
        told.append(f"it has learned from other images of {len(theirs)} of these subjects ({', '.join(theirs[:10])})")
    return f"{'; '.join(told)}: the figures flatter it" if told else ""
