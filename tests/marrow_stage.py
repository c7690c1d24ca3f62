"""A project of single cells on the double of Label Studio, for tests of families in two parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import stub_plugin
from cells_pictures import on_smear
from loop_stage import Studio

LABELS = ("ALL", "HEM")
SIDE = 40


def config(labels: tuple[str, ...] = LABELS, *, order: str = "relevance", **options: Any) -> str:
    """One choice about each image, served by the tests' family in two parts."""
    said = " ".join(f'model_option_{name}="{value}"' for name, value in options.items())
    choices = "".join(f'<Choice value="{label}"/>' for label in labels)
    return (
        '<View><Image name="image" value="$image"/>'
        f'<Choices name="type" toName="image" model_family="parts" model_min_new_annotations="4" '
        f'model_order="{order}" {said}>{choices}</Choices></View>'
    )


def add_cells(studio: Studio, folder: Path, count: int) -> list[int]:
    """Tasks with a cell each; of odd numbers ALL, of even ones HEM."""
    ids = []
    for _ in range(count):
        number = len(studio.tasks) + 1
        path = folder / f"{number}.png"
        path.write_bytes(stub_plugin.png(on_smear(label_of(number), number, SIDE)))
        studio.add_task(number, {"image": str(path)})
        ids.append(number)
    return ids


def label_of(number: int) -> int:
    """0 for ALL, 1 for HEM."""
    return 0 if number % 2 else 1


def choose(studio: Studio, number: int, label: str | None = None) -> None:
    """A person chooses the right label, or another."""
    value = {"choices": [label or LABELS[label_of(number)]]}
    size = {"original_width": SIDE, "original_height": SIDE, "image_rotation": 0}
    names = {"id": f"c{number}", "from_name": "type", "to_name": "image", "type": "choices"}
    studio.annotate(number, cells=[], result=[{**names, **size, "value": value}])
