"""Pascal VOC folders of images that the stub family understands."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

import stub_plugin

Cells = list[tuple[int, int, int, int, str]]


def write_image(folder: Path, name: str, drawn: Cells, labelled: Cells) -> None:
    """An image with VOC boxes of some of its cells."""
    for part in ("Annotations", "Images"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(stub_plugin.draw(drawn)).save(folder / "Images" / f"{name}.png")
    objects = "".join(
        f"<object><name>{escape(colour)}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for x1, y1, x2, y2, colour in labelled
    )
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")


def write_blobs(folder: Path, count: int, first: int = 0, names: dict[str, str] | None = None) -> Path:
    """A VOC folder of images with red, green and blue cells, the same for the same numbers."""
    for seed in range(first, first + count):
        cells = stub_plugin.random_cells(seed)
        write_image(folder, f"{seed:03d}", cells, [(*cell[:4], (names or {}).get(cell[4], cell[4])) for cell in cells])
    return folder
