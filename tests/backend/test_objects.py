"""How labelled cells are counted: the axis of the learning curve."""

from __future__ import annotations

from typing import Any

import numpy as np

from hemaloop.dataset import Record
from hemaloop.objects import CELLS, count
from hemaloop.plugin import Classification, ClassMap, Detections
from hemaloop.progress import COURSE, thinned

LABELS = ("RBC", "WBC")


class Family:
    """As far as counting asks it. found: cells of a map, None where the family knows none."""

    def __init__(self, found: int | None = None) -> None:
        self.found = found

    def cells(self, truth: Any) -> Any:
        return None if self.found is None else [object()] * self.found


def record(truth: Any) -> Record:
    return Record(1, "a.png", "key", None, truth)


def counted(*truths: Any, family: Family | None = None) -> dict[str, int]:
    return count(map(record, truths), LABELS, family or Family())  # type: ignore[arg-type]


def test_boxes_and_choices_count_by_label() -> None:
    boxes = Detections.truth([[0, 0, 5, 5], [5, 5, 9, 9], [1, 1, 3, 3]], [0, 1, 0])
    assert counted(boxes, Detections.empty()) == {"RBC": 2, "WBC": 1}
    assert counted(Classification(np.array([0, 1], np.float32))) == {"WBC": 1}


def test_masks_count_the_cells_that_their_family_finds_or_else_the_labels_drawn() -> None:
    drawn = ClassMap(np.array([[0, 1], [1, 1]], np.uint8))
    assert counted(drawn, drawn, family=Family(4)) == {CELLS: 8}
    assert counted(drawn) == {"RBC": 1}


def test_a_long_course_stays_short_and_keeps_both_ends() -> None:
    course: list[Any] = []
    for step in range(10_000):
        course = thinned([*course, [step, {"loss": 1.0}]])
        assert len(course) <= COURSE
    assert course[0][0] == 0
    assert course[-1][0] == 9_999
