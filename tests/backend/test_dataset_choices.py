"""Choices about whole images as examples: contradictions are told by task, subjects stay on one side of every split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import stub_plugin
from hemaloop.dataset import Splits, load, survey
from hemaloop.errors import DatasetError
from hemaloop.images import LoadedImage, decode_image
from hemaloop.labelconfig import parse_label_config
from hemaloop.plugin import Classification
from hemaloop.subjects import require_no_leak

CONTROL = parse_label_config(
    """<View><Image name="image" value="$image"/><Choices name="diagnosis" toName="image" model_family="tone">
<Choice value="ALL"/><Choice value="HEM"/><Choice value="Artefact" model_label=""/></Choices></View>"""
).bound[0]


class Pictures:
    """A picture an address; what stands behind "same" is one picture."""

    def load(self, uri: str, task_id: int | None = None, *, project: str) -> LoadedImage:
        shade = 0 if uri.startswith("same") else int(uri)
        image = np.full((16, 16, 3), (shade % 256, shade // 256, 7), np.uint8)
        return decode_image(stub_plugin.png(image))


def said(number: int, *choices: str, user: int = 1) -> dict[str, Any]:
    region = {"id": "r", "from_name": "diagnosis", "to_name": "image", "type": "choices"}
    one = {**region, "value": {"choices": list(choices)}, "original_width": 16, "original_height": 16}
    when = f"2026-01-01T00:00:{user:02}"
    return {"id": 10 * number + user, "completed_by": user, "updated_at": when, "lead_time": 1.0, "result": [one]}


def task(number: int, *annotations: dict[str, Any], image: str | None = None, **data: Any) -> dict[str, Any]:
    return {"id": number, "data": {"image": image or str(number), **data}, "annotations": list(annotations)}


def splits(*tasks: dict[str, Any], gate: float = 0.3, tune: float = 0.2) -> Splits:
    return load(survey(tasks, CONTROL, "1"), CONTROL, Pictures(), "7.1", gate=gate, tune=tune)


def test_two_choices_on_a_single_choice_control_are_left_out_by_task() -> None:
    found = splits(task(1, said(1, "ALL")), task(2, said(2, "ALL", "HEM")))
    assert len(found.train) + len(found.tune) + len(found.gate) == 1
    (note,) = [note for note in found.notes if "task 2" in note]
    assert "found ['ALL', 'HEM'] for 'diagnosis', expected one choice" in note


def test_people_who_contradict_each_other_are_named_by_task_and_the_newest_counts_on_a_tie() -> None:
    found = splits(task(4, said(4, "ALL", user=1), said(4, "HEM", user=2)))
    assert any("task 4: its 2 annotators disagree (100%)" in note for note in found.notes)
    (example,) = [*found.train, *found.tune, *found.gate]
    assert isinstance(example.truth, Classification)
    assert example.truth.probabilities.tolist() == [0, 1]


def test_two_tasks_that_call_one_image_differently_are_told() -> None:
    found = splits(task(1, said(1, "ALL"), image="same a"), task(2, said(2, "HEM"), image="same b"))
    assert "tasks 1 and 2 show the same image and contradict each other; the later counts" in found.notes


def test_what_the_model_does_not_learn_is_no_example() -> None:
    with pytest.raises(DatasetError, match="task 1"):
        splits(task(1, said(1, "Artefact")))


def many(subjects: int) -> list[dict[str, Any]]:
    return [task(n, said(n, "ALL" if n % 2 else "HEM"), subject=f"p{n % subjects}") for n in range(1, 61)]


@pytest.mark.parametrize("subjects", [2, 3, 9, 20])
@pytest.mark.parametrize("tune", [0.0, 0.2])
def test_no_subject_is_in_two_splits_also_where_some_are_lent(subjects: int, tune: float) -> None:
    found = splits(*many(subjects), tune=tune)
    require_no_leak({"train": found.train.records, "tune": found.tune.records, "gate": found.gate.records})
    assert len(found.train) + len(found.tune) + len(found.gate) == 60


def test_one_subject_alone_is_lent_to_nobody() -> None:
    found = splits(*many(1), gate=0.0, tune=0.0)
    assert (len(found.train), len(found.tune)) == (60, 0)
