"""Which image each task shows, remembered: Label Studio takes seconds to list a pool of a few thousand tasks.

    <root>/<project>/_scratch/shown/<control>

What is remembered holds while no task comes or goes. A task whose data was edited is noticed by the next look for a
representation, which lists all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hemaloop import scratch
from hemaloop.dataset import group_of
from hemaloop.errors import StoreError
from hemaloop.labelconfig import Control
from hemaloop.pool import Waiting, listed
from hemaloop.workplace import Workplace, project_id

Shown = Sequence[tuple[int, str | None, str | None]]
"""Of each task its id, the address of its image and the group that it belongs to."""


def remember(place: Workplace, project: str, control: Control, tasks: Sequence[Mapping[str, Any]]) -> Shown:
    """Keep what a listing of every task (`pool.listed`) said of a control's images, and return it."""
    said = [(task["id"], task["data"].get(control.data_key), group_of(task["data"])) for task in tasks]
    scratch.put(place.store, project, _name(control), said)
    return said


def waiting(
    place: Workplace, project: str, control: Control, annotated: Collection[int], *, spread: bool
) -> list[Waiting]:
    """Every task without a submitted annotation and, where images are spread, behind them those with one.

    annotated: ids of every task with a submitted annotation.
    """
    number = project_id(project)
    shown = remembered(place, project, control)
    if shown is None or place.studio.newest_task(number) != (len(shown), max((one[0] for one in shown), default=0)):
        shown = remember(place, project, control, list(listed(place.studio, number)))
    tasks = [
        Waiting(task, {control.data_key: uri}, group, labelled=task in annotated) for task, uri, group in shown if uri
    ]
    return sorted((task for task in tasks if spread or not task.labelled), key=lambda task: task.labelled)


def remembered(place: Workplace, project: str, control: Control) -> Shown | None:
    """What the last listing said, whatever has come or gone since; None where there was none."""
    try:
        return [(one[0], one[1], one[2]) for one in scratch.get(place.store, project, _name(control))]
    except StoreError:
        return None


def _name(control: Control) -> str:
    return f"shown/{control.name}"
