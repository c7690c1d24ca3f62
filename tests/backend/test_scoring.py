"""A task gets regions and a score, or a reason why not; what is wrong with one touches no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import stub_plugin
import web_stage
from hemaloop import results, scoring
from hemaloop.errors import InferenceError
from hemaloop.labelconfig import parse_label_config
from hemaloop.projects import LiveModel, Part, starter_part
from hemaloop.scoring import Scorer, TaskRef

TWO_CONTROLS = """<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="cells" toName="image" model_family="stub" model_preset="blobs">
    <Label value="red"/><Label value="green"/><Label value="blue"/>
  </RectangleLabels>
  <RectangleLabels name="again" toName="image" model_family="stub" model_preset="blobs" model_option_threshold="250">
    <Label value="red"/><Label value="green"/><Label value="blue"/>
  </RectangleLabels>
</View>"""


@pytest.fixture(autouse=True)
def stub() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        stub_plugin.install(patch)
        yield
    stub_plugin.forget()


def live_of(xml: str) -> LiveModel:
    parts = {control.name: starter_part(control) for control in parse_label_config(xml).bound}
    return LiveModel("+".join(part.version for part in parts.values()), parts)


def score(folder: Path, tasks: list[TaskRef], xml: str | None = None, **changes: object) -> list[scoring.TaskScore]:
    xml = xml or stub_plugin.config()
    scorer = Scorer(web_stage.settings(folder, **changes))
    return scorer.score(web_stage.PROJECT, parse_label_config(xml), live_of(xml), tasks)


def ref(folder: Path, number: int, **options: object) -> TaskRef:
    return TaskRef(number, {"image": web_stage.image_file(folder, f"{number}.png", number, **options)})


def test_each_cell_of_the_image_becomes_a_region_with_a_score(tmp_path: Path) -> None:
    (one,) = score(tmp_path, [ref(tmp_path, 1)])
    assert one.error is None
    labels = [region["value"]["rectanglelabels"][0] for region in one.result or []]
    assert sorted(labels) == sorted(cell[4] for cell in stub_plugin.random_cells(1))
    assert one.prediction is not None
    assert results.validate(one.prediction, parse_label_config(stub_plugin.config())) == []
    assert one.key is not None
    assert len(one.key) == 32
    assert one.relevance is not None
    assert one.score == results.score_for_label_studio(one.relevance)
    assert set(one.seconds) == {"image", "model", "result"}


def test_a_score_does_not_depend_on_what_else_is_asked(tmp_path: Path) -> None:
    refs = [ref(tmp_path, number) for number in range(1, 6)]
    together = score(tmp_path, refs)
    alone = [score(tmp_path, [one])[0] for one in refs]
    assert [one.prediction for one in together] == [one.prediction for one in alone]


@pytest.mark.parametrize(
    ("data", "part_of_reason"),
    [
        ({}, "nothing in data['image']"),
        ({"image": None}, "nothing in data['image']"),
        ({"image": 7}, "int in data['image']"),
        ({"image": ""}, "data['image']"),
        ({"image": "/etc/passwd"}, "not in an allowed folder"),
        ({"image": "\ud800"}, "image"),
        ({"image": "x\x00y"}, "image"),
    ],
    ids=str,
)
def test_a_task_without_an_image_fails_alone_and_says_why(
    tmp_path: Path, data: dict[str, object], part_of_reason: str
) -> None:
    good, bad, also_good = score(tmp_path, [ref(tmp_path, 1), TaskRef(2, data), ref(tmp_path, 3)])
    assert good.result
    assert also_good.result
    assert bad.result is None
    assert bad.prediction is None
    assert bad.score is None
    assert part_of_reason in (bad.error or "")


def test_an_image_that_a_model_fails_on_fails_alone(tmp_path: Path) -> None:
    refs = [ref(tmp_path, 1), ref(tmp_path, 2, mark=(255, 255, 0)), ref(tmp_path, 3)]
    good, bad, also_good = score(tmp_path, refs)
    assert good.result
    assert also_good.result
    assert bad.result is None
    assert "task 2" in (bad.error or "")
    assert "asked to fail" in (bad.error or "")


def test_an_image_without_a_cell_is_a_prediction_without_a_region(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.write_bytes(stub_plugin.png(stub_plugin.draw([])))
    (one,) = score(tmp_path, [TaskRef(1, {"image": str(path)})])
    assert one.error is None
    assert one.result == []
    assert one.score == 1.0


def test_of_several_bindings_the_largest_relevance_counts(tmp_path: Path) -> None:
    (both,) = score(tmp_path, [ref(tmp_path, 1)], TWO_CONTROLS)
    (first,) = score(tmp_path, [ref(tmp_path, 1)])
    assert both.model_version == "stub-blobs-starter-1+stub-blobs-starter-1"
    assert {region["from_name"] for region in both.result or []} <= {"cells", "again"}
    assert both.relevance is not None
    assert first.relevance is not None
    assert both.relevance >= first.relevance


def test_without_any_model_every_task_says_so_and_no_image_is_fetched(tmp_path: Path) -> None:
    (one,) = score(tmp_path, [TaskRef(1, {"image": "/nowhere.png"})], stub_plugin.config("bare"))
    assert one.result is None
    assert "stub-untrained" in (one.error or "")


def test_a_model_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    xml = stub_plugin.config()
    live = LiveModel("v", {"cells": Part("cells", "stub-0001-abcdef", tmp_path / "gone", stub_plugin_labels())})
    with pytest.raises(InferenceError, match="stub-0001-abcdef"):
        Scorer(web_stage.settings(tmp_path)).score(web_stage.PROJECT, parse_label_config(xml), live, [ref(tmp_path, 1)])


def stub_plugin_labels() -> tuple[str, ...]:
    return tuple(stub_plugin.COLOURS)


def test_models_used_last_are_kept_and_two_projects_never_share_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    real = scoring.load_part

    def counted(part: Part, *rest: object) -> object:
        loaded.append(part.version)
        return real(part, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "load_part", counted)
    xml = stub_plugin.config()
    scorer = Scorer(web_stage.settings(tmp_path, models_in_memory=2))
    refs = [ref(tmp_path, 1)]

    def use(project: str) -> None:
        scorer.score(project, parse_label_config(xml), live_of(xml), refs)

    use("1.1")
    use("1.1")
    assert len(loaded) == 1
    use("2.1")
    assert len(loaded) == 2
    use("1.1")
    assert len(loaded) == 2
    use("3.1")
    use("1.1")
    assert len(loaded) == 3
    use("2.1")
    assert len(loaded) == 4


def test_an_invalid_prediction_never_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "validate", lambda prediction, config: ["region 0: box outside the image"])
    (one,) = score(tmp_path, [ref(tmp_path, 1)])
    assert one.prediction is None
    assert "box outside the image" in (one.error or "")
