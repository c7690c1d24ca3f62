"""The tasks that wait for predictions, and the places of the gate's images among them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hemaloop.client import LabelStudio
from hemaloop.client.transport import SLOW
from hemaloop.dataset import group_of
from hemaloop.labelconfig import LabelConfig

PAGE = 500
"""Tasks listed at a time."""
QUANTILES = 101


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that lacks a prediction: its id, the fields of its data that hold images, and the group of its image.

    labelled: it lacks none, but is looked at all the same, so that others can keep away from it.
    """

    id: int
    data: Mapping[str, Any]
    group: str | None = None
    labelled: bool = False

    def to_json(self) -> dict[str, Any]:
        """For the file that a plan's shards are kept in."""
        return asdict(self)


def lacking(studio: LabelStudio, project_id: int, config: LabelConfig, version: str) -> list[Waiting]:
    """Tasks without a submitted annotation and without a prediction of this version, and annotated ones without any."""
    return [_waiting(task, config) for task in listed(studio, project_id) if _lacks(task, version)]


def having(studio: LabelStudio, project_id: int, config: LabelConfig, version: str) -> list[Waiting]:
    """Tasks with a prediction of this version, annotated ones included."""
    return [_waiting(task, config) for task in listed(studio, project_id) if version in task["versions"]]


def labelled(studio: LabelStudio, project_id: int, config: LabelConfig, version: str) -> list[Waiting]:
    """Tasks with a submitted annotation that lack no prediction."""
    return [
        _waiting(task, config, labelled=True)
        for task in listed(studio, project_id)
        if task["annotated"] and not _lacks(task, version)
    ]


def _lacks(task: Mapping[str, Any], version: str) -> bool:
    return version not in task["versions"] and (not task["annotated"] or not task["versions"])


def _waiting(task: Mapping[str, Any], config: LabelConfig, *, labelled: bool = False) -> Waiting:
    fields = {control.data_key for control in config.bound}
    data = {name: value for name, value in task["data"].items() if name in fields}
    return Waiting(task["id"], data, group_of(task["data"]), labelled)


def listed(studio: LabelStudio, project_id: int) -> Iterator[dict[str, Any]]:
    """Every task with its `id`, `data`, whether it is `annotated`, and the `versions` that have predicted it."""
    last = 0
    while True:
        filters = [
            {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": last},
            # Excludes nothing; a column that is filtered by is a column that comes back.
            {
                "filter": "filter:tasks:predictions_model_versions",
                "operator": "not_contains",
                "type": "List",
                "value": ["\x1f none has this name"],
            },
        ]
        query = {"filters": {"conjunction": "and", "items": filters}, "ordering": ["tasks:id"]}
        params = {"project": project_id, "page_size": PAGE, "resolve_uri": "false", "query": json.dumps(query)}
        page = studio.request("GET", "/api/tasks", params=params, timeout=SLOW)["tasks"]
        for task in page:
            yield {
                "id": int(task["id"]),
                "data": task.get("data") or {},
                "annotated": int(task.get("total_annotations") or 0) > 0,
                "versions": _names(task.get("predictions_model_versions")),
            }
        if len(page) < PAGE:
            return
        last = int(page[-1]["id"])


def listed_scores(studio: LabelStudio, project_id: int) -> Iterator[float]:
    """The score, under the project's version, of every task without an annotation that has one."""
    last = 0
    while True:
        items = [
            {"filter": f"filter:tasks:{column}", "operator": operator, "type": "Number", "value": value}
            for column, operator, value in (
                ("id", "greater", last),
                ("total_annotations", "equal", 0),
                ("predictions_score", "greater", -1),
            )
        ]
        query = {"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]}
        params = {"project": project_id, "page_size": PAGE, "resolve_uri": "false", "query": json.dumps(query)}
        page = studio.request("GET", "/api/tasks", params=params, timeout=SLOW)["tasks"]
        yield from (float(task["predictions_score"]) for task in page if task.get("predictions_score") is not None)
        if len(page) < PAGE:
            return
        last = int(page[-1]["id"])


def _names(text: object) -> frozenset[str]:
    """Versions as the data manager writes them: one text, separated by commas."""
    return frozenset(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else frozenset()


def gate_place(key: str, version: str) -> float:
    """Where an image of the gate stands in the queue under a version: uniform in [0, 1), 1 the first.

    The judge must not be chosen by the judged: a gate image comes up as often as a drawn lot, however relevant the
    model finds it. The version takes part, so that lots are drawn anew for what is left of the pool after a training.
    """
    digest = hashlib.sha256(f"hemaloop gate place 1\n{version}\n{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def quantiles(relevances: Sequence[float]) -> list[float]:
    """The distribution of a pool's relevances, as `QUANTILES` rising numbers; empty for an empty pool."""
    return np.quantile(np.asarray(relevances, float), np.linspace(0, 1, QUANTILES)).tolist() if len(relevances) else []


def at_quantile(distribution: Sequence[float], place: float) -> float:
    """The relevance below which the share `place` of the pool lies."""
    if not distribution:
        return place
    return float(np.interp(place, np.linspace(0, 1, len(distribution)), distribution))
