"""What the offline commands share: reading a data set, saying what is wrong with it, and asking a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from hemaloop.cli.watching import Watch
from hemaloop.dataset import split_of
from hemaloop.errors import DatasetError, PluginError
from hemaloop.formats import Dataset, PointRules, read_dataset
from hemaloop.plugin import Classification, ClassMap, Detections, Plugin

_SHOWN = 20
"""Lines of one kind of finding on the screen; files hold all of them."""
_PATIENCE = 2.0
"""Seconds of reading before anything is said of it."""


def load(data: Path, images: Path | None, renamed: Mapping[str, str], rules: PointRules | None = None) -> Dataset:
    """A data set with classes renamed. Raises `DatasetError` for a class to rename that it does not have, `Cancelled`.

    rules: how points become boxes, where it has points.
    """
    with Watch("reading", patience=_PATIENCE) as watch:
        dataset = read_dataset(data, images, rules=rules, progress=watch)
    unknown = [name for name in renamed if name not in dataset.labels]
    if unknown:
        raise DatasetError(
            f"--map: {data} has no class {', '.join(map(repr, unknown))}; its classes are {', '.join(dataset.labels)}"
        )
    labels = tuple(dict.fromkeys(renamed.get(label, label) for label in dataset.labels))
    items = tuple(replace(item, names=tuple(renamed.get(name, name) for name in item.names)) for item in dataset.items)
    return replace(dataset, labels=labels, items=items)


def for_testing(dataset: Dataset, share: float) -> Dataset:
    """The images that test for ever, by the hash of their content; all of them where the share is 0.

    Raises `DatasetError` where none is left.
    """
    return _part(dataset, share, testing=True) if share else dataset


def for_learning(dataset: Dataset, share: float) -> Dataset:
    """The images that `for_testing` does not hold; all of them where the share is 0.

    Raises `DatasetError` where none is left.
    """
    return _part(dataset, share, testing=False) if share else dataset


def _part(dataset: Dataset, share: float, *, testing: bool) -> Dataset:
    items = tuple(item for item in dataset.items if (split_of(item.key, gate=share) == "gate") == testing)
    if not items:
        side = "to test on" if testing else "to learn from"
        raise DatasetError(f"--test {share:g}: leaves none of {len(dataset)} images of {dataset.path} {side}")
    return replace(dataset, items=items)


def require_detections(family: type[Plugin]) -> None:
    """Raises `PluginError` for a family whose predictions are not boxes."""
    if family.produces is not Detections:
        raise PluginError(
            f"model family {family.family!r} gives {family.produces.__name__}; this command needs one that gives boxes"
        )


def require_regions(family: type[Plugin]) -> None:
    """Raises `PluginError` for a family whose predictions are neither boxes nor masks."""
    if family.produces is Classification:
        raise PluginError(
            f"model family {family.family!r} gives Classification; this command needs one that gives boxes or masks"
        )


def require_masks(family: type[Plugin], dataset: Dataset) -> None:
    """Raises `DatasetError` where a family gives masks and an image has boxes only."""
    bare = [item.path.name for item in dataset.items if item.mask is None]
    if family.produces is ClassMap and bare:
        raise DatasetError(
            f"data set {dataset.path} ({dataset.format}): {len(bare)} image(s) have boxes but no mask, such as "
            f"{bare[0]}; model family {family.family!r} learns from masks: a folder with images/ and masks/*.png, or "
            "Label Studio's export of a project with brush labels"
        )


def require_labels(dataset: Dataset, labels: Sequence[str]) -> Counter[str]:
    """Boxes of each of these classes. Raises `DatasetError` where there is no image, or no box of any of them."""
    if not len(dataset):
        raise DatasetError(f"data set {dataset.path}: no usable image; {len(dataset.faults)} fault(s), see above")
    counts = dataset.counts()
    if not any(counts[label] for label in labels):
        own = ", ".join(f"{label} ({counts[label]})" for label in dataset.labels) or "none"
        raise DatasetError(
            f"data set {dataset.path}: no box of {', '.join(labels)}; its classes: {own}. Rename with --map FROM=TO"
        )
    return Counter({label: counts[label] for label in labels})


def show_notes(console: Console, dataset: Dataset) -> None:
    """How its boxes came about, where that is not a matter of course."""
    for note in dataset.notes():
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def show_findings(console: Console, findings: Mapping[str, Sequence[str]]) -> None:
    """Findings by kind, the first of each."""
    for kind, lines in findings.items():
        console.print(f"{len(lines)} × {kind}:", style="yellow", markup=False)
        for line in lines[:_SHOWN]:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
        if len(lines) > _SHOWN:
            console.print(f"  … and {len(lines) - _SHOWN} more")


def require_free(folder: Path, name: str, *, overwrite: bool) -> None:
    """Raises `DatasetError` where a folder holds something that may not be replaced.

    name: file by which a folder of the same kind is known; another kind is never replaced.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or not (folder / name).is_file():
        raise DatasetError(f"--out {folder}: exists and is not a model; name another folder")
    if not overwrite:
        raise DatasetError(f"--out {folder}: holds a model already; name another folder, or add --overwrite")
