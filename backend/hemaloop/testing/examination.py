"""Running the laws: all at once, or as one case of pytest for each family and law."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from hemaloop.errors import PluginError
from hemaloop.plugin import Plugin
from hemaloop.testing.laws import LAWS, Law
from hemaloop.testing.subject import LawBroken, Subject

if TYPE_CHECKING:
    import pytest

PREFIX = "check_"
KnownFailures = Mapping[str, str]
"""Name of a law -> why the family does not keep it yet."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one law. fault: how it is broken and how to mend it, "" where it is kept. known: why, if it was."""

    law: str
    fault: str
    known: str = ""

    @property
    def broken(self) -> bool:
        """Whether it counts: broken without a reason, or kept although it is called a known failure."""
        return bool(self.fault) != bool(self.known)

    def __str__(self) -> str:
        if self.known and not self.fault:
            return f"{self.law}: kept, but called a known failure ({self.known}): take it off the list"
        return f"{self.law}: {self.fault or 'kept'}" + (f" (known: {self.known})" if self.known else "")


def examine(
    plugin: type[Plugin],
    labels: Sequence[str] | None = None,
    known_failures: KnownFailures | None = None,
    laws: Sequence[Law] = LAWS,
) -> Iterator[Verdict]:
    """The verdict of each law, one after the other. Raises `PluginError` for known failures that name no law."""
    known = checked(known_failures or {})
    subject = Subject(plugin, labels)
    for law in laws:
        yield Verdict(law.__name__, _fault(law, subject), known.get(law.__name__, ""))


def check_plugin(
    plugin: type[Plugin], labels: Sequence[str] | None = None, known_failures: KnownFailures | None = None
) -> list[Verdict]:
    """Run every law; those that are broken, with the remedy. Empty where the family keeps the contract.

    labels: to examine it with. known_failures: laws that it does not keep yet, each with the reason; one that it keeps
    after all is reported too.
    """
    return [verdict for verdict in examine(plugin, labels, known_failures) if verdict.broken]


def _fault(law: Law, subject: Subject) -> str:
    try:
        law(subject)
    except LawBroken as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - foreign code: whatever it raises is the verdict
        return f"raised {type(error).__name__}: {error}; run this law with pytest to see where"
    return ""


def checked(known_failures: KnownFailures) -> KnownFailures:
    """The same, every law with its full name. Raises `PluginError` for an unknown law or a missing reason."""
    names = [law.__name__ for law in LAWS]
    full = {PREFIX + name.removeprefix(PREFIX): reason for name, reason in known_failures.items()}
    if unknown := sorted(set(full) - set(names)):
        raise PluginError(f"known failures: found {unknown}, expected names of laws: {', '.join(names)}")
    if missing := sorted(name for name, reason in full.items() if not reason.strip()):
        raise PluginError(f"known failures: {missing} have no reason: say why, so that somebody can mend it")
    return full


@cache
def subject_of(plugin: type[Plugin], labels: tuple[str, ...] | None = None) -> Subject:
    """One examination a family and process, so that its model is fitted once."""
    return Subject(plugin, labels)


def parametrize_with_laws(
    *plugins: type[Plugin], known_failures: Mapping[str, KnownFailures] | None = None
) -> pytest.MarkDecorator:
    """A pytest decorator: one case for each family and law, with arguments `subject` and `law`.

    ::

        @parametrize_with_laws(MyFamily, known_failures={"my_family": {"check_refit_forgets": "cuDNN, ticket 12"}})
        def test_law(subject, law):
            law(subject)

    A case is called `my_family-refit_forgets`, so `pytest -k refit_forgets` runs one law and `-k my_family` one family.
    known_failures: by family. Such a case must fail: one that passes fails the run, so that the list stays true.
    Raises `PluginError` for a family or law that does not exist, and for a failure without a reason.
    """
    import pytest

    found = {plugin.family: plugin for plugin in plugins}
    known = {family: checked(failures) for family, failures in (known_failures or {}).items()}
    if strangers := sorted(set(known) - set(found)):
        raise PluginError(f"known failures: found families {strangers}, expected some of {sorted(found)}")
    cases = []
    for family, plugin in found.items():
        for law in LAWS:
            reason = known.get(family, {}).get(law.__name__)
            marks = [pytest.mark.xfail(reason=reason, raises=LawBroken, strict=True)] if reason else []
            name = f"{family}-{law.__name__.removeprefix(PREFIX)}"
            cases.append(pytest.param(subject_of(plugin), law, id=name, marks=marks))
    return pytest.mark.parametrize(("subject", "law"), cases)
