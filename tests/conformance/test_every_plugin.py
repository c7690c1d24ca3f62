"""Every registered model family keeps every law of the contract."""

from __future__ import annotations

from hemaloop import registry
from hemaloop.testing import Law, Subject, parametrize_with_laws

FAMILIES = [registry.find(registered.name) for registered in registry.all_registered()]


@parametrize_with_laws(*FAMILIES)
def test_family_keeps_the_law(subject: Subject, law: Law) -> None:
    law(subject)
