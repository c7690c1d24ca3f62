"""`hemaloop predict`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hemaloop.cli import offline_classes
from hemaloop.cli.offline_data import require_detections, show_findings
from hemaloop.cli.watching import Watch
from hemaloop.detection_files import Found, write_boxes_csv, write_counts_csv, write_json, write_picture
from hemaloop.errors import DatasetError, ImageError, PluginError
from hemaloop.formats.items import IMAGE_SUFFIXES, load_picture
from hemaloop.images import LoadedImage
from hemaloop.measuring import BATCH, boxes_of
from hemaloop.model_folder import open_model
from hemaloop.plugin import Classification, Plugin, Progress


def run(
    model: str, images: Sequence[Path], out: Path, *, pictures: bool, device: str, explain: bool = False
) -> list[Found] | list[offline_classes.Said]:
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
    require_detections(type(opened.plugin))
    (out / "pictures" if pictures else out).mkdir(parents=True, exist_ok=True)
    faults: dict[str, str] = {}
    with Watch("finding cells") as watch:
        found = _find(opened.plugin, files, out if pictures else None, faults, watch)
    show_findings(console, {"images without a result": list(faults.values())} if faults else {})
    if not found:
        raise DatasetError(f"none of {len(files)} images can be read")
    labels = opened.plugin.labels
    write_json(out / "predictions.json", opened.name, labels, found, faults)
    write_boxes_csv(out / "boxes.csv", labels, found)
    write_counts_csv(out / "counts.csv", labels, found)
    _show(console, labels, found)
    console.print(f"results: {out}", markup=False, highlight=False)
    return found


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


def _find(
    plugin: Plugin, files: Sequence[tuple[str, Path]], out: Path | None, faults: dict[str, str], progress: Progress
) -> list[Found]:
    found = []
    for start in range(0, len(files), BATCH):
        progress.report(start, len(files), "images")
        loaded: list[tuple[str, LoadedImage]] = []
        for name, path in files[start : start + BATCH]:
            try:
                loaded.append((name, load_picture(path)))
            except ImageError as error:
                faults[name] = str(error)
        scored = plugin.score([picture.pixels for _, picture in loaded]) if loaded else []
        boxes = boxes_of([one.prediction for one in scored])
        for (name, picture), one, detections in zip(loaded, scored, boxes, strict=True):
            result = Found(name, picture.width, picture.height, detections, one.relevance, one.review)
            found.append(result)
            if out is not None:
                write_picture(out / "pictures", result, picture.pixels, plugin.labels)
    progress.report(len(files), len(files), "images")
    return found


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
