"""`hemaloop predict`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hemaloop.cli import offline_classes
from hemaloop.cli.offline_data import require_regions, show_findings
from hemaloop.cli.watching import Watch
from hemaloop.detection_files import Found, write_boxes_csv, write_counts_csv, write_json, write_picture
from hemaloop.errors import DatasetError, ImageError, PluginError
from hemaloop.formats.items import IMAGE_SUFFIXES, load_picture
from hemaloop.images import LoadedImage
from hemaloop.map_files import (
    FoundMap,
    write_cells_csv,
    write_images_csv,
    write_map_json,
    write_map_picture,
    write_mask,
)
from hemaloop.measuring import BATCH, boxes_of, maps_of
from hemaloop.model_folder import Opened, open_model
from hemaloop.plugin import Classification, ClassMap, Image, Plugin, Progress, Scored


def run(
    model: str, images: Sequence[Path], out: Path, *, pictures: bool, device: str, explain: bool = False
) -> list[Found] | list[FoundMap] | list[offline_classes.Said]:
    """Find the cells on images; results go into `out`. Raises `DatasetError` where no image can be read."""
    console = Console()
    files = list(named_images(images))
    if not files:
        raise DatasetError(f"{', '.join(map(str, images))}: no image file; expected {', '.join(IMAGE_SUFFIXES)}")
    opened = open_model(model, device)
    if opened.plugin.produces is Classification:
        return offline_classes.predict(opened, files, out, explain=explain)
    if explain:
        raise PluginError(f"--explain: model family {opened.plugin.family!r} does not say where it looked")
    require_regions(type(opened.plugin))
    masks = opened.plugin.produces is ClassMap
    (out / "pictures" if pictures else out).mkdir(parents=True, exist_ok=True)
    faults: dict[str, str] = {}
    with Watch("finding cells") as watch:
        seen = _ask(opened.plugin, files, faults, watch)
        shown = out if pictures else None
        found: list[Found] | list[FoundMap]
        found = _maps(opened.plugin, seen, out, shown) if masks else _boxes(opened.plugin, seen, shown)
    show_findings(console, {"images without a result": list(faults.values())} if faults else {})
    if not found:
        raise DatasetError(f"none of {len(files)} images can be read")
    _write(console, out, opened, found, faults)
    console.print(f"results: {out}", markup=False, highlight=False)
    return found


def _write(
    console: Console, out: Path, opened: Opened, found: list[Found] | list[FoundMap], faults: dict[str, str]
) -> None:
    """Files of all images, and the table on the screen."""
    labels = opened.plugin.labels
    boxes = [one for one in found if isinstance(one, Found)]
    maps = [one for one in found if isinstance(one, FoundMap)]
    if boxes:
        write_json(out / "predictions.json", opened.name, labels, boxes, faults)
        write_boxes_csv(out / "boxes.csv", labels, boxes)
        write_counts_csv(out / "counts.csv", labels, boxes)
        _show(console, labels, boxes)
    else:
        write_map_json(out / "predictions.json", opened.name, labels, maps, faults)
        write_cells_csv(out / "cells.csv", maps)
        write_images_csv(out / "counts.csv", maps)
        _show_maps(console, maps)


def named_images(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Every image file once, with its name in the results. Raises `DatasetError` for a path that is not there."""
    seen = set()
    for path in paths:
        if not path.exists():
            raise DatasetError(f"{path}: there is no such file or folder")
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES) if path.is_dir() else [path]
        for file in inside:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield (file.relative_to(path).as_posix() if path.is_dir() else file.name), file


def _ask(
    plugin: Plugin, files: Sequence[tuple[str, Path]], faults: dict[str, str], progress: Progress
) -> Iterator[tuple[str, Image, Scored]]:
    """Name, picture and answer of each image that can be read, a few at a time."""
    for start in range(0, len(files), BATCH):
        progress.report(start, len(files), "images")
        loaded: list[tuple[str, LoadedImage]] = []
        for name, path in files[start : start + BATCH]:
            try:
                loaded.append((name, load_picture(path)))
            except ImageError as error:
                faults[name] = str(error)
        scored = plugin.score([picture.pixels for _, picture in loaded]) if loaded else []
        for (name, picture), one in zip(loaded, scored, strict=True):
            yield name, picture.pixels, one
    progress.report(len(files), len(files), "images")


def _boxes(plugin: Plugin, seen: Iterator[tuple[str, Image, Scored]], out: Path | None) -> list[Found]:
    found = []
    for name, pixels, one in seen:
        [detections] = boxes_of([one.prediction])
        result = Found(name, pixels.shape[1], pixels.shape[0], detections, one.relevance, one.review)
        found.append(result)
        if out is not None:
            write_picture(out / "pictures", result, pixels, plugin.labels)
    return found


def _maps(plugin: Plugin, seen: Iterator[tuple[str, Image, Scored]], out: Path, shown: Path | None) -> list[FoundMap]:
    (out / "masks").mkdir(exist_ok=True)
    found = []
    for name, pixels, one in seen:
        [prediction] = maps_of([one.prediction])
        result = FoundMap(name, pixels.shape[1], pixels.shape[0], one, plugin.cells(prediction) or ())
        found.append(result)
        write_mask(out / "masks", result, plugin.labels)
        if shown is not None:
            write_map_picture(shown / "pictures", result, pixels)
    return found


def _show_maps(console: Console, found: Sequence[FoundMap]) -> None:
    names = list(dict.fromkeys(name for one in found for name in one.scored.measurements))
    table = Table("image", *names, "to look at")
    for one in found[:20]:
        summary = one.summary()
        table.add_row(
            one.file, *(f"{summary[name]:g}" if name in summary else "-" for name in names), str(len(one.scored.review))
        )
    if len(found) > 20:
        table.add_row(f"… and {len(found) - 20} more", *[""] * len(names), "")
    console.print(table)


def _show(console: Console, labels: Sequence[str], found: Sequence[Found]) -> None:
    table = Table("image", *labels, "to look at")
    for one in found[:20]:
        table.add_row(one.file, *map(str, one.counts(labels).values()), str(len(one.review)))
    if len(found) > 20:
        table.add_row(f"… and {len(found) - 20} more", *[""] * len(labels), "")
    table.add_section()
    totals = [sum(one.counts(labels)[label] for one in found) for label in labels]
    table.add_row(f"all {len(found)}", *map(str, totals), str(sum(len(one.review) for one in found)))
    console.print(table)
