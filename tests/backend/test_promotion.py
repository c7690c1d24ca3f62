from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest

from hemaloop.config import Settings
from hemaloop.dataset import Survey
from hemaloop.errors import DatasetError
from hemaloop.labelconfig import Binding
from hemaloop.plugin import (
    Classification,
    ClassMap,
    Detections,
    Example,
    FitReport,
    Plugin,
    PluginOptions,
    Prediction,
    Progress,
    Scored,
)
from hemaloop.policy import Situation, decide
from hemaloop.promotion import align, judge, measure, too_few
from hemaloop.store import Manifest

IMAGE = np.zeros((20, 20, 3), np.uint8)
TRUTH = Detections.truth([[0, 0, 10, 10], [10, 10, 20, 20]], [0, 1])
HALF = Detections.truth([[0, 0, 10, 10]], [0])


class Oracle(Plugin):
    """Answers with what it was given."""

    family = "oracle"
    version = "1"
    description = "for tests"
    produces = Detections
    Options = PluginOptions
    presets: ClassVar = {}
    fitted = True

    def __init__(self, answer: Prediction, labels: Sequence[str] = ("a", "b")) -> None:
        super().__init__(labels)
        self.answer = answer

    def predict(self, images: Sequence[np.ndarray]) -> list[Prediction]:  # type: ignore[type-arg]
        return [self.answer for _ in images]

    def score(self, images: Sequence[np.ndarray]) -> list[Scored]:  # type: ignore[type-arg]
        return [Scored(self.answer, 0.0) for _ in images]

    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        raise NotImplementedError

    def save(self, directory: object) -> None:
        raise NotImplementedError

    def load(self, directory: object) -> None:
        raise NotImplementedError

    def unload(self) -> None:
        raise NotImplementedError


def gate(count: int, truth: Prediction = TRUTH) -> list[Example]:
    return [Example(IMAGE, truth, str(number)) for number in range(count)]


def test_the_better_one_is_promoted() -> None:
    verdict = judge(Oracle(TRUTH), Oracle(HALF), gate(6))
    assert verdict.promote
    assert verdict.candidate["map50"] == 1.0
    assert verdict.incumbent["map50"] == 0.5
    assert "mAP 1.0000 on 6 gate images against 0.5000 of the live model: better" in verdict.why


def test_a_box_where_the_truth_says_nothing_costs_neither_model_anything() -> None:
    extra = Detections(
        np.array([[10, 0, 20, 10], *TRUTH.boxes], np.float32), np.array([0, 0, 1]), np.array([1, 0.9, 0.8], np.float32)
    )
    ignore = np.array([[10, 0, 20, 10]], np.float32)
    told = [Example(IMAGE, TRUTH, str(number), ignore) for number in range(6)]
    verdict = judge(Oracle(extra), Oracle(extra), told)
    assert verdict.candidate["map50"] == verdict.incumbent["map50"] == 1.0
    assert judge(Oracle(extra), None, gate(6)).candidate["map50"] < 1.0


@pytest.mark.parametrize(("candidate", "incumbent"), [(TRUTH, TRUTH), (HALF, TRUTH), (HALF, HALF)])
def test_ties_and_losses_are_kept(candidate: Detections, incumbent: Detections) -> None:
    verdict = judge(Oracle(candidate), Oracle(incumbent), gate(6))
    assert not verdict.promote
    assert "not better, kept aside" in verdict.why


def test_the_first_model_must_be_better_than_no_prediction_at_all() -> None:
    assert judge(Oracle(HALF), None, gate(5)).promote
    assert not judge(Oracle(Detections.empty()), None, gate(5)).promote


def test_too_few_gate_images_are_counted_for_people() -> None:
    fault = too_few(4, 5, seen=2)
    assert fault is not None
    assert "4 of the 5 gate images needed are annotated (2 more were seen by the live model" in fault


def test_enough_is_enough() -> None:
    assert too_few(5, 5) is None
    assert too_few(0, 1) is not None


def test_gate_images_without_any_object_decide_nothing() -> None:
    verdict = judge(Oracle(TRUTH), None, gate(6, Detections.empty()))
    assert not verdict.promote
    assert "hold no object" in verdict.why


def test_an_incumbent_that_names_its_labels_in_another_order_is_measured_by_name() -> None:
    swapped = Oracle(Detections.truth(TRUTH.boxes, [1, 0]), labels=("b", "a"))
    verdict = judge(Oracle(HALF), swapped, gate(6))
    assert verdict.incumbent["map50"] == 1.0
    assert not verdict.promote


