"""How many objects of the pool a model is unsure of, kept so that people can ask how many are left to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hemaloop.labelconfig import Control
from hemaloop.scratch import get, put
from hemaloop.store import ArtifactStore

MAYBE_RARE = "maybe rare"
"""A reason that says why an object matters, not that the model is unsure of it."""


@dataclass(frozen=True, slots=True)
class Marked:
    """Objects of some images, by what the model says of them.

    images: that were looked at. objects: that are shown. unsure: marked for another reason than being maybe rare.
    reasons: how many are marked with each phrase; an object may have several.
    """

    images: int = 0
    objects: int = 0
    unsure: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)


def keep_marks(store: ArtifactStore, project: str, version: str, scored: Sequence[Mapping[str, Any]]) -> None:
    """Remember what a version marked on each task (`marks_of`); what an earlier version marked is forgotten."""
    name = f"marks/{version}"
    known = store.get_scratch(project, name) is not None
    kept: dict[str, Any] = get(store, project, name) if known else {}
    if not known:
        store.drop_scratch(project, "marks")
    kept |= {str(one["task"]): one["marks"] for one in scored if one["marks"] is not None}
    put(store, project, name, kept)


def marked(store: ArtifactStore, project: str, version: str, control: Control, tasks: Iterable[int]) -> Marked:
    """What a version marked on those of the tasks that it has looked at, in one control."""
    name = f"marks/{version}"
    kept: dict[str, Any] = get(store, project, name) if store.get_scratch(project, name) is not None else {}
    found = [kept[str(task)].get(control.name, {}) for task in tasks if str(task) in kept]
    reasons: Counter[str] = Counter()
    for one in found:
        reasons.update(one.get("reasons", {}))
    objects, unsure = (sum(one.get(name, 0) for one in found) for name in ("objects", "unsure"))
    return Marked(len(found), objects, unsure, dict(reasons.most_common()))


def marks_of(result: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of one task's regions: objects, unsure ones and reasons, by control. The marks' own regions do no harm."""
    found: dict[str, dict[str, Any]] = {}
    for region in result:
        entry = found.setdefault(str(region["from_name"]), {"objects": 0, "unsure": 0, "reasons": {}})
        entry["objects"] += 1
        phrases = _phrases("; ".join(region.get("meta", {}).get("text", ())))
        entry["unsure"] += int(any(phrase != MAYBE_RARE for phrase in phrases))
        for phrase in phrases:
            entry["reasons"][phrase] = entry["reasons"].get(phrase, 0) + 1
    return found


def _phrases(reason: str) -> list[str]:
    """ "uncertain box; maybe rare: Teardrop (35%)" -> "uncertain box", "maybe rare": what is counted together."""
    parts = (part.partition("(")[0].partition(":")[0].strip() for part in reason.split(";"))
    return list(dict.fromkeys(part for part in parts if part))
