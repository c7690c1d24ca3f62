"""The laws of the contract in `hemaloop.plugin`, in the order in which a developer meets them.

Each is a function that raises `LawBroken` with the remedy.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from hemaloop.testing import (
    declaration,
    explanation,
    form,
    learning,
    persistence,
    prediction,
    prompting,
    representation,
    round_trip,
)
from hemaloop.testing.subject import Subject

Law = Callable[[Subject], None]


def _laws(module: ModuleType) -> list[Law]:
    return [value for name, value in vars(module).items() if name.startswith("check_")]


LAWS: tuple[Law, ...] = tuple(
    law
    for module in (
        *(declaration, form, prediction, explanation, prompting),
        *(round_trip, learning, persistence, representation),
    )
    for law in _laws(module)
)
