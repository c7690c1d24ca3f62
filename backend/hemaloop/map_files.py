"""Masks and their cells as files for people and programs: JSON, CSV, masks and pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from hemaloop.map_drawing import draw_cells
from hemaloop.plugin import ClassMap, FoundCell, Image, Scored
from hemaloop.results import measurements_text


@dataclass(frozen=True, slots=True, eq=False)
class FoundMap:
    """What a model found on one image file. file: as the person named it. cells: none for a family without cells."""

    file: str
    width: int
    height: int
    scored: Scored
    cells: tuple[FoundCell, ...]

    @property
    def prediction(self) -> ClassMap:
        """Its map."""
        if not isinstance(self.scored.prediction, ClassMap):
            raise TypeError(f"found {type(self.scored.prediction).__name__}, expected a ClassMap")
        return self.scored.prediction

    def summary(self) -> dict[str, float]:
        """Numbers about the image, rounded for people."""
        return {name: rounded(value) for name, value in self.scored.measurements.items()}

    def rows(self) -> list[dict[str, Any]]:
        """One entry a cell: number, middle in px, and its measures."""
        found = []
        for number, cell in enumerate(self.cells, 1):
            x, y = cell.outline.mean(axis=0).tolist()
            measures = {name: rounded(value) for name, value in cell.measures.items()}
            found.append({"cell": number, "x": round(x, 1), "y": round(y, 1), **measures})
        return found

    @property
    def stem(self) -> str:
        """Name for files about this image."""
        return str(Path(self.file.replace("\\", "/").lstrip("./").replace("/", "_")).with_suffix(""))


def rounded(value: float) -> float:
    """To four significant digits; whole numbers as they are."""
    return value if float(value).is_integer() else float(f"{value:.4g}")


def write_map_json(
    path: Path, model: str, labels: Sequence[str], found: Sequence[FoundMap], faults: Mapping[str, str]
) -> None:
    """Everything but the masks in one file. faults: why an image has no result, by file."""
    images = [
        {
            "file": one.file,
            "width": one.width,
            "height": one.height,
            "relevance": round(one.scored.relevance, 6),
            "measurements": one.summary(),
            "review": [mark.reason for mark in one.scored.review],
            "mask": f"masks/{one.stem}.png",
            "cells": [
                {**row, "outline": np.round(cell.outline, 1).tolist()}
                for row, cell in zip(one.rows(), one.cells, strict=True)
            ],
        }
        for one in found
    ]
    content = {"model": model, "labels": list(labels), "images": images, "faults": dict(faults)}
    path.write_text(json.dumps(content, indent=1, allow_nan=False), "utf-8")


def write_cells_csv(path: Path, found: Sequence[FoundMap]) -> None:
    """A line a cell, for a spreadsheet."""
    _write(path, [{"file": one.file, **row} for one in found for row in one.rows()], ("file", "cell", "x", "y"))


def write_images_csv(path: Path, found: Sequence[FoundMap]) -> None:
    """A line an image: its measurements and relevance."""
    rows = [{"file": one.file, **one.summary(), "relevance": round(one.scored.relevance, 6)} for one in found]
    _write(path, rows, ("file",))


def _write(path: Path, rows: Sequence[Mapping[str, Any]], least: Sequence[str]) -> None:
    columns = list(dict.fromkeys([*least, *(name for row in rows for name in row)]))
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_mask(folder: Path, one: FoundMap, labels: Sequence[str]) -> None:
    """The mask as PNG, so that the folder with its images can be learned from, and the classes beside it."""
    Pillow.fromarray(one.prediction.labels).save(folder / f"{one.stem}.png")
    (folder.parent / "classes.txt").write_text("\n".join(labels) + "\n", "utf-8")


def write_map_picture(folder: Path, one: FoundMap, image: Image) -> None:
    """The image with the outlines of its cells, as PNG under its own name."""
    draw_cells(image, one.cells, one.prediction, measurements_text(one.scored.measurements)).save(
        folder / f"{one.stem}.png"
    )
