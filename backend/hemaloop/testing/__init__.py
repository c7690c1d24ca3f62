"""The conformance kit: what every model family must keep, as laws that are checked one by one.

In a plugin's own tests::

    from hemaloop.testing import parametrize_with_laws

    @parametrize_with_laws(MyFamily)
    def test_law(subject, law):
        law(subject)

Without pytest, `check_plugin(MyFamily)` gives the laws that it breaks; `hemaloop plugins check my_family` shows them.
"""

from __future__ import annotations

from hemaloop.testing.examination import Verdict, check_plugin, examine, parametrize_with_laws
from hemaloop.testing.laws import LAWS, Law
from hemaloop.testing.subject import LawBroken, Subject

__all__ = [
    "LAWS",
    "Law",
    "LawBroken",
    "Subject",
    "Verdict",
    "check_plugin",
    "examine",
    "parametrize_with_laws",
]
