"""Detections as files for people and programs: JSON, CSV and pictures."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hemaloop.drawing import draw_detections
from hemaloop.plugin import Detections, Image, ReviewMark


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a model found on one image file. file: as the person named it. relevance: how much labelling it is worth."""

    file: str
    width: int
    height: int
    detections: Detections
    relevance: float
    review: tuple[ReviewMark, ...]

    def counts(self, labels: Sequence[str]) -> dict[str, int]:
        """Boxes of every class, 0 where there is none."""
        numbers = Counter(self.detections.labels.tolist())
        return {label: numbers[index] for index, label in enumerate(labels)}

    def rows(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """One entry a box: label, score, corners in px, and why a person should look at it (empty where not)."""
        reasons = {mark.index: mark.reason for mark in self.review}
        found = []
        for index, (box, label) in enumerate(zip(self.detections.boxes, self.detections.labels, strict=True)):
            corners = dict(zip(("x1", "y1", "x2", "y2"), (round(float(value), 2) for value in box), strict=True))
            score = round(float(self.detections.scores[index]), 4)
            found.append({"label": labels[int(label)], "score": score, **corners, "review": reasons.get(index, "")})
        return found


def write_json(
    path: Path, model: str, labels: Sequence[str], found: Sequence[Found], faults: Mapping[str, str]
) -> None:
    """Everything in one file. faults: why an image has no result, by file."""
    images = [
        {
            "file": one.file,
            "width": one.width,
            "height": one.height,
            "relevance": round(one.relevance, 6),
            "counts": one.counts(labels),
            "boxes": one.rows(labels),
        }
        for one in found
    ]
    content = {"model": model, "labels": list(labels), "images": images, "faults": dict(faults)}
    path.write_text(json.dumps(content, indent=1, allow_nan=False), "utf-8")


def write_boxes_csv(path: Path, labels: Sequence[str], found: Sequence[Found]) -> None:
    """A line a box, for a spreadsheet."""
    columns = ("file", "label", "score", "x1", "y1", "x2", "y2", "review")
    _write(path, columns, [{"file": one.file, **row} for one in found for row in one.rows(labels)])


def write_counts_csv(path: Path, labels: Sequence[str], found: Sequence[Found]) -> None:
    """A line an image: cells of each class, and relevance."""
    rows = [{"file": one.file, **one.counts(labels), "relevance": round(one.relevance, 6)} for one in found]
    _write(path, ("file", *labels, "relevance"), rows)


def _write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_picture(folder: Path, one: Found, image: Image, labels: Sequence[str]) -> Path:
    """The image with its boxes, as PNG under its own name; images of one name get different pictures."""
    stem = one.file.replace("\\", "/").lstrip("./").replace("/", "_")
    path = folder / f"{Path(stem).stem}.png"
    if path.exists():
        path = folder / f"{stem}.png"
    marked = [mark.index for mark in one.review]
    draw_detections(image, one.detections, labels, marked=marked).save(path)
    return path
