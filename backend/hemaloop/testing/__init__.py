"""The conformance kit: what every model family must keep, as laws that are checked one by one.

In a plugin's own tests::

    import pytest
    from hemaloop.testing import LAWS, Subject

    subject = Subject(MyPlugin)

    @pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
    def test_law(law):
        law(subject)
"""

from __future__ import annotations

from hemaloop.testing.laws import LAWS
from hemaloop.testing.subject import LawBroken, Subject, check_plugin

__all__ = ["LAWS", "LawBroken", "Subject", "check_plugin"]
