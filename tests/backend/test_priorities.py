from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stamina

import loop_stage
import stub_plugin
from hemaloop import publication
from hemaloop.dataset import split_of
from hemaloop.errors import LabelStudioError, StoreError
from hemaloop.images import image_key
from hemaloop.labelconfig import parse_label_config
from hemaloop.marked import marked
from hemaloop.pool import at_quantile, gate_place, quantiles
from hemaloop.reconciliation import reconcile
from hemaloop.rollback import promote, roll_back
from hemaloop.targets import made_here
from hemaloop.workplace import Workplace
from loop_stage import PROJECT, Studio

STARTER = "stub-blobs-starter-1"
UNTRAINED = "stub-untrained"
SPREAD = stub_plugin.config("blobs", relevance="paper").replace("model_family", 'model_order="spread" model_family')


@dataclass
class Loop:
    """A project with a starter, its workplace, and everything that is due done at once."""

    folder: Path
    studio: Studio
    place: Workplace
    work: Callable[[], int]

    def published(self) -> str | None:
        found = self.place.store.published(PROJECT)
        return found.version if found else None

    def is_gate(self, task: int) -> bool:
        key = image_key((self.folder / f"{task}.png").read_bytes())
        return split_of(key, gate=self.place.settings.gate_fraction) == "gate"

    def add_row(self, count: int, colour: str) -> int:
        """A new task with a row of cells on an image of its own, which is not the gate's."""
        task = len(self.studio.tasks) + 1
        cells = [(4 + 14 * place, 4, 12 + 14 * place, 13, colour) for place in range(count)]
        images = (stub_plugin.png(stub_plugin.draw(cells, width=width)) for width in itertools.count(63 + task))
        shares = {"gate": self.place.settings.gate_fraction}
        image = next(image for image in images if split_of(image_key(image), **shares) != "gate")
        (self.folder / f"{task}.png").write_bytes(image)
        self.studio.add_task(task, {"image": str(self.folder / f"{task}.png")})
        return task

    def outcome(self, subject: str = "publication") -> dict[str, Any]:
        found: dict[str, Any] = self.place.queues.ledger.outcomes(PROJECT)[subject]
        return found

    def scores(self) -> str:
        self.place.queues.request_scores(PROJECT, "test")
        self.work()
        return str(self.published())

    def train(self) -> str:
        self.place.queues.request_training(PROJECT, "test", now=True)
        self.work()
        return str(self.published())