def test_labels_that_the_project_does_not_have_are_left_out() -> None:
    found = align(Detections.truth(np.tile([0, 0, 5, 5], (3, 1)), [0, 1, 2]), ("a", "x", "b"), ("b", "a"))
    assert isinstance(found, Detections)
    assert found.labels.tolist() == [1, 0]
    centres = np.array([[1.5, 0.5]], np.float32)
    masks = align(ClassMap(np.array([[0, 1, 2, 3]], np.uint8), centres), ("a", "x", "b"), ("b", "a"))
    assert isinstance(masks, ClassMap)
    assert masks.centres is centres
    assert masks.labels.tolist() == [[0, 2, 0, 1]]
    classes = align(Classification(np.array([0.2, 0.6, 0.2], np.float32)), ("a", "x", "b"), ("b", "a"))
    assert isinstance(classes, Classification)
    assert classes.probabilities.tolist() == pytest.approx([0.5, 0.5])


def test_each_kind_of_prediction_has_its_figure() -> None:
    right, wrong = (Classification(np.array(row, np.float32)) for row in ([0.9, 0.1], [0.1, 0.9]))
    assert measure([right, right], [right, wrong], ("a", "b")).main == 0.5
    mask, other = ClassMap(np.array([[1, 1, 0, 0]], np.uint8)), ClassMap(np.array([[1, 0, 0, 0]], np.uint8))
    assert measure([mask], [other], ("a",)).main == 0.5
    with pytest.raises(DatasetError, match="found no image"):
        measure([], [], ("a",))


SETTINGS = Settings(
    _env_file=None,  # type: ignore[call-arg]
    password="x" * 8,  # type: ignore[arg-type]
    webhook_secret="x" * 16,  # type: ignore[arg-type]
    train_min_new_annotations=10,
    train_min_interval_seconds=100.0,
)


def found(count: int) -> Survey:
    return Survey(tuple({"id": n} for n in range(count)), {n: (f"s{n}",) for n in range(count)}, "binding")


def trained(count: int, created: float) -> Manifest:
    survey = found(count)
    return Manifest(
        family="stub",
        plugin_version="1",
        labels=("a",),
        options={},
        version="stub-0001-abcdef",
        created=created,
        annotations=survey.annotations,
        fingerprint=survey.fingerprint,
    )


BINDING = Binding("stub")


@pytest.mark.parametrize(
    ("count", "situation", "starts", "why"),
    [
        (9, Situation([], 0), False, "9 new annotations since the last training, 10 start one"),
        (10, Situation([], 0), True, "10 new annotations"),
        (10, Situation([], 0, paused=True), False, "paused"),
        (10, Situation([], 0, attempts=3), False, "3 trainings on this data failed"),
        (10, Situation([], 0, attempts=2), True, "10 new annotations"),
        (10, Situation([], 0, set_aside="cancelled by hand"), False, "cancelled by hand"),
        (1, Situation([], 0, asked=True), True, "asked for, with 1 new annotations"),
        (1, Situation([], 0, asked=True, attempts=9, set_aside="cancelled"), True, "asked for"),
        (1, Situation([], 0, asked=True, paused=True), False, "paused"),
        (0, Situation([], 0, asked=True), False, "no annotation"),
        (20, Situation([trained(20, 0)], 500, asked=True), False, "nothing changed since stub-0001-abcdef"),
        (29, Situation([trained(20, 0)], 500), False, "9 new annotations"),
        (30, Situation([trained(20, 0)], 500), True, "10 new annotations"),
        (30, Situation([trained(20, 450)], 500), False, "the last training is too recent, 50 s are left"),
        (21, Situation([trained(20, 450)], 500, asked=True), True, "asked for"),
    ],
)
def test_a_training_starts_when_the_policy_says_so(count: int, situation: Situation, starts: bool, why: str) -> None:
    decision = decide(found(count), BINDING, SETTINGS, situation)
    assert decision.start is starts
    assert why in decision.why


def test_a_training_that_waits_for_time_alone_says_how_long() -> None:
    assert decide(found(30), BINDING, SETTINGS, Situation([trained(20, 450)], 500)).again_in == 50
    assert decide(found(3), BINDING, SETTINGS, Situation([], 500)).again_in is None


def test_what_the_control_says_goes_before_the_settings() -> None:
    keen = Binding("stub", min_new_annotations=1, min_interval_seconds=0.0)
    assert decide(found(21), keen, SETTINGS, Situation([trained(20, 499)], 500)).start
    assert "model_train" in decide(found(99), Binding("stub", train=False), SETTINGS, Situation([], 0, asked=True)).why
