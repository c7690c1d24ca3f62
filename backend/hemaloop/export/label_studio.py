"""Label Studio's own JSON with all controls, as it exports it; ``meta.hemaloop`` of each task says the rest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hemaloop.client import Json, LabelStudio
from hemaloop.client.transport import SLOW
from hemaloop.export.collect import Exported

ANNOTATIONS = "annotations.json"


def fetch(studio: LabelStudio, project_id: int) -> list[Json]:
    """The export of the annotated tasks."""
    found = studio.request("GET", f"/api/projects/{project_id}/export", params={"exportType": "JSON"}, timeout=SLOW)
    return list(found)


def versions_shown(entries: Iterable[Json]) -> dict[int, str]:
    """By an annotation's number, the version of the prediction that was shown when it was submitted.

    Only an export holds these copies; lists of tasks leave them out.
    """
    found = {}
    for annotation in (one for entry in entries for one in entry.get("annotations") or ()):
        shown = annotation.get("prediction")
        if isinstance(shown, dict) and shown.get("model_version"):
            found[int(annotation["id"])] = str(shown["model_version"])
    return found


class LabelStudioExport:
    """Writes Label Studio's entries of the tasks that it is given. entries: what `fetch` brought."""

    images = "images"

    def __init__(self, folder: Path, entries: Sequence[Json]) -> None:
        self._folder = folder
        self._entries = {int(entry["id"]): entry for entry in entries}
        self._kept: list[Json] = []

    def add(self, one: Exported) -> None:
        """Take a task; one that was annotated after the export was fetched is left to the next."""
        entry = self._entries.get(one.task)
        if entry is not None:
            self._kept.append(_with_facts(entry, one))

    def finish(self, about: Mapping[str, Any]) -> None:
        """Write the file."""
        del about
        (self._folder / ANNOTATIONS).write_text(json.dumps(self._kept, indent=1), "utf-8")


def _with_facts(entry: Json, one: Exported) -> Json:
    meta: Json = dict(entry.get("meta") or {})
    mine = meta.get("hemaloop") or {}
    facts = {**mine, "file": f"images/{one.file}", "split": one.split, "pre_labelled_by": one.pre_labelled_by}
    return {**entry, "meta": {**meta, "hemaloop": facts}}
