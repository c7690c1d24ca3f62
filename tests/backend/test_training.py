from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import loop_stage
import stub_plugin
from hemaloop import training
from hemaloop.dataset import split_of
from hemaloop.errors import Cancelled, DatasetError, ImageError
from hemaloop.images import image_key
from hemaloop.plugin import Silent
from hemaloop.progress import Interrupted
from hemaloop.store import Manifest
from hemaloop.workplace import Workplace
from loop_stage import PROJECT, Studio


@dataclass
class Loop:
    """A project and the workplace that trains on it."""

    folder: Path
    studio: Studio
    place: Workplace

    def annotate(self, count: int) -> list[int]:
        """New images with their truth."""
        ids = self.studio.add_images(self.folder, count)
        for number in ids:
            self.studio.annotate(number)
        return ids

    def key(self, task: int) -> str:
        return image_key((self.folder / f"{task}.png").read_bytes())

    def is_gate(self, task: int) -> bool:
        return split_of(self.key(task), gate=self.place.settings.gate_fraction) == "gate"

    def train(self, **changes: Any) -> Mapping[str, Any]:
        """One look; what came of the control."""
        place = replace(self.place, **changes)
        outcome: Mapping[str, Any] = training.train_project(place, PROJECT, "test")["controls"]["cells"]
        return outcome

    def manifest(self, version: str) -> Manifest:
        return self.place.store.manifest(PROJECT, "cells", version)