@pytest.fixture
def loop(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    stub_plugin.install(monkeypatch)
    with loop_stage.label_studio(stub_plugin.config("blobs")) as studio:
        chosen = loop_stage.settings(tmp_path, studio.url, redis_url=redis_url)
        place = loop_stage.workplace(chosen)
        yield Loop(tmp_path, studio, place, lambda: loop_stage.work_off(chosen, monkeypatch))
        place.studio.close()
        place.queues.redis.close()


def test_a_new_project_gets_predictions_of_the_starter_in_shards(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 12)
    assert loop.scores() == STARTER
    assert loop.studio.versions() == {STARTER: 12}
    assert loop.studio.title == loop.studio.model_version == STARTER
    assert all(one["result"] for one in loop.studio.predictions)
    assert loop.outcome()["ordered"]


def test_of_many_tasks_a_fair_sample_is_published_first_and_the_rest_follows(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hemaloop.priorities.FIRST", 4)
    loop.studio.add_images(loop.folder, 12)
    pushed: list[list[int]] = []
    push = loop.studio.predictions.__class__.__iadd__

    class Recording(list[Any]):
        def __iadd__(self, more: Any) -> Recording:
            pushed.append([one["task"] for one in more])
            return push(self, more)  # type: ignore[return-value]

    loop.studio.predictions = Recording()
    assert loop.scores() == STARTER
    assert pushed[0] == [1, 4, 7, 10], "evenly spaced"
    assert sorted(task for tasks in pushed[1:] for task in tasks) == [2, 3, 5, 6, 8, 9, 11, 12]
    assert loop.studio.title == loop.studio.model_version == STARTER
    assert set(loop.studio.queue()) == set(range(1, 13))


def test_scoring_again_replaces_each_prediction_and_keeps_the_choice_of_the_version(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 7)
    loop.scores()
    loop.studio.annotate(1)
    before = loop.studio.queue()
    loop.studio.predictions[-1]["result"] = []
    loop.place.queues.request_scores(PROJECT, "test", again=True)
    loop.work()
    assert loop.studio.versions() == {STARTER: 7}
    assert all(one["result"] for one in loop.studio.predictions)
    assert loop.studio.model_version == loop.studio.title == STARTER
    assert loop.studio.queue() == before


def test_the_queue_is_pushed_under_the_old_name_and_switched_afterwards(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 20)
    loop.scores()
    for task in range(1, 13):
        loop.studio.annotate(task, [(*cell[:4], "red") for cell in loop.studio.truths[task]])
    loop.studio.order_seen.clear()
    before = loop.published()
    # The starter is perfect on truth; the gate here is labelled red, as a laboratory with other habits would.
    version = loop.train()
    assert version.startswith("stub-0001-")
    steps = [step for step, _ in itertools.groupby(loop.studio.order_seen)]
    assert steps[:2] == [f"import under {before}", f"title {version}"]
    assert loop.studio.title == loop.studio.model_version == version
    assert set(loop.studio.versions()) == {STARTER, version}


def test_only_the_published_version_and_the_one_before_keep_their_predictions(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 8)
    loop.scores()
    loop.studio.predictions.append({"task": 1, "result": [], "score": 0.5, "model_version": "somebody else"})
    for colour in ("red", "green"):
        for task in loop.studio.add_images(loop.folder, 14):
            loop.studio.annotate(task, [(*cell[:4], colour) for cell in loop.studio.truths[task]])
        for task in loop.studio.tasks:
            for one in loop.studio.tasks[task]["annotations"]:
                one["result"] = [loop_stage.region((*cell[:4], colour)) for cell in loop.studio.truths[task]]  # type: ignore[arg-type]
                one["updated_at"] = f"203{len(colour)}-01-01T00:00:00Z"
        loop.train()
    versions = [entry.version for entry in loop.place.store.history(PROJECT)]
    assert len(versions) == 3
    assert set(loop.studio.versions()) == {versions[0], versions[1], "somebody else"}
    assert loop.studio.model_version == versions[0], "the deletion cleared it, so it was set again"


def test_the_next_task_is_the_one_with_the_highest_relevance(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 12)
    loop.scores()
    lowest = min(loop.studio.predictions, key=lambda one: one["score"])
    assert loop.studio.queue()[0] == lowest["task"]
    assert loop.place.studio.queue_head(7, 1)[0][0] == lowest["task"]


def test_gate_images_get_a_drawn_place_whatever_the_model_finds(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 30)
    version = loop.scores()
    relevance = lambda score: 1 / score - 1  # noqa: E731
    by_task = {one["task"]: relevance(one["score"]) for one in loop.studio.predictions}
    others = [value for task, value in by_task.items() if not loop.is_gate(task)]
    gates = [task for task in by_task if loop.is_gate(task)]
    assert gates
    for task in gates:
        place = gate_place(image_key((loop.folder / f"{task}.png").read_bytes()), version)
        assert by_task[task] == pytest.approx(np.quantile(others, place), rel=0.05, abs=1e-6)


def test_drawn_places_are_uniform_fixed_for_a_version_and_new_for_the_next() -> None:
    places = [gate_place(str(key), "v1") for key in range(2000)]
    assert np.histogram(places, bins=4, range=(0, 1))[0] == pytest.approx(500, abs=80)
    assert places == [gate_place(str(key), "v1") for key in range(2000)]
    after = [gate_place(str(key), "v2") for key in range(2000)]
    assert abs(np.corrcoef(places, after)[0, 1]) < 0.1


def test_a_quantile_lies_within_the_pool() -> None:
    assert at_quantile(quantiles([0.0, 1.0, 2.0]), 0.5) == pytest.approx(1.0)
    assert at_quantile(quantiles([]), 0.25) == 0.25


def test_only_tasks_without_a_prediction_are_scored_when_new_ones_come(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 6)
    loop.scores()
    loop.studio.add_images(loop.folder, 2)
    loop.scores()
    assert loop.studio.versions() == {STARTER: 8}
    assert loop.outcome()["pushed"] == 2


def test_predictions_that_somebody_deleted_come_back_and_order_the_queue_again(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 4)
    loop.scores()
    loop.place.studio.delete_version(7, STARTER)
    assert loop.studio.model_version is None
    loop.scores()
    assert loop.studio.versions() == {STARTER: 4}
    assert loop.studio.model_version == STARTER


def test_asking_again_pushes_nothing_twice(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 6)
    loop.scores()
    loop.scores()
    assert loop.studio.versions() == {STARTER: 6}


def test_a_push_that_broke_off_is_finished_without_duplicates(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 6)
    loop.studio.predictions += [{"task": 1, "result": [], "score": 0.5, "model_version": STARTER}]
    loop.scores()
    assert loop.studio.versions() == {STARTER: 6}


def test_a_broken_image_stores_nothing_is_named_and_is_not_tried_all_the_time(loop: Loop) -> None:
    ids = loop.studio.add_images(loop.folder, 6)
    (loop.folder / f"{ids[2]}.png").write_bytes(b"broken")
    loop.scores()
    assert loop.studio.versions() == {STARTER: 5}
    assert len(loop.outcome()["faults"]) == 1
    place = loop.place
    assert reconcile(place.settings, place.queues, place.store, place.studio) == {}


def test_tasks_that_a_request_left_are_finished(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 4)
    loop.scores()
    late = loop.studio.add_images(loop.folder, 7)
    loop.place.queues.finish_predictions(PROJECT, late, STARTER)
    loop.work()
    assert loop.studio.versions() == {STARTER: 11}
    loop.place.queues.finish_predictions(PROJECT, late, "another version")
    loop.work()
    assert loop.studio.versions() == {STARTER: 11}


def test_what_hinders_the_order_is_said(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 3)
    loop.studio.sampling = "Sequential sampling"
    loop.studio.maximum_annotations = 2
    loop.scores()
    told = " ".join(loop.outcome()["order"])
    assert "sampling is 'Sequential sampling'" in told
    assert "each task is annotated 2 times" in told
    assert not loop.outcome()["ordered"]


def test_a_head_that_is_not_the_lowest_score_is_noticed(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 3)
    version = loop.scores()
    scored = [{**one, "error": None} for one in loop.studio.predictions]
    last = max(scored, key=lambda one: one["score"])
    pushed = [{**one, "score": 0.0} if one is not last else one for one in scored]
    loop.studio.predictions[:] = [last]
    assert "comes first" in publication.disorder(loop.place, 7, version, pushed)[0]


def test_a_rollback_publishes_the_version_before_at_once(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 24)
    loop.scores()
    for task in range(1, 15):
        loop.studio.annotate(task, [(*cell[:4], "red") for cell in loop.studio.truths[task]])
    trained = loop.train()
    assert trained != STARTER
    imports = len([call for call in loop.studio.calls if call[1].endswith("import/predictions")])
    change = roll_back(loop.place.store, loop.place.queues, PROJECT)
    assert (change.before, change.after) == (trained, STARTER)
    loop.work()
    assert loop.published() == loop.studio.title == loop.studio.model_version == STARTER
    assert len([call for call in loop.studio.calls if call[1].endswith("import/predictions")]) == imports
    # What was rolled back does not come back by itself.
    place = loop.place
    loop.train()
    assert reconcile(place.settings, place.queues, place.store, place.studio) == {}
    assert loop.published() == STARTER
    with pytest.raises(StoreError, match="nothing to go back to"):
        roll_back(place.store, place.queues, PROJECT)


def test_a_stored_version_can_be_promoted_by_hand(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 16)
    loop.scores()
    for task in range(1, 13):
        loop.studio.annotate(task)
    loop.train()
    kept = loop.place.store.versions(PROJECT, "cells")[0]
    assert loop.published() == STARTER, "the starter is as good"
    promote(loop.place.store, loop.place.queues, PROJECT, "cells", kept)
    loop.work()
    assert loop.published() == loop.studio.model_version == kept
    with pytest.raises(StoreError, match="not a stored version"):
        promote(loop.place.store, loop.place.queues, PROJECT, "cells", "stub-9999-abcdef")


def test_annotations_that_no_webhook_told_of_are_found(loop: Loop) -> None:
    for task in loop.studio.add_images(loop.folder, 14):
        loop.studio.annotate(task, [(*cell[:4], "red") for cell in loop.studio.truths[task]])
    place = loop.place
    assert place.queues.ledger.projects() == []
    asked = reconcile(place.settings, place.queues, place.store, place.studio)
    assert asked == {PROJECT: ["training", "scores"]}, "the project is known by its backend's address"
    loop_settings = place.settings.model_copy(update={"train_debounce_seconds": 0.0})
    for job in place.queues.running(PROJECT):
        place.queues.cancel(job["id"])
    type(place.queues)(loop_settings).request_training(PROJECT, "found by reconciliation")
    loop.work()
    assert str(loop.published()).startswith("stub-0001-")
    assert reconcile(place.settings, place.queues, place.store, place.studio) == {}


def test_a_promotion_that_was_never_published_is_found(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 16)
    loop.scores()
    for task in range(1, 13):
        loop.studio.annotate(task, [(*cell[:4], "red") for cell in loop.studio.truths[task]])
    loop.place.queues.request_training(PROJECT, "test", now=True)
    from hemaloop.training import train_project

    train_project(loop.place, PROJECT, "test")
    loop.place.queues.redis.flushall()  # Redis is lost before the scores are planned
    assert loop.published() == STARTER
    place = loop.place
    assert reconcile(place.settings, place.queues, place.store, place.studio) == {PROJECT: ["scores"]}
    loop.work()
    assert str(loop.published()).startswith("stub-0001-")


def test_while_label_studio_is_down_nothing_is_lost(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 5)
    place = loop.place
    place.queues.remember(PROJECT)
    loop.studio.broken = 503
    with stamina.set_testing(True, attempts=1):
        job = place.queues.request_scores(PROJECT, "test")
        loop.work()
        told = place.queues.job_status(job)
        assert told["status"] == "scheduled", "it is tried again in a moment"
        assert "503" in told["error"]
        with pytest.raises(LabelStudioError):
            reconcile(place.settings, place.queues, place.store, place.studio)
    loop.studio.broken = None
    assert reconcile(place.settings, place.queues, place.store, place.studio) == {PROJECT: ["scores"]}
    loop.work()
    assert loop.studio.versions() == {STARTER: 5}


def test_without_a_model_typical_images_come_first_and_nothing_is_shown_on_them(loop: Loop) -> None:
    loop.studio.config = stub_plugin.config("bare")
    loop.studio.title = UNTRAINED
    red, blue = [loop.add_row(2, "red") for _ in range(16)], [loop.add_row(1, "blue") for _ in range(9)]
    assert loop.scores() == UNTRAINED
    assert loop.studio.versions() == {UNTRAINED: 25}
    assert [one["result"] for one in loop.studio.predictions] == [[]] * 25
    assert len({one["score"] for one in loop.studio.predictions}) == 25
    first = set(loop.studio.queue()[:6])
    assert first & set(red)
    assert first & set(blue)
    place = loop.place
    assert reconcile(place.settings, place.queues, place.store, place.studio) == {}


def test_new_tasks_of_a_project_without_a_model_are_put_in_order_too(loop: Loop) -> None:
    loop.studio.config = stub_plugin.config("bare")
    loop.studio.add_images(loop.folder, 4)
    place = loop.place
    place.queues.remember(PROJECT)
    assert reconcile(place.settings, place.queues, place.store, place.studio) == {PROJECT: ["scores"]}
    loop.work()
    loop.studio.add_images(loop.folder, 2)
    assert reconcile(place.settings, place.queues, place.store, place.studio) == {PROJECT: ["scores"]}
    loop.work()
    assert loop.studio.versions() == {UNTRAINED: 6}


def test_the_first_model_takes_the_place_of_the_order_without_one(loop: Loop) -> None:
    loop.studio.config = stub_plugin.config("bare")
    loop.studio.add_images(loop.folder, 20)
    loop.scores()
    for task in range(1, 13):
        loop.studio.annotate(task)
    version = loop.train()
    assert version.startswith("stub-0001-")
    assert all(one["result"] for one in loop.studio.predictions if one["model_version"] == version)
    assert loop.studio.queue()[0] not in range(1, 13)
    assert loop.outcome()["ordered"]


def test_an_image_that_looks_like_another_waits_where_images_are_spread(loop: Loop) -> None:
    loop.studio.config = SPREAD
    red, green, blue = [loop.add_row(4, "red") for _ in range(3)], loop.add_row(3, "green"), loop.add_row(3, "blue")
    loop.scores()
    queue = loop.studio.queue()
    assert queue[0] in red
    assert set(queue[1:3]) == {green, blue}
    assert loop.outcome()["notes"] == []


def test_an_image_that_looks_like_a_labelled_one_waits_where_images_are_spread(loop: Loop) -> None:
    loop.studio.config = SPREAD
    labelled, alike, other = loop.add_row(4, "red"), loop.add_row(4, "red"), loop.add_row(2, "green")
    loop.studio.predictions.append({"task": labelled, "result": [], "score": 0.5, "model_version": STARTER})
    loop.studio.annotate(labelled, [])
    loop.scores()
    assert loop.studio.versions() == {STARTER: 3}, "the labelled one was looked at and not pushed again"
    assert loop.studio.queue() == [other, alike]


def test_what_a_version_marks_is_kept_for_those_who_ask_how_much_is_left(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 6)
    loop.scores()
    control = parse_label_config(loop.studio.config).bound[0]
    shown = {one["task"]: len(one["result"]) for one in loop.studio.predictions}
    found = marked(loop.place.store, PROJECT, STARTER, control, [1, 2, 99])
    assert (found.images, found.objects) == (2, shown[1] + shown[2])
    assert marked(loop.place.store, PROJECT, "another version", control, [1, 2]).images == 0


def test_what_jobs_hand_to_one_another_is_removed_in_the_end(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 6)
    loop.scores()
    left = {path.name for path in (loop.folder / "data" / "artifacts").rglob("_scratch/*")}
    assert left == {"quantiles", "marks"}


def test_names_of_versions_are_recognised_and_those_of_others_are_not() -> None:
    config = parse_label_config(stub_plugin.config())
    ours = ["stub-0001-75571b", "stub-untrained", STARTER, "stub-0001-75571b+stub-0002-abcdef"]
    assert all(made_here(version, config) for version in ours)
    assert not any(
        made_here(version, config) for version in ["", "undefined", "stub", "other-0001-75571b", "my stub-untrained"]
    )


def test_jobs_carry_ids_only(loop: Loop) -> None:
    loop.studio.add_images(loop.folder, 6)
    loop.place.queues.request_scores(PROJECT, "test")
    from hemaloop import priorities

    priorities.plan_scores(loop.place, PROJECT, "test")
    from rq.job import Job
    from rq.serializers import JSONSerializer

    for found in loop.place.queues.running(PROJECT):
        job = Job.fetch(found["id"], connection=loop.place.queues.redis, serializer=JSONSerializer)
        assert str(loop.folder) not in json.dumps([job.args, job.kwargs])
