"""Every registered model family keeps every law of the contract."""

from __future__ import annotations

from functools import cache

import pytest

from hemaloop import registry
from hemaloop.testing import LAWS, Subject
from hemaloop.testing.laws import Law

FAMILIES = [registered.name for registered in registry.all_registered()]


@cache
def subject(family: str) -> Subject:
    """One examination a family, so that its model is fitted once."""
    return Subject(registry.find(family))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("family", FAMILIES)
def test_family_keeps_the_law(family: str, law: Law) -> None:
    law(subject(family))
