"""Subjects on one side of a split only: cells of one person look alike, so a model would be judged on what it knows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from hemaloop.dataset import split_of
from hemaloop.errors import DatasetError


class Grouped(Protocol):
    """Anything with the key of an image and, where it is known, the group that must stay together."""

    @property
    def key(self) -> str:
        """Hash of the image's content."""

    @property
    def group(self) -> str | None:
        """Such as ``"subject:17"``."""


_One = TypeVar("_One", bound=Grouped)


def require_no_leak(sides: Mapping[str, Iterable[Grouped]]) -> None:
    """Raises `DatasetError` that names a subject, or an image, that is on two sides of a split, and the sides."""
    home: dict[str, str] = {}
    for side, items in sides.items():
        for item in items:
            for known in filter(None, (item.group, item.key)):
                other = home.setdefault(known, side)
                if other != side:
                    what = known if known == item.group else f"image {known}"
                    raise DatasetError(
                        f"split: {what} is in both {other} and {side}, so the model would be judged on what it has "
                        "learned; keep everything of a subject on one side"
                    )


def part(items: Sequence[_One], share: float, *, testing: bool) -> list[_One]:
    """Those that test for ever, or the others: by the hash of the subject, or of the content where none is known."""
    return [item for item in items if (split_of(item.key, item.group, gate=share) == "gate") == testing]


def kept_back(items: Sequence[_One], share: float) -> tuple[list[_One], list[_One]]:
    """Items to learn from and items kept back, whole subjects by their hash; both sides get at least one.

    Raises `DatasetError` where all items are of one subject, or there is one image only.
    """
    groups = {item.group or item.key for item in items}
    if len(groups) < 2:
        raise DatasetError(
            f"found {len(items)} usable image(s) of {len(groups)} subject(s), expected two subjects, or two images "
            "without one, because one is kept back"
        )
    places = sorted(groups, key=split_place)
    count = min(max(1, sum(split_place(group) < share for group in groups)), len(groups) - 1)
    back = set(places[:count])
    learned = [item for item in items if (item.group or item.key) not in back]
    return learned, [item for item in items if (item.group or item.key) in back]


def split_place(group: str) -> float:
    """A number in [0, 1) that belongs to a group for ever, another than `split_of` draws."""
    return int.from_bytes(hashlib.sha256(f"hemaloop kept back\n{group}".encode()).digest()[:8], "big") / 2**64
