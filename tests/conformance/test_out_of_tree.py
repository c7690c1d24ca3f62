"""torchvision's FCOS, wrapped as an installed package outside this repository would be, keeps every law."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stub_plugin
from hemaloop import registry
from hemaloop.testing import LAWS, Law, Subject
from hemaloop.testing.examination import subject_of

FOLDER = Path(__file__).parents[1] / "out_of_tree"
MOST_LINES = 120


@pytest.fixture(scope="module")
def subject() -> Iterator[Subject]:
    """The family as the registry finds it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        stub_plugin.forget()
        yield subject_of(registry.find("fcos"))
    sys.modules.pop("hemaloop_fcos", None)
    stub_plugin.forget()


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_it_keeps_the_law(subject: Subject, law: Law) -> None:
    law(subject)


def test_it_is_short() -> None:
    lines = (FOLDER / "hemaloop_fcos" / "__init__.py").read_text().splitlines()
    assert sum(1 for line in lines if line.strip()) < MOST_LINES
