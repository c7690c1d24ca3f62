"""When labelling can stop: what is left, what is reached, what more would bring."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import loop_stage
import stub_plugin
from hemaloop.cli import build
from hemaloop.cli.project_status import as_plain, in_words
from hemaloop.dataset import Examples, Record
from hemaloop.errors import DatasetError
from hemaloop.images import LoadedImage, decode_image
from hemaloop.labelconfig import parse_label_config
from hemaloop.manifest import Manifest
from hemaloop.marked import Marked, keep_marks, marked, marks_of
from hemaloop.plugin import Detections, Silent
from hemaloop.project_status import ProjectStatus, status_of
from hemaloop.projects import build_plugin, load_part, starter_part
from hemaloop.stopping import Performance, Uncertainty, measure, outlook
from hemaloop.store import ArtifactStore
from hemaloop.supervisor import environment
from hemaloop.workplace import Workplace
from loop_stage import PROJECT, Studio

CONTROL = parse_label_config(stub_plugin.config("blobs")).bound[0]


@pytest.fixture(autouse=True)
def family(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_plugin.install(monkeypatch)


class Images:
    """Pictures of `stub_plugin.random_cells` by their seed."""

    def load(self, uri: str, task_id: int | None = None, *, project: str) -> LoadedImage:
        return decode_image(stub_plugin.png(stub_plugin.draw(stub_plugin.random_cells(int(uri)))))


def gate(count: int, wrong: int = 0, group: str | None = None) -> Examples:
    """Images whose truth is right, but for `wrong` that claim to be all of the next colour."""
    records = []
    for number in range(count):
        cells = stub_plugin.random_cells(number)
        names = list(stub_plugin.COLOURS)
        labels = [(names.index(cell[4]) + (number < wrong)) % 3 for cell in cells]
        truth = Detections.truth([cell[:4] for cell in cells], labels)
        records.append(Record(number, str(number), f"key {number}", group, truth))
    return Examples(records, Images(), PROJECT)


def starter() -> Any:
    return load_part(starter_part(CONTROL), CONTROL)


def manifest(images: int, figure: float, **fields: Any) -> Manifest:
    keys = tuple(str(number) for number in range(images))
    made = Manifest("stub", "1", ("red",), {"threshold": 60}, train=keys[1:], tune=keys[:1], figures={"map50": figure})
    return replace(made, **fields)


def test_so_few_unsure_cells_are_left_only_once_every_image_was_looked_at() -> None:
    few = Marked(images=10, objects=200, unsure=3)
    assert Uncertainty(10, few, 3).reached
    assert not Uncertainty(10, few, 2).reached
    assert not Uncertainty(11, few, 3).reached
    assert not Uncertainty(10, few, None).reached


def test_a_performance_is_reached_at_the_wished_figure_and_never_without_one() -> None:
    assert Performance("map50", 0.9, (0.8, 0.95), 20, 0.9).reached
    assert not Performance("map50", 0.89, (0.8, 0.95), 20, 0.9).reached
    assert not Performance("map50", math.nan, None, 0, 0.0).reached
    assert not Performance("map50", 0.9, (0.8, 0.95), 20, None).reached


def test_a_perfect_model_reaches_everything_with_certainty() -> None:
    found = measure(starter(), gate(12), "weighted_precision", 0.9)
    assert (found.value, found.interval, found.images, found.reached) == (1.0, (1.0, 1.0), 12, True)


def test_the_interval_holds_the_figure_and_is_wider_on_fewer_images() -> None:
    few, many = (measure(starter(), gate(count, wrong=count // 4), "map50", 0.9) for count in (8, 32))
    assert few.interval is not None
    assert many.interval is not None
    assert many.interval[0] < many.value < many.interval[1]
    assert few.interval[1] - few.interval[0] > many.interval[1] - many.interval[0]


def test_images_of_one_patient_are_drawn_together_so_one_patient_says_nothing_of_others() -> None:
    assert measure(starter(), gate(8, wrong=2, group="patient:1"), "map50", None).interval is None


def test_without_a_model_or_images_or_such_a_figure_there_is_no_value() -> None:
    for found in (measure(None, gate(4), "map50", 0.5), measure(starter(), gate(0), "map50", 0.5)):
        assert math.isnan(found.value)
        assert not found.reached
    unknown = measure(starter(), gate(4), "sharpness", 0.5)
    assert math.isnan(unknown.value)
    assert "map50" in unknown.known


def test_the_outlook_follows_the_curve_of_the_models_so_far() -> None:
    trained = [manifest(count, 0.9 - 1.5 * count**-0.6) for count in (10, 20, 40, 80)]
    found = outlook(trained, "map50", labelled=80, batch=20, wanted=0.85)
    assert found.gain == pytest.approx(1.5 * (80**-0.6 - 100**-0.6), abs=0.003)
    assert found.needed == pytest.approx((1.5 / 0.05) ** (1 / 0.6), rel=0.15)
    assert outlook(trained, "map50", 80, 20, wanted=0.99).needed is None
    assert outlook(trained, "map50", 80, 20, wanted=None).needed is None


def test_models_of_other_labels_or_options_or_without_the_figure_are_of_no_such_curve() -> None:
    trained = [manifest(count, 0.5) for count in (10, 20, 40, 80)]
    for fields in ({"labels": ("blue",)}, {"options": {"threshold": 7}}, {"figures": {}}):
        with pytest.raises(DatasetError, match="found models of 3 different"):
            outlook([replace(trained[0], **fields), *trained[1:]], "map50", 80, 10, None)
    with pytest.raises(DatasetError, match="found models of 0"):
        outlook([], "map50", 80, 10, None)


def region(number: int, *reasons: str, name: str = "cells") -> dict[str, Any]:
    return {"id": str(number), "from_name": name, **({"meta": {"text": ["; ".join(reasons)]}} if reasons else {})}


def test_marked_cells_are_counted_by_reason_and_one_that_may_be_rare_is_not_unsure(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path.as_uri())
    one = [
        region(1),
        region(2, "uncertain box", "maybe rare: Teardrop (35%)"),
        region(2, "uncertain box", "maybe rare: Teardrop (35%)", name="cells_review"),
        region(3, "maybe rare: Teardrop (90%)"),
    ]
    two = [region(4, "uncertain class", "uncertain box"), region(5, name="another control")]
    keep_marks(store, PROJECT, "v1", [{"task": 1, "marks": marks_of(one)}, {"task": 2, "marks": marks_of(two)}])
    keep_marks(store, PROJECT, "v1", [{"task": 3, "marks": {}}, {"task": 4, "marks": None}])
    reasons = {"uncertain box": 2, "maybe rare": 2, "uncertain class": 1}
    assert marked(store, PROJECT, "v1", CONTROL, [1, 2, 3, 4]) == Marked(3, 4, 2, reasons)
    assert marked(store, PROJECT, "v1", CONTROL, [3, 4]) == Marked(1, 0, 0, {})
    keep_marks(store, PROJECT, "v2", [{"task": 1, "marks": {}}])
    assert marked(store, PROJECT, "v1", CONTROL, [1]).images == 0, "what an earlier version marked says nothing now"


@pytest.fixture
def stage(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Studio, Workplace, Any]]:
    with loop_stage.label_studio(stub_plugin.config("blobs", relevance="paper")) as studio:
        chosen = loop_stage.settings(tmp_path, studio.url, redis_url=redis_url)
        place = loop_stage.workplace(chosen)
        yield studio, place, lambda: loop_stage.work_off(chosen, monkeypatch)
        place.studio.close()
        place.queues.redis.close()


def look(place: Workplace) -> ProjectStatus:
    return status_of(place.settings, place.store, place.studio, place.images, 7, Silent())


def test_a_project_says_how_far_away_its_end_is(
    stage: tuple[Studio, Workplace, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio, place, work = stage
    wishes = 'model_stop_uncertain_cells="0" model_stop_performance="0.5" model_family'
    studio.config = studio.config.replace("model_family", wishes)
    studio.add_images(tmp_path, 24)
    place.queues.request_scores(PROJECT, "test")
    work()
    for task in range(1, 19):
        studio.annotate(task)
    found = look(place)
    assert (found.annotated, found.tasks, found.published) == (18, 24, "stub-blobs-starter-1")
    (control,) = found.controls
    shown = sum(len(one["result"]) for one in studio.predictions if one["task"] > 18)
    assert (control.uncertainty.images, control.uncertainty.found.images) == (6, 6)
    assert control.uncertainty.found.objects == shown
    assert control.performance.value == pytest.approx(1.0), "the starter knows these colours"
    assert control.performance.images > 2
    assert control.can_stop
    assert control.outlook is None
    assert "expected at least 4" in control.unclear
    for name, value in environment(place.settings).items():
        monkeypatch.setenv(name, value)
    printed = CliRunner().invoke(build(), ["project", "status", "7"])
    assert "18 of 24 tasks are annotated" in printed.output
    assert "labelling can stop" in printed.output
    plain = json.loads(CliRunner().invoke(build(), ["project", "status", "7", "--json"]).stdout)
    assert plain["controls"][0]["performance"]["value"] == pytest.approx(1.0)
    assert plain["controls"][0]["can_stop"] is True


def test_a_project_of_which_nothing_is_known_says_so(stage: tuple[Studio, Workplace, Any], tmp_path: Path) -> None:
    studio, place, _ = stage
    studio.config = stub_plugin.config("bare")
    studio.add_images(tmp_path, 3)
    found = look(place)
    text = "\n".join(in_words(found))
    assert "0 of 3 tasks are annotated" in text
    assert "no model has looked at the 3 images" in text
    assert "no wish is set" in text
    assert as_plain(found)["controls"][0]["performance"]["value"] is None
    json.dumps(as_plain(found), allow_nan=False)


def test_the_outlook_comes_from_the_models_of_the_project(stage: tuple[Studio, Workplace, Any], tmp_path: Path) -> None:
    studio, place, _ = stage
    for task in studio.add_images(tmp_path, 8):
        studio.annotate(task)
    plugin = build_plugin(CONTROL)
    plugin.load(starter_part(CONTROL).directory or tmp_path)
    for count in (10, 20, 40, 80):
        figures = {"weighted_precision": 0.9 - 1.5 * count**-0.6}
        fields = {"labels": plugin.labels, "options": {}, "figures": figures}
        place.store.put(PROJECT, "cells", plugin, manifest(count, 0.0, **fields))
    (control,) = look(place).controls
    assert control.outlook is not None
    assert control.outlook.gain > 0
    assert "expected of" in "\n".join(in_words(look(place)))
    assert np.isfinite(control.outlook.curve.limit)