@pytest.fixture
def loop(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    stub_plugin.install(monkeypatch)
    with loop_stage.label_studio(stub_plugin.config("bare")) as studio:
        place = loop_stage.workplace(loop_stage.settings(tmp_path, studio.url, redis_url=redis_url))
        yield Loop(tmp_path, studio, place)
        place.studio.close()
        place.queues.redis.close()


def test_the_first_training_is_judged_on_images_it_never_saw_and_promoted(loop: Loop) -> None:
    loop.annotate(12)
    outcome = loop.train()
    assert outcome["state"] == "promoted"
    manifest = loop.manifest(outcome["version"])
    gate = {loop.key(task) for task in range(1, 13) if loop.is_gate(task)}
    assert set(manifest.gate) == gate
    assert not gate & manifest.seen
    assert len(manifest.seen) == 12 - len(gate)
    assert manifest.figures["map50"] > 0
    assert loop.place.store.promoted(PROJECT, "cells") == outcome["version"]
    assert [job["kind"] for job in loop.place.queues.running(PROJECT)] == ["score_pool"]


def test_nothing_is_trained_twice_on_the_same_data_not_even_when_asked_for(loop: Loop) -> None:
    loop.annotate(12)
    version = loop.train()["version"]
    assert f"nothing changed since {version}" in loop.train()["why"]
    loop.place.queues.ledger.ask(PROJECT)
    assert f"nothing changed since {version}" in loop.train()["why"]
    assert loop.place.store.versions(PROJECT, "cells") == [version]


def test_a_tie_keeps_the_incumbent_live_and_the_candidate_stored(loop: Loop) -> None:
    loop.annotate(12)
    first = loop.train()["version"]
    loop.annotate(6)
    outcome = loop.train()
    assert outcome["state"] == "kept"
    assert "not better, kept aside" in outcome["why"]
    assert loop.place.store.promoted(PROJECT, "cells") == first
    assert loop.place.store.versions(PROJECT, "cells") == [first, outcome["version"]]
    assert loop.manifest(outcome["version"]).incumbent == first


def test_a_worse_candidate_is_not_promoted(loop: Loop) -> None:
    loop.annotate(12)
    first = loop.train()["version"]
    wrong = {"red": "green", "green": "blue", "blue": "red"}
    for task in loop.studio.add_images(loop.folder, 30):
        truth = loop.studio.truths[task]
        if not loop.is_gate(task):
            truth = [(*cell[:4], wrong[cell[4]]) for cell in truth]
        loop.studio.annotate(task, truth)
    outcome = loop.train()
    assert outcome["state"] == "kept"
    assert outcome["figures"]["map50"] < outcome["incumbent"]["map50"]
    assert loop.place.store.promoted(PROJECT, "cells") == first


def test_a_better_candidate_is_promoted(loop: Loop) -> None:
    one_colour = loop.studio.add_images(loop.folder, 14)
    for task in one_colour:
        cells = loop.studio.truths[task]
        # The first truths call everything red; people then correct themselves.
        loop.studio.annotate(task, cells if loop.is_gate(task) else [(*cell[:4], "red") for cell in cells])
    first = loop.train()
    for task in one_colour:
        if not loop.is_gate(task):
            loop.studio.annotate(task)
    second = loop.train()
    assert second["state"] == "promoted"
    assert second["figures"]["map50"] > second["incumbent"]["map50"]
    assert loop.place.store.promoted(PROJECT, "cells") == second["version"] != first["version"]


def test_gate_images_that_the_incumbent_has_seen_do_not_count(loop: Loop) -> None:
    loop.annotate(12)
    first = loop.train()["version"]
    manifest = loop.manifest(first)
    seen = manifest.gate[0]
    loop.place.store.update(PROJECT, "cells", replace(manifest, train=(*manifest.train, seen)))
    loop.annotate(6)
    outcome = loop.train()
    gate = {loop.key(task) for task in range(1, 19) if loop.is_gate(task)}
    assert f"on {len(gate) - 1} gate images" in outcome["why"]


def test_with_too_few_gate_images_nothing_is_trained_and_the_rule_is_told(loop: Loop) -> None:
    while sum(map(loop.is_gate, loop.studio.tasks)) < 1 or len(loop.studio.tasks) < 5:
        loop.annotate(1)
    strict = replace(loop.place, settings=loop.place.settings.model_copy(update={"gate_min_images": 50}))
    outcome = training.train_project(strict, PROJECT, "test")["controls"]["cells"]
    assert outcome["state"] == "waits"
    assert "of the 50 gate images needed" in outcome["why"]
    assert "HEMALOOP_GATE_MIN_IMAGES" in outcome["why"]
    assert loop.place.store.versions(PROJECT, "cells") == []
    again = training.train_project(strict, PROJECT, "test")["controls"]["cells"]
    assert again["why"] == outcome["why"], "it is remembered, the images are not read again"


def test_too_few_new_annotations_wait_unless_a_person_asks(loop: Loop) -> None:
    loop.annotate(12)
    loop.train()
    loop.annotate(3)
    assert loop.train()["why"] == "3 new annotations since the last training, 4 start one"
    loop.place.queues.ledger.ask(PROJECT)
    assert loop.train()["state"] == "kept"


def test_a_corrected_annotation_counts_as_new(loop: Loop) -> None:
    ids = loop.annotate(12)
    loop.train()
    for task in ids[:4]:
        loop.studio.tasks[task]["annotations"][0]["updated_at"] = "2031-01-01T00:00:00Z"
    assert loop.train()["state"] == "kept"


def test_the_minimum_interval_is_kept_and_the_look_after_it_is_planned(loop: Loop) -> None:
    loop.annotate(12)
    loop.train()
    loop.annotate(6)
    slow = loop.place.settings.model_copy(update={"train_min_interval_seconds": 600.0})
    outcome = training.train_project(replace(loop.place, settings=slow), PROJECT, "test")["controls"]["cells"]
    assert "too recent" in outcome["why"]
    assert {job["kind"]: job["status"] for job in loop.place.queues.running(PROJECT)}["train"] == "scheduled"


def test_a_paused_project_trains_only_after_resume(loop: Loop) -> None:
    loop.annotate(12)
    loop.place.queues.pause(PROJECT)
    assert "paused" in loop.train()["why"]
    loop.place.queues.resume(PROJECT)
    assert loop.train()["state"] == "promoted"


def test_a_project_without_annotations_says_so(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 3)
    assert loop.train()["why"] == "no annotation was submitted yet"


def test_a_broken_image_is_named_and_the_rest_is_learned(loop: Loop) -> None:
    ids = loop.annotate(14)
    (loop.folder / f"{ids[0]}.png").write_bytes(b"no image")
    outcome = loop.train()
    assert outcome["state"] == "promoted"
    assert any(f"task {ids[0]} is left out" in note for note in outcome["notes"])
    assert loop.train()["why"] == "1 new annotations since the last training, 4 start one"


def test_an_image_that_comes_back_is_learned_later(loop: Loop) -> None:
    ids = loop.annotate(16)
    kept = {task: (loop.folder / f"{task}.png").read_bytes() for task in ids[:5]}
    for task in kept:
        (loop.folder / f"{task}.png").unlink()
    first = loop.train()
    assert first["state"] == "promoted"
    waiting = loop.train()
    assert waiting["state"] == "waits", "the same images are missing, so the same model would come out"
    for task, data in kept.items():
        (loop.folder / f"{task}.png").write_bytes(data)
    loop.place.queues.ledger.ask(PROJECT)
    second = loop.train()
    assert len(loop.manifest(second["version"]).annotations) == 16


def test_when_most_images_are_gone_the_training_fails_and_is_tried_again(loop: Loop) -> None:
    ids = loop.annotate(12)
    for task in ids[:8]:
        (loop.folder / f"{task}.png").unlink()
    with pytest.raises(ImageError, match="8 of 12 images cannot be had"):
        loop.train()
    assert loop.place.store.versions(PROJECT, "cells") == []


def test_failures_on_the_same_data_are_bounded_and_new_data_starts_anew(loop: Loop) -> None:
    ids = loop.annotate(12)
    ledger = loop.place.queues.ledger
    for task in ids[:8]:
        (loop.folder / f"{task}.png").unlink()
    for _ in range(3):
        with pytest.raises(ImageError):
            loop.train()
    assert "3 trainings on this data failed" in loop.train()["why"]
    assert ledger.outcomes(PROJECT)["training"]["controls"]["cells"]["state"] == "waits"
    loop.annotate(10)
    assert loop.train()["state"] == "promoted"


class CancelledAfter(Silent):
    """A person presses the button while the model is being fitted."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def report(self, done: float, total: float, message: str, figures: Mapping[str, float] | None = None) -> None:
        if message == "mean colours":
            raise self.error("stop")


def test_a_cancelled_training_changes_nothing_and_does_not_come_back_by_itself(loop: Loop) -> None:
    loop.annotate(12)
    first = loop.train()["version"]
    loop.annotate(6)
    with pytest.raises(Cancelled):
        loop.train(progress=CancelledAfter(Cancelled))
    assert loop.place.store.promoted(PROJECT, "cells") == first
    assert "cancelled by hand" in loop.train()["why"]
    loop.place.queues.ledger.ask(PROJECT)
    assert loop.train()["state"] == "kept"


def test_an_interrupted_training_is_no_failed_attempt(loop: Loop) -> None:
    loop.annotate(12)
    for _ in range(5):
        with pytest.raises(Interrupted):
            loop.train(progress=CancelledAfter(Interrupted))
    assert loop.train()["state"] == "promoted"


def test_an_asked_for_training_that_fails_is_still_asked_for_at_its_retry(loop: Loop) -> None:
    loop.annotate(12)
    loop.place.queues.ledger.ask(PROJECT)
    with pytest.raises(Interrupted):
        loop.train(progress=CancelledAfter(Interrupted))
    assert loop.place.queues.ledger.take_ask(PROJECT)


def test_data_that_nothing_can_be_learned_from_is_not_tried_again(loop: Loop) -> None:
    for task in loop.studio.add_images(loop.folder, 12):
        loop.studio.annotate(task, [])
    with pytest.raises(DatasetError, match="no box in any example"):
        loop.train()
    assert "no box in any example" in loop.train()["why"]


def test_a_second_worker_leaves_a_project_that_is_being_trained_for_later(loop: Loop) -> None:
    from hemaloop.debounce import WorkLock

    loop.annotate(12)
    with WorkLock(loop.place.queues.redis, f"train:{PROJECT}"):
        told = training.train_project(loop.place, PROJECT, "test")
    assert told["outcome"] == "later"
    assert [job["kind"] for job in loop.place.queues.running(PROJECT)] == ["train"]


def test_a_project_that_was_deleted_and_made_anew_is_not_trained_under_its_old_name(loop: Loop) -> None:
    told = training.train_project(loop.place, "7.1", "test")
    assert told["outcome"] == "gone"


def test_a_promotion_that_a_crash_interrupted_is_finished(loop: Loop) -> None:
    loop.annotate(12)
    version = loop.train()["version"]
    loop.place.store.demote(PROJECT, "cells")  # as if the process had ended between storing and promoting
    loop.train()
    assert loop.place.store.promoted(PROJECT, "cells") == version


def test_a_changed_option_is_a_reason_to_train_again_when_asked(loop: Loop) -> None:
    loop.annotate(12)
    loop.train()
    loop.studio.config = stub_plugin.config("bare", threshold=50)
    loop.place.queues.ledger.ask(PROJECT)
    assert loop.train()["state"] == "kept"


def test_policy_attributes_of_the_control_go_before_the_settings(loop: Loop) -> None:
    loop.studio.config = stub_plugin.config("bare").replace(
        "model_family", 'model_min_new_annotations="30" model_family'
    )
    loop.annotate(12)
    assert loop.train()["why"] == "12 new annotations since the last training, 30 start one"
    loop.studio.config = stub_plugin.config("bare").replace("model_family", 'model_train="off" model_family')
    assert "training is off" in loop.train()["why"]


def test_events_during_a_training_lead_to_one_more_look(loop: Loop) -> None:
    loop.annotate(12)

    class EventsArrive(Silent):
        def report(self, done: float, total: float, message: str, figures: Mapping[str, float] | None = None) -> None:
            if message == "mean colours":
                for _ in range(5):
                    loop.place.queues.request_training(PROJECT, "webhook")

    queued = loop.place.queues.request_training(PROJECT, "webhook")
    assert queued is not None
    loop.place.queues.queue("train").empty()
    loop.train(progress=EventsArrive())
    waiting = [job for job in loop.place.queues.running(PROJECT) if job["kind"] == "train" and job["id"] != queued]
    assert len(waiting) == 1


def test_the_manifest_knows_when_it_was_made(loop: Loop) -> None:
    loop.annotate(12)
    before = time.time()
    assert before <= loop.manifest(loop.train()["version"]).created <= time.time()
