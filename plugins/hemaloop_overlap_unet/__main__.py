"""Masks without labels, and a sheet of what a network learns from.

python -m hemaloop_overlap_unet masks SMEARS… --out data     # free-standing cells; everything doubtful is unknown
python -m hemaloop_overlap_unet sheet data --out sheet.png   # artificial overlaps made of them, with their masks
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image as Pillow
from scipy import ndimage

from hemaloop.errors import DatasetError
from hemaloop.formats import Examples, read_dataset
from hemaloop.formats.items import IMAGE_SUFFIXES, load_picture
from hemaloop.map_drawing import veiled
from hemaloop.plugin import ClassMap
from hemaloop_overlap_unet import LABELS
from hemaloop_overlap_unet.centres import FULL
from hemaloop_overlap_unet.compose import Mixture, compose
from hemaloop_overlap_unet.meaning import meaning_of
from hemaloop_overlap_unet.options import OverlapUNetOptions
from hemaloop_overlap_unet.sources import trusted_classes
from hemaloop_overlap_unet.truth import read_training_set

app = typer.Typer(add_completion=False, help=__doc__, rich_markup_mode=None)


@app.command()
def masks(
    smears: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for images/ and masks/.")] = Path("data"),
) -> None:
    """Make a data set of unlabelled smears: their free-standing cells, by classical segmentation."""
    files = [
        file
        for path in smears
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if file.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not files:
        raise DatasetError(f"{', '.join(map(str, smears))}: no image file; expected {', '.join(IMAGE_SUFFIXES)}")
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "masks").mkdir(exist_ok=True)
    used = 0
    for file in files:
        classes = trusted_classes(load_picture(file).pixels)
        if (classes == 1).any():
            name = f"{file.parent.parent.name}-{file.parent.name}-{file.stem}"
            shutil.copyfile(file, out / "images" / f"{name}{file.suffix}")
            Pillow.fromarray(classes).save(out / "masks" / f"{name}.png")
            used += 1
    typer.echo(f"{used} of {len(files)} images have free-standing cells: {out}")


@app.command()
def sheet(
    data: Annotated[Path, typer.Argument(help="A folder of masks, or Label Studio's export.")],
    out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("sheet.png"),
    columns: Annotated[int, typer.Option(min=1, help="Pictures a row.")] = 6,
    rows: Annotated[int, typer.Option(min=1, help="Rows.")] = 3,
    seed: Annotated[int, typer.Option(help="Start of the random numbers.")] = 0,
) -> None:
    """Draw artificial overlaps, each above its mask; grey is unknown, centres of cells are black."""
    options = OverlapUNetOptions()
    dataset = read_dataset(data)
    found = read_training_set(Examples(dataset.items, LABELS, ClassMap), meaning_of(LABELS), options.diameter)
    lines = []
    for row in range(rows):
        pairs = []
        for column in range(columns):
            rng = np.random.default_rng((seed, row, column))
            sample = compose(found.sources, found.pieces, found.real, Mixture(), 224, options.diameter, rng)
            mask = veiled(sample.pixels, ClassMap(sample.classes))
            mask[ndimage.binary_dilation(sample.centres == FULL, iterations=2)] = 0
            pairs.append(np.concatenate([sample.pixels, mask]))
        lines.append(np.concatenate(pairs, axis=1))
    Pillow.fromarray(np.concatenate(lines)).save(out)
    typer.echo(f"artificial overlaps: {out}")


if __name__ == "__main__":
    app()
