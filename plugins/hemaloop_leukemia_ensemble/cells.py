"""Examples as the ensemble learns from them: truth checked, cells cut out once, faults told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hemaloop.errors import DatasetError
from hemaloop.networks.pictures import checked_image
from hemaloop.plugin import Classification, Example, Image, Progress
from hemaloop_leukemia_ensemble.options import LeukemiaOptions
from hemaloop_leukemia_ensemble.preparation import Prepared, prepare
from hemaloop_leukemia_ensemble.stain import Look, normalised, usual_look

FEW = 20
"""Images of a class below which a person is told that there are few."""
_NAMED = 20
"""Images named in a note."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Squares uint8 (N, 3, S, S), classes int64 (N,), how they are stained (None if not normalised), and notes."""

    pixels: Tensor
    labels: NDArray[np.int64]
    look: Look | None
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def checked_label(example: Example, classes: int) -> int:
    """The class of an example. Raises `DatasetError` naming the image whose truth is not one class of these."""
    truth = example.truth
    if not isinstance(truth, Classification):
        raise DatasetError(f"image {example.key}: found truth of type {type(truth).__name__}, expected Classification")
    shares = truth.probabilities
    if shares.shape != (classes,) or not np.isfinite(shares).all() or np.sort(shares)[-2:].tolist() != [0.0, 1.0]:
        raise DatasetError(
            f"image {example.key}: found {shares.tolist()} as its truth, expected 1 for one of {classes} classes "
            "and 0 for the others"
        )
    return int(shares.argmax())


def seen(image: Image, options: LeukemiaOptions, image_size: int, look: Look | None) -> Prepared:
    """An image as the network sees it: cut (section 2.2), its stain normalised (section 2.1) where there is a look."""
    cut = prepare(image, image_size, margin=options.margin, inside_only=options.patch == "hull")
    return cut if look is None else Prepared(normalised(cut.pixels, look), cut.box, cut.reason, cut.notes)


def as_tensor(squares: Sequence[Image]) -> Tensor:
    """uint8 (N, 3, S, S)."""
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).contiguous()


def read_cells(
    examples: Sequence[Example],
    labels: Sequence[str],
    options: LeukemiaOptions,
    progress: Progress,
    look: Look | None = None,
) -> Cells:
    """Index each example once and cut its cell out. look: how cells are to be stained; found among these if None.

    Raises `DatasetError` naming an image with another kind of truth.
    """
    squares: list[Image] = []
    classes: list[int] = []
    remarks: dict[str, list[str]] = {}
    for index in range(len(examples)):
        progress.report(index, len(examples), "cutting cells out")
        example = examples[index]
        classes.append(checked_label(example, len(labels)))
        cut = seen(checked_image(example.image, index), options, options.image_size, None)
        for remark in (f"no cell was found, so the whole image is taken: {cut.reason}",) if cut.reason else cut.notes:
            remarks.setdefault(remark, []).append(example.key)
        squares.append(cut.pixels)
    if options.stain == "reinhard":
        look = look or usual_look(squares)
        squares = squares if look is None else [normalised(square, look) for square in squares]
    else:
        look = None
    size = options.image_size
    pixels = as_tensor(squares) if squares else torch.zeros(0, 3, size, size, dtype=torch.uint8)
    return Cells(pixels, np.array(classes, np.int64), look, tuple(map(_told, remarks.items())))


def _told(remark: tuple[str, list[str]]) -> str:
    text, keys = remark
    named = ", ".join(keys[:_NAMED]) + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
    return f"{len(keys)} image(s): {text}: {named}"


def check_learnable(cells: Cells, labels: Sequence[str]) -> tuple[str, ...]:
    """Notes on classes with few images or none. Raises `DatasetError` where bagging cannot be done."""
    if not len(cells):
        raise DatasetError("training set: found no image; label some of each class and train again")
    counts = np.bincount(cells.labels, minlength=len(labels))
    told = ", ".join(f"{label} {count}" for label, count in zip(labels, counts.tolist(), strict=True))
    if (counts > 0).sum() < 2:
        raise DatasetError(
            f"training set: found one class only ({told}), expected two or more; label images of another"
        )
    if counts.max() < 2:
        raise DatasetError(
            f"training set: found {told}, expected two images of the largest class at least, which bagging halves"
        )
    if not bool((cells.pixels != cells.pixels[:1]).any()):
        raise DatasetError(
            f"training set: found {len(cells)} images that all look the same, such as black ones; are they "
            "the right files?"
        )
    return tuple(
        f"{label}: no training image has it, so it will never be said"
        if not count
        else f"{label}: only {count} training image(s); expected {FEW} or more for a model that is worth anything"
        for label, count in zip(labels, counts.tolist(), strict=True)
        if count < FEW
    )
