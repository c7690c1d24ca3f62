"""A head learns in its own queue, from vectors; a representation seldom; and vectors are never mixed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import loop_stage
import marrow_stage
import stub_plugin
from hemaloop import portrait
from hemaloop.dataset import split_of
from hemaloop.errors import ImageError
from hemaloop.images import ImageLoader, image_key
from hemaloop.labelconfig import Control, parse_label_config
from hemaloop.plane import EXAMPLES
from hemaloop.portraying import portray
from hemaloop.quick import learning, listing, reordering
from hemaloop.quick.vectors import Remembered, Vector, Vectors
from hemaloop.store import ArtifactStore
from hemaloop.supervisor import Supervisor
from hemaloop.workplace import Workplace
from loop_stage import PROJECT, Studio, wait_until


@dataclass
class Marrow:
    """A project of single cells and the workplace that learns from it."""

    folder: Path
    studio: Studio
    place: Workplace
    patch: pytest.MonkeyPatch

    @property
    def control(self) -> Control:
        (control,) = parse_label_config(self.studio.config).bound
        return control

    def work(self) -> dict[str, Any]:
        """Every job that is due. Returns the last outcomes."""
        loop_stage.work_off(self.place.settings, self.patch)
        found: dict[str, Any] = self.place.queues.ledger.outcomes(PROJECT)
        return found

    def ask(self) -> dict[str, Any]:
        """As after a webhook; what came of it."""
        self.place.queues.request_training(PROJECT, "test", now=False, delay=0.01)
        time.sleep(0.02)
        return self.work()

    def refit(self) -> dict[str, Any]:
        """As after a webhook, without a look for a new representation; what came of it."""
        self.place.queues.request_refit(PROJECT, "test")
        return dict(self.work()["refit"])

    def choose(self, numbers: range) -> None:
        for number in numbers:
            marrow_stage.choose(self.studio, number)

    def is_gate(self, number: int) -> bool:
        key = image_key((self.folder / f"{number}.png").read_bytes())
        return split_of(key, gate=self.place.settings.gate_fraction) == "gate"

    def representations(self) -> list[str]:
        return self.place.store.versions(PROJECT, learning.slot_of("type"))


@pytest.fixture
def marrow(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Marrow]:
    stub_plugin.install(monkeypatch)
    with loop_stage.label_studio(marrow_stage.config()) as studio:
        chosen = loop_stage.settings(tmp_path, studio.url, redis_url=redis_url, score_shard_size=16)
        place = loop_stage.workplace(chosen)
        yield Marrow(tmp_path, studio, place, monkeypatch)
        place.studio.close()
        place.queues.redis.close()


@pytest.fixture
def learned(marrow: Marrow) -> Marrow:
    marrow_stage.add_cells(marrow.studio, marrow.folder, 40)
    marrow.ask()
    return marrow


def no_image(*_: Any, **__: Any) -> None:
    raise AssertionError("an image was opened")


def test_a_representation_is_learned_before_anybody_labelled_and_every_image_has_a_vector(learned: Marrow) -> None:
    (version,) = learned.representations()
    manifest = learned.place.store.manifest(PROJECT, learning.slot_of("type"), version)
    assert 20 <= len(manifest.train) < 40, "images of the gate take no part"
    plugin = learning.build_representing(learned.control, "cpu")
    plugin.load_representation(learned.place.store.directory(PROJECT, learning.slot_of("type"), version))
    vectors = Vectors(learned.place.store, PROJECT, "type", plugin.representation).by_uri()
    assert len(vectors) == 40
    image = learned.place.images.load(str(learned.folder / "7.png"), 7, project=PROJECT)
    known = vectors[str(learned.folder / "7.png")]
    assert (known.key, known.width, known.height) == (image.key, image.width, image.height)
    np.testing.assert_allclose(known.embedding, plugin.embed([image.pixels])[0], rtol=1e-4, atol=1e-5)


def test_a_head_is_learned_judged_and_in_force_without_an_image_being_opened(learned: Marrow) -> None:
    learned.choose(range(1, 25))
    learned.patch.setattr(ImageLoader, "load", no_image)
    outcome = learned.ask()["refit"]
    assert outcome["controls"]["type"]["state"] == "promoted", outcome
    version = outcome["controls"]["type"]["version"]
    assert outcome["order"]["outcome"] == "published"
    assert learned.studio.model_version == learned.studio.title == version
    assert learned.place.store.published(PROJECT).version == version  # type: ignore[union-attr]
    assert set(learned.studio.queue()) == set(range(25, 41)), "every open task has its place"
    manifest = learned.place.store.manifest(PROJECT, "type", version)
    assert manifest.figures["accuracy"] > 0.5
    assert not set(manifest.gate) & manifest.seen


def test_the_head_of_a_new_order_is_in_force_before_the_rest_which_waits_for_a_quiet_moment(learned: Marrow) -> None:
    def listed(*_: Any, **__: Any) -> None:
        raise AssertionError("the pool was listed")

    learned.choose(range(1, 25))
    learned.patch.setattr(reordering, "FIRST", 6)
    with learned.patch.context() as patch:
        patch.setattr(listing, "listed", listed)
        assert learned.refit()["order"]["pushed"] == 6
    first = learned.studio.queue()
    assert len(first) == 6
    version = learned.studio.title
    learned.choose(range(25, 26))
    assert reordering.finish(learned.place, PROJECT)["outcome"] == "later", "an order came a moment ago"
    assert learned.studio.versions()[version] == 6
    learned.patch.setattr(reordering, "REST_SECONDS", 0.0)
    assert reordering.finish(learned.place, PROJECT)["outcome"] == "queued"
    learned.work()
    after = learned.studio.queue()
    assert set(after) == set(range(26, 41)), "every open task has its place"
    left = [number for number in first if number != 25]
    assert after[: len(left)] == left, "and none comes before those that came first"


def test_superseded_predictions_go_with_the_rest_and_those_of_others_stay(learned: Marrow) -> None:
    learned.choose(range(1, 25))
    learned.refit()
    before = set(learned.studio.versions())
    for version in ("parts-0009-abcdef", "a colleague's"):
        learned.studio.predictions.append({"task": 30, "result": [], "score": 0.5, "model_version": version})
    learned.patch.setattr(reordering, "REST_SECONDS", 0.0)
    reordering.finish(learned.place, PROJECT)
    learned.work()
    assert set(learned.studio.versions()) == before | {"a colleague's"}
    assert learned.studio.model_version == learned.studio.title, "deleting has not cleared the choice"


def test_a_task_that_came_or_went_since_the_last_listing_makes_a_new_one(learned: Marrow) -> None:
    learned.choose(range(1, 25))
    del learned.studio.tasks[40]
    marrow_stage.add_cells(learned.studio, learned.folder, 2)
    assert sorted(learned.studio.tasks)[-1] > 40
    learned.refit()
    assert set(learned.studio.queue()) >= set(range(25, 40))
    assert all(one["task"] in learned.studio.tasks for one in learned.studio.predictions[-15:])


def test_fewer_annotations_than_asked_for_and_the_same_ones_twice_make_no_head(learned: Marrow) -> None:
    learned.choose(range(1, 4))
    said = learned.ask()["refit"]["controls"]["type"]
    assert said["state"] == "waits"
    assert "3 new annotations since the last training, 4 start one" in said["why"]
    learned.choose(range(4, 25))
    assert learned.ask()["refit"]["controls"]["type"]["state"] == "promoted"
    assert "nothing changed" in learned.ask()["refit"]["controls"]["type"]["why"]


def test_each_few_annotations_more_make_another_version_of_the_same_representation(learned: Marrow) -> None:
    learned.choose(range(1, 25))
    learned.ask()
    learned.choose(range(25, 31))
    learned.ask()
    assert len(learned.place.store.versions(PROJECT, "type")) == 2
    assert len(learned.representations()) == 1


def test_a_pool_that_has_grown_gets_another_representation_and_the_vectors_are_not_mixed(learned: Marrow) -> None:
    learned.choose(range(1, 25))
    learned.ask()
    marrow_stage.add_cells(learned.studio, learned.folder, 4)
    learned.ask()
    assert len(learned.representations()) == 1, "a few more images only get vectors"
    marrow_stage.add_cells(learned.studio, learned.folder, 20)
    learned.ask()
    assert len(learned.representations()) == 2
    store = learned.place.store
    names = []
    for version in learned.representations():
        plugin = learning.build_representing(learned.control, "cpu")
        plugin.load_representation(store.directory(PROJECT, learning.slot_of("type"), version))
        names.append(plugin.representation)
    assert len(set(names)) == 2
    newest = Vectors(store, PROJECT, "type", names[1]).by_uri()
    assert len(newest) == 64
    models = [store.manifest(PROJECT, "type", one) for one in store.versions(PROJECT, "type")]
    assert len(models) == 2, "the new representation got a head from the same annotations"


def test_labels_that_vanish_from_the_config_cost_a_head_and_no_representation(learned: Marrow) -> None:
    learned.choose(range(1, 25))
    marrow_stage.choose(learned.studio, 25, "gone")
    learned.ask()
    learned.studio.config = marrow_stage.config(("HEM", "ALL", "new"))
    outcome = learned.ask()["refit"]["controls"]["type"]
    assert outcome["version"], outcome
    manifest = learned.place.store.manifest(PROJECT, "type", outcome["version"])
    assert manifest.labels == ("HEM", "ALL", "new")
    assert any("new: no training image has it" in note for note in manifest.notes)
    assert len(learned.representations()) == 1


def test_one_class_is_said_and_nothing_goes_live(learned: Marrow) -> None:
    for number in range(1, 25):
        marrow_stage.choose(learned.studio, number, "ALL")
    said = learned.ask()["refit"]["controls"]["type"]
    assert said["state"] == "waits"
    assert "one class only" in said["why"]
    assert learned.studio.versions().keys() <= {"parts-untrained"}


def test_too_few_images_wait_with_a_reason(marrow: Marrow) -> None:
    marrow_stage.add_cells(marrow.studio, marrow.folder, 6)
    said = marrow.ask()["training"]["controls"]["type"]
    assert "6 of the 20 images needed" in said["why"]
    assert marrow.representations() == []


def test_an_image_that_is_broken_keeps_no_other_from_its_vector(marrow: Marrow) -> None:
    marrow_stage.add_cells(marrow.studio, marrow.folder, 30)
    (marrow.folder / "3.png").write_bytes(b"no image")
    marrow.ask()
    (version,) = marrow.representations()
    notes = marrow.place.store.manifest(PROJECT, learning.slot_of("type"), version).notes
    assert any(note.startswith("task 3 is left out") for note in notes)
    marrow.choose(range(4, 28))
    marrow.ask()
    assert marrow.place.store.promoted(PROJECT, "type")
    assert 3 not in marrow.studio.queue()
    assert len(marrow.studio.queue()) == 5, "1, 2, 28, 29 and 30"


def test_the_page_shows_where_the_representation_puts_the_images(learned: Marrow) -> None:
    def latent() -> dict[str, Any]:
        portray(learned.place, PROJECT)
        found: dict[str, Any] = (portrait.read(learned.place.store, PROJECT) or {})["latent"]["type"]
        return found

    before = latent()
    assert (before["images"], len(before["points"])) == (40, 40)
    assert {(one["label"], one["relevance"]) for one in before["points"]} == {(None, None)}
    assert len({one["task"] for one in before["examples"]}) == EXAMPLES
    names = [one["thumbnail"] for one in before["examples"]]
    kept = [learned.place.store.get_scratch(PROJECT, portrait.thumbnail_name(name)) for name in names]
    assert {Image.open(BytesIO(one or b"")).size for one in kept} == {(400, 200)}, "beside what its vector keeps"
    learned.choose(range(1, 25))
    learned.refit()
    after = {one["task"]: one for one in latent()["points"]}
    assert {task: one["label"] for task, one in after.items() if one["label"]} == {
        task: marrow_stage.LABELS[marrow_stage.label_of(task)] for task in range(1, 25)
    }
    assert all(one["relevance"] >= 0 for one in after.values())


def test_near_duplicates_are_not_proposed_one_after_the_other(learned: Marrow) -> None:
    """Three pictures of one strange kind and three of another: the most relevant six, in turns."""
    strange = {}
    for number in range(41, 47):
        picture = np.zeros((marrow_stage.SIDE, marrow_stage.SIDE, 3), np.uint8)
        picture[..., number % 2] = 255 - number
        (learned.folder / f"{number}.png").write_bytes(stub_plugin.png(picture))
        learned.studio.add_task(number, {"image": str(learned.folder / f"{number}.png")})
        strange[number] = number % 2
    learned.studio.config = marrow_stage.config(order="spread")
    learned.ask()
    learned.choose(range(1, 25))
    learned.refit()
    head = [number for number in learned.studio.queue() if number in strange and not learned.is_gate(number)]
    assert strange[head[0]] != strange[head[1]]


def vector(number: int) -> Vector:
    return Vector(f"/{number}.png", f"key {number}", 4 + number, 5, np.full(3, number, np.float32))


def test_vectors_come_back_as_they_were_kept(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path.as_uri())
    vectors = Vectors(store, "7.1", "type", "a")
    vectors.add([vector(1), vector(2)])
    vectors.add([vector(3)])
    found = vectors.by_uri()
    assert sorted(found) == ["/1.png", "/2.png", "/3.png"]
    assert (found["/2.png"].key, found["/2.png"].width) == ("key 2", 6)
    np.testing.assert_array_equal(found["/3.png"].embedding, [3, 3, 3])
    assert Vectors(store, "7.1", "type", "b").by_uri() == {}
    assert Vectors(store, "8.1", "type", "a").by_uri() == {}, "two projects share nothing"


def test_a_damaged_part_is_embedded_again_and_takes_no_other_along(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path.as_uri())
    vectors = Vectors(store, "7.1", "type", "a")
    vectors.add([vector(1)])
    store.put_vectors("7.1", "type", "a", "damaged.safetensors", b"\x10\0\0\0\0\0\0\0{}")
    store.put_vectors("7.1", "type", "a", "short.safetensors", b"12")
    assert sorted(vectors.by_uri()) == ["/1.png"]


def test_vectors_of_other_representations_are_removed_when_nothing_needs_them(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path.as_uri())
    for name in ("old", "live", "new"):
        Vectors(store, "7.1", "type", name).add([vector(1)])
    store.keep_vectors("7.1", "type", ["live", "new"])
    assert [bool(Vectors(store, "7.1", "type", name).by_uri()) for name in ("old", "live", "new")] == [
        False,
        True,
        True,
    ]


def test_what_has_no_vector_is_named(tmp_path: Path) -> None:
    remembered = Remembered({"/1.png": vector(1)})
    image = remembered.load("/1.png", 1, project="7.1")
    assert (image.key, image.pixels.shape) == ("key 1", (5, 5, 3))
    with pytest.raises(ImageError, match=r"task 2 of project 7\.1: its image has no vector yet"):
        remembered.load("/2.png", 2, project="7.1")


def test_a_new_order_comes_while_a_long_training_holds_the_other_queue(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real worker processes; nobody serves the queue of trainings, as if one went on for hours."""
    stub_plugin.install(monkeypatch)
    with loop_stage.label_studio(marrow_stage.config(order="spread")) as studio:
        chosen = loop_stage.settings(tmp_path, studio.url, redis_url=redis_url, score_shard_size=50)
        place = loop_stage.workplace(chosen)
        marrow_stage.add_cells(studio, tmp_path, 40)
        place.queues.request_training(PROJECT, "test", now=True)
        loop_stage.work_off(chosen, monkeypatch)
        for number in range(1, 21):
            marrow_stage.choose(studio, number)
        with Supervisor(chosen, [("refit",), ("push", "score")], reconciles=False):
            place.queues.request_training(PROJECT, "ANNOTATION_CREATED")
            first = wait_until(lambda: studio.title.startswith("parts-0001") and studio.title, seconds=120)
            for number in range(21, 27):
                marrow_stage.choose(studio, number, None if number % 3 else "HEM")
            place.queues.request_training(PROJECT, "ANNOTATION_CREATED")
            wait_until(
                lambda: len(place.store.versions(PROJECT, "type")) == 2, "a second head, better or not", seconds=120
            )
        assert place.queues.waiting("train") + len(place.queues.running(PROJECT)) > 0, "the training still waits"
        assert set(studio.open_tasks()) <= {one["task"] for one in studio.predictions if one["model_version"] == first}
        place.studio.close()
        place.queues.redis.close()
