"""Marks on the regions that are worth a second look, as an annotator sees them.

Label Studio colours a region by the first of the results that share its id. So a mark is such a result, just before
the region's own: a choice of a taxonomy, which has a colour. Tried in Label Studio 1.23.2 and left: a second control of
labels colours as well, but whoever presses the key of a marked region's class, to confirm it, takes the class away;
plain choices about a region have no colour. Nothing learns from a mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MARK_KIND = "taxonomy"
"""The `type` of a mark."""


@dataclass(frozen=True, slots=True)
class ReviewControl:
    """The control that marks the regions of another one.

    phrases: by label, how the reasons begin that it stands for; the empty phrase takes every other reason.
    """

    name: str
    phrases: Mapping[str, str]

    def labels_for(self, reason: str) -> list[str]:
        """The labels of a mark, in the order of the config; empty where no label stands for the reason.

        reason: of a `ReviewMark`; several are joined by "; ".
        """
        found = {self._label_for(part.strip().casefold()) for part in reason.split(";") if part.strip()}
        return [label for label in self.phrases if label in found]

    def _label_for(self, reason: str) -> str | None:
        for label, phrase in self.phrases.items():
            if phrase and reason.startswith(phrase.casefold()):
                return label
        return next((label for label, phrase in self.phrases.items() if not phrase), None)
