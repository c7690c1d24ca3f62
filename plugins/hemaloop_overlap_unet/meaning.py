"""Which of a project's two labels means one red cell, and which an overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import OptionError
from hemaloop.plugin import UNKNOWN

_WORDS = ("overlap", "overlay", "überlapp", "superpos", "solap", "chevauch", "sovrapp")


@dataclass(frozen=True, slots=True)
class Meaning:
    """cell, overlap: values of a `ClassMap`, 1 or 2. In this family's own maps these are 1 and 2."""

    cell: int
    overlap: int

    def classes(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Values of the project as the family's own; `UNKNOWN` stays."""
        table = np.full(256, UNKNOWN, np.uint8)
        table[:3] = 0, *(np.argsort([self.cell, self.overlap]) + 1)
        return table[values]

    def values(self, classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The family's own as those of the project."""
        return np.array([0, self.cell, self.overlap], np.uint8)[classes]


def meaning_of(labels: Sequence[str]) -> Meaning:
    """The label with a word for overlap in its name is the overlap; where none or both have one, the second.

    Raises `OptionError` for more or fewer than two labels.
    """
    if len(labels) != 2:
        raise OptionError(
            f"labels of 'overlap_unet': found {list(labels)}, expected two: one for red cells, one for their overlaps, "
            "such as RBC and Overlap"
        )
    named = [any(word in label.casefold() for word in _WORDS) for label in labels]
    return Meaning(2, 1) if named == [True, False] else Meaning(1, 2)
