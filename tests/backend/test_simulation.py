"""The experiment of active learning, with a small real family."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import typer
from typer.testing import CliRunner

import stub_plugin
from blobs import write_blobs, write_image
from hemaloop import registry
from hemaloop.cli import simulate
from hemaloop.dataset import split_of
from hemaloop.errors import Cancelled, DatasetError, HemaloopError, OptionError
from hemaloop.formats import read_dataset
from hemaloop.plugin import Silent
from hemaloop.simulation.experiment import Experiment, fingerprint, rare_classes
from hemaloop.simulation.folder import START, Folder
from hemaloop.simulation.images import Images
from hemaloop.simulation.rounds import Rounds
from hemaloop.simulation.schedule import Pace, in_hours
from hemaloop.simulation.strategies import RANDOM, STRATEGIES, Candidates, strategies_of
from hemaloop.simulation.units import Unit, units_of
from loop_stage import wait_until

SMALL = ("--start", 4, "--batch", 2, "--candidates", 6, "--rounds", 2, "--test", 0.3)


@pytest.fixture(scope="module", autouse=True)
def _stub() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        stub_plugin.install(patch)
        yield
    stub_plugin.forget()


@pytest.fixture(scope="module")
def smears(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blobs(tmp_path_factory.mktemp("data") / "smears", 30)


def run(*arguments: object) -> tuple[int, str]:
    """The command in this process: its exit status, and what it said in one line."""
    app = typer.Typer(rich_markup_mode="rich")
    simulate.register(app)
    app.command()(lambda: None)  # one command alone would lose its name
    result = CliRunner().invoke(app, ["simulate", *map(str, arguments)], env={"COLUMNS": "200", "NO_COLOR": "1"})
    if result.exception is not None and not isinstance(result.exception, HemaloopError | SystemExit):
        raise result.exception
    return result.exit_code, " ".join(f"{result.output} {result.exception or ''}".replace("│", " ").split())


def simulated(data: Path, out: Path, *arguments: object) -> str:
    status, said = run(data, "--family", "stub", "--rare", "red", "--out", out, *SMALL, *arguments)
    assert status == 0, said
    return said


@pytest.fixture(scope="module")
def finished(smears: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of three strategies."""
    out = tmp_path_factory.mktemp("finished") / "out"
    simulated(smears, out, "--seeds", 2, "--strategies", "paper,spread,random")
    return out


def experiment(data: Path, **changes: Any) -> Experiment:
    dataset = read_dataset(data)
    made = Experiment(
        data=fingerprint(dataset.items),
        family="stub",
        family_version="1",
        labels=("red", "green", "blue"),
        options={},
        rare=("red",),
        start=4,
        batch=2,
        candidates=6,
        test=0.3,
        tune=0.1,
    )
    return replace(made, **changes)


def steps(out: Path) -> dict[str, Any]:
    """Every step of a folder without the times that it took."""
    found = {}
    for path in sorted((out / "runs").rglob("*.json")):
        if path.parent.name != "model":
            content = json.loads(path.read_text())
            found[path.relative_to(out).as_posix()] = {key: one for key, one in content.items() if key != "seconds"}
    return found


def test_every_round_labels_a_batch_of_candidates_and_is_measured(finished: Path, smears: Path) -> None:
    folder = Folder(finished)
    images = Images(read_dataset(smears), folder.experiment())
    test = {item.key for item in images.test.items}
    points, choices = folder.points(), folder.choices()
    assert len(points) == 2 * (1 + 3 * 2)
    assert len(choices) == 2 * 3 * 2
    for point in points:
        assert len(set(point.labelled)) == len(point.labelled) == 4 + 2 * point.round
        assert not test & set(point.labelled)
        assert point.all_cells == sum(images.cells(point.labelled).values())
        assert {"weighted_precision", "weighted_precision_true", "map50", "ap/red"} <= set(point.figures)
    by_place = {(point.seed, point.strategy, point.round): point for point in points}
    for choice in choices:
        before = by_place[choice.seed, START if choice.round == 1 else choice.strategy, choice.round - 1]
        assert len(choice.candidates) == 6
        assert set(choice.chosen) <= set(choice.candidates)
        assert not set(choice.candidates) & set(before.labelled)
        assert by_place[choice.seed, choice.strategy, choice.round].labelled == (*before.labelled, *choice.chosen)


def test_strategies_of_a_seed_start_from_the_same_images_and_sort_the_same_candidates(finished: Path) -> None:
    folder = Folder(finished)
    first = {(one.seed, one.strategy): one for one in folder.choices() if one.round == 1}
    for seed in range(2):
        assert len({first[seed, name].candidates for name in ("paper", "spread", "random")}) == 1
    starts = {point.seed: point.labelled for point in folder.points() if point.strategy == START}
    assert set(starts[0]) != set(starts[1])


def test_the_paper_s_rule_takes_the_most_relevant_and_chance_the_first_drawn(finished: Path) -> None:
    for choice in Folder(finished).choices():
        if choice.strategy == "paper":
            ranked = sorted(zip(choice.relevances, choice.candidates, strict=True), key=lambda one: -one[0])
            assert choice.chosen == tuple(key for _, key in ranked[:2])
        if choice.strategy == RANDOM:
            assert choice.chosen == choice.candidates[:2]
            assert choice.relevances == ()


def test_what_a_kill_destroyed_is_made_again_as_it_was(finished: Path, smears: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    for name in ("seed-000/paper/round-02", "seed-000/spread/choice-02", "seed-000/spread/round-01"):
        (out / "runs" / f"{name}.json").unlink()
    (out / "runs" / "seed-001" / "random" / ".round-02.json.partial").write_text("{")
    for strategy in ("paper", "random"):
        shutil.rmtree(out / "runs" / "seed-001" / strategy)
    shutil.rmtree(out / "runs" / "seed-001" / START / "model")
    said = simulated(smears, out, "--seeds", 2, "--strategies", "paper,spread,random")
    assert "7 of 14 trainings to do" in said
    assert steps(out) == steps(finished)


def test_processes_make_what_one_process_makes(finished: Path, smears: Path, tmp_path: Path) -> None:
    simulated(smears, tmp_path / "out", "--seeds", 2, "--strategies", "paper,random", "--jobs", 2)
    mine = steps(tmp_path / "out")
    assert mine == {name: one for name, one in steps(finished).items() if "/spread/" not in name}
    assert len(list((tmp_path / "out" / "logs").iterdir())) == 2 * 3


def test_seeds_rounds_and_strategies_may_be_added(smears: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    simulated(smears, out, "--seeds", 1, "--strategies", "random", "--rounds", 1)
    said = simulated(smears, out, "--seeds", 2, "--strategies", "random,paper")
    assert "8 of 10 trainings to do" in said
    assert steps(out) == {name: one for name, one in steps(finished).items() if "/spread/" not in name}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (("--start", 5), "start: 4 there, 5 asked for"),
        (("--batch", 3), "batch: 2 there, 3 asked for"),
        (("--rare", "blue"), r"rare: \['red'\] there, \['blue'\] asked for"),
        (("--option", "epochs=3"), "option epochs: None there, '3' asked for"),
        (("--test", 0.4), "test: 0.3 there, 0.4 asked for"),
    ],
)
def test_another_experiment_in_the_same_folder_is_refused(
    changes: tuple[object, ...], told: str, finished: Path, smears: Path
) -> None:
    before = steps(finished)
    arguments = (smears, "--family", "stub", "--rare", "red", "--out", finished, *SMALL, "--seeds", 2)
    status, said = run(*arguments, "--strategies", "paper,random", *changes)
    assert status == 1
    assert re.search(told, said), said
    assert "Seeds, rounds and strategies may be added" in said
    assert steps(finished) == before


def test_other_labels_are_another_experiment(finished: Path, smears: Path, tmp_path: Path) -> None:
    data = tmp_path / "smears"
    shutil.copytree(smears, data)
    annotation = data / "Annotations" / "003.xml"
    annotation.write_text(annotation.read_text().replace("red", "blue").replace("green", "blue"))
    status, said = run(data, "--family", "stub", "--rare", "red", "--out", finished, *SMALL, "--strategies", "random")
    assert status == 1
    assert "the images or their labels" in said


def test_a_folder_with_something_else_is_left_alone(smears: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear colleague")
    status, said = run(smears, "--family", "stub", "--out", tmp_path, *SMALL, "--strategies", "random")
    assert status == 1
    assert "holds something that is not a simulation" in said
    assert (tmp_path / "letter.txt").read_text() == "dear colleague"


def test_a_second_run_at_the_same_time_is_refused(finished: Path, smears: Path) -> None:
    with Folder(finished).alone():
        status, said = run(
            smears, "--family", "stub", "--rare", "red", "--out", finished, *SMALL, "--strategies", "random"
        )
    assert status == 1
    assert "another simulation is at work here" in said


def test_results_are_a_table_a_record_and_curves(finished: Path) -> None:
    with (finished / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 14
    assert {"seed", "strategy", "round", "images", "cells", "weighted_precision", "ap/red", "cells/red"} <= set(rows[0])
    assert [row["images"] for row in rows if row["strategy"] == "paper"] == ["6", "8", "6", "8"]
    content = json.loads((finished / "results.json").read_text())
    assert content["experiment"]["batch"] == 2
    assert content["machine"]["cores"] >= 1
    assert content["hours_of_computing"] > 0
    assert set(content["curves"]) == {"paper", "spread", "random"}
    compared = {(one["strategy"], one["figure"]): one for one in content["against_random"]}
    assert compared["paper", "weighted_precision"]["seeds"] == 2
    assert compared["random", "weighted_precision"]["gain"]["difference"]["value"] == 0
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (finished / "curves.svg").read_text().rstrip().endswith("</svg>")


def test_the_report_alone_trains_nothing(finished: Path, smears: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    shutil.rmtree(out / "runs" / "seed-001")
    (out / "results.json").unlink()
    status, said = run(smears, "--out", out, "--only-report")
    assert status == 0, said
    assert "7 trainings" in said
    assert json.loads((out / "results.json").read_text())["curves"]["paper"]["seeds"] == [0]


def test_nothing_to_report_says_so(smears: Path, tmp_path: Path) -> None:
    status, said = run(smears, "--out", tmp_path / "never", "--only-report")
    assert status == 1
    assert "no training of the simulation is finished yet" in said


def test_the_last_round_takes_what_is_left_and_the_rest_is_said_once(smears: Path, tmp_path: Path) -> None:
    dataset = read_dataset(smears)
    pool = sum(split_of(item.key, gate=0.3, tune=0.1) != "gate" for item in dataset.items)
    arguments = ("--start", pool - 5, "--batch", 2, "--candidates", 4, "--rounds", 9, "--seeds", 1)
    said = simulated(smears, tmp_path / "out", *arguments, "--strategies", "paper,random")
    assert said.count("the pool is empty after round 3") == 1
    assert said.count("from round 2 on fewer than 4 images are unlabelled") == 1
    choices = [one for one in Folder(tmp_path / "out").choices() if one.strategy == "paper"]
    assert [len(one.candidates) for one in choices] == [4, 3, 1]
    assert [len(one.chosen) for one in choices] == [2, 2, 1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--strategies", "clairvoyant"), "found clairvoyant, expected some of random, own"),
        (("--strategies", "entropy"), "strategy 'entropy': options of 'stub': relevance: found 'entropy'"),
        (("--start", 40), "lower --start or --batch"),
        (("--candidates", 1), "expected --batch 2 or more"),
        (("--rare", "violet"), "rare class 'violet': found no cell of it"),
        (("--option", "epochs=0"), "greater than or equal to 1"),
        (("--classes", "red,violet", "--rare", "violet"), "rare class 'violet': found no cell of it"),
        (("--family", "gone"), "none of that name is installed"),
    ],
)
def test_what_cannot_be_simulated_says_why_before_anything_is_written(
    arguments: tuple[object, ...], told: str, smears: Path, tmp_path: Path
) -> None:
    status, said = run(smears, "--family", "stub", "--out", tmp_path / "out", *SMALL, *arguments)
    assert status == 1
    assert told in said
    assert not (tmp_path / "out").exists()


def test_a_rare_class_that_no_test_image_has_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "smears"
    numbers = iter(range(1000))
    for _ in range(20):  # blue lies on images of the pool alone
        cells = [(*cell[:4], "red") for cell in stub_plugin.random_cells(next(numbers))]
        write_image(data, f"{next(numbers):03d}", cells, cells)
    dataset = read_dataset(data)
    learned = next(item for item in dataset.items if split_of(item.key, gate=0.3, tune=0.1) == "train")
    path = data / "Annotations" / f"{learned.path.stem}.xml"
    path.write_text(path.read_text().replace("red", "blue", 1))
    status, said = run(data, "--family", "stub", "--out", tmp_path / "out", *SMALL, "--rare", "blue")
    assert status == 1
    assert "no cell of blue on the" in said


def test_a_single_class_is_simulated_without_rare_ones(smears: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, said = run(
        smears, "--family", "stub", "--out", out, *SMALL, "--classes", "red", "--seeds", 1, "--strategies", "random"
    )
    assert status == 0, said
    assert "red is the only class" in said
    assert "no rare class" in said


def test_a_part_that_fails_leaves_the_others_done(
    smears: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = registry.find("stub")
    score = stub.score
    monkeypatch.setattr(
        stub, "score", lambda self, images: [replace(one, features=None) for one in score(self, images)]
    )
    arguments = ("--rare", "red", "--out", tmp_path / "out", *SMALL, "--seeds", 1, "--strategies", "spread,random")
    status, said = run(smears, "--family", "stub", *arguments)
    assert status == 1
    assert "seed 0, spread: strategy 'spread' needs what images look like" in said
    assert [point.strategy for point in Folder(tmp_path / "out").points()] == ["random", "random", START]


def test_a_stop_keeps_what_is_finished_and_the_same_call_goes_on(smears: Path, finished: Path, tmp_path: Path) -> None:
    class Stopping:
        """Somebody presses Ctrl-C in the middle of the second round."""

        def report(self, done: float, total: float, message: str, figures: object = None) -> None:
            if done > 1.5:
                raise Cancelled(message)

    folder = Folder(tmp_path / "out")
    folder.begin(experiment(smears), read_dataset(smears))
    images = Images(read_dataset(smears), folder.experiment())
    Rounds(folder, images).start(0, Silent())
    with pytest.raises(Cancelled):
        Rounds(folder, images).follow(0, STRATEGIES["paper"], 2, Stopping())
    assert [point.round for point in folder.points() if point.strategy == "paper"] == [1]
    Rounds(folder, images).follow(0, STRATEGIES["paper"], 2, Silent())
    for number in (1, 2):
        mine, theirs = folder.point(0, "paper", number), Folder(finished).point(0, "paper", number)
        assert mine is not None
        assert theirs is not None
        assert mine.labelled == theirs.labelled


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_every_process_and_keeps_what_is_finished(jobs: int, smears: Path, tmp_path: Path) -> None:
    arguments = [str(smears), "--family", "stub", "--rare", "red", "--out", "out", *map(str, SMALL)]
    arguments += ["--seeds", "2", "--strategies", "random", "--jobs", str(jobs)]
    arguments += ["--option", "epochs=8", "--option", "epoch_seconds=0.5"]
    process = subprocess.Popen(
        [sys.executable, "-m", "hemaloop", "simulate", *arguments],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: Folder(tmp_path / "out").points(), "a training", 240.0)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= (jobs if jobs > 1 else 0)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "what is finished is kept, the same command goes on" in " ".join(errors.split())
    assert "Traceback" not in errors
    assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert Folder(tmp_path / "out").points()
    assert not list((tmp_path / "out").rglob("*partial*"))
    assert (tmp_path / "out" / "results.csv").is_file()


def test_starting_weights_that_know_the_test_images_are_refused(
    smears: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "out")
    folder.begin(experiment(smears), read_dataset(smears))
    images = Images(read_dataset(smears), folder.experiment())
    stub = registry.find("stub")
    fit = stub.fit
    known = images.test.items[0].key
    monkeypatch.setattr(stub, "fit", lambda self, *given: replace(fit(self, *given), inherited=(known,)))
    with pytest.raises(DatasetError, match="have learned from 1 of the"):
        Rounds(folder, images).start(0, Silent())


# -- images


def test_the_test_images_are_those_of_their_content_whatever_else_is_there(smears: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer"
    shutil.copytree(smears, fewer)
    for number in range(0, 30, 4):
        (fewer / "Annotations" / f"{number:03d}.xml").unlink()
        (fewer / "Images" / f"{number:03d}.png").unlink()
    every, some = (Images(read_dataset(data), experiment(smears)) for data in (smears, fewer))
    test = {item.key for item in every.test.items}
    assert {item.key for item in some.test.items} == test & {item.key for item in read_dataset(fewer).items}
    assert test.isdisjoint(every.pool)
    assert len(test) + len(every.pool) == 30


def test_the_same_picture_twice_is_one_image(smears: Path, tmp_path: Path) -> None:
    data = tmp_path / "smears"
    shutil.copytree(smears, data)
    for folder, suffix in (("Annotations", "xml"), ("Images", "png")):
        shutil.copy(data / folder / f"003.{suffix}", data / folder / f"copy.{suffix}")
    images = Images(read_dataset(data), experiment(smears))
    assert len(images.pool) + len(images.test.items) == 30


def test_a_training_set_does_not_depend_on_the_order_of_labelling(smears: Path) -> None:
    images = Images(read_dataset(smears), experiment(smears))
    labelled = images.start(3, 9)
    forwards, backwards = (images.train_and_tune(keys, 0.1) for keys in (labelled, labelled[::-1]))
    for one, other in zip(forwards, backwards, strict=True):
        assert [item.key for item in one.items] == [item.key for item in other.items]
    assert len(forwards[0]) + len(forwards[1]) == 9


def test_a_labelled_image_tunes_where_none_was_meant_to_and_none_where_none_is_wanted(smears: Path) -> None:
    images = Images(read_dataset(smears), experiment(smears, tune=0.0))
    labelled = images.start(0, 4)
    assert [len(part) for part in images.train_and_tune(labelled, 0.1)] == [3, 1]
    assert [len(part) for part in images.train_and_tune(labelled, 0.0)] == [4, 0]


# -- strategies


def candidates(relevances: list[float], features: list[list[float]], labelled: list[list[float]]) -> Candidates:
    return Candidates(np.array(relevances), np.array(features, np.float32), np.array(labelled, np.float32), 2, 0)


def test_the_most_relevant_of_equals_is_the_first_drawn() -> None:
    order = STRATEGIES["paper"].rule(candidates([1, 5, 5, 2], [[0.0]] * 4, [[0.0]]))
    assert order.tolist() == [1, 2, 3, 0]


def test_spreading_leaves_out_the_twin_of_the_most_relevant() -> None:
    found = STRATEGIES["spread"].rule(candidates([5, 4.9, 3], [[1.0, 0], [1.0, 0.01], [0, 1.0]], [[0.5, 0.5]]))
    assert found[:2].tolist() == [0, 2]


def test_a_strategy_tells_the_family_its_score() -> None:
    stub = registry.find("stub")
    assert [dict(one.options) for one in strategies_of(("paper", "random", "own"), stub, {})] == [
        {"relevance": "paper"},
        {},
        {},
    ]
    with pytest.raises(OptionError, match="strategy 'bald'"):
        strategies_of(("bald",), stub, {})


def test_rare_classes_have_fewer_than_half_of_an_even_share(tmp_path: Path) -> None:
    cells = [(2 + 16 * place, 2, 10 + 16 * place, 11, colour) for place, colour in enumerate(("red", "red", "green"))]
    for number in range(4):
        drawn = [*cells, (50, 30, 58, 39, "blue")] if not number else cells
        write_image(tmp_path / "smears", str(number), [*drawn, (2, 30, 10 + number, 39, "green")], drawn)
    dataset = read_dataset(tmp_path / "smears")  # 8 red, 4 green, 1 blue: half of an even share is 13 / 6
    assert rare_classes(dataset, ("red", "green", "blue"), None) == ("blue",)
    assert rare_classes(dataset, ("red", "green"), None) == ()
    assert rare_classes(dataset, ("red", "green", "blue"), ()) == ()
    assert rare_classes(dataset, ("red", "green", "blue"), ("red",)) == ("red",)


# -- the work in pieces


def test_units_are_ordered_seed_by_seed_each_after_its_start() -> None:
    from hemaloop.simulation.experiment import Extent

    extent = Extent(2, 3, ("paper", "random"))
    assert [str(unit) for unit in units_of(extent)] == [
        "seed 0, start",
        "seed 0, paper",
        "seed 0, random",
        "seed 1, start",
        "seed 1, paper",
        "seed 1, random",
    ]
    assert sum(unit.trainings(3) for unit in units_of(extent)) == extent.steps == 14
    assert Unit(0, START).trainings(3) == 1


def test_the_time_left_is_told_from_the_trainings_of_this_call() -> None:
    told = []

    class Heard:
        def report(self, done: float, total: float, message: str, figures: object = None) -> None:
            told.append(message)

    now = iter([0.0, 600.0, 3600.0])
    pace = Pace(Heard(), 10, clock=lambda: next(now))
    pace.report(10.5, 20, "a")
    pace.report(12, 20, "b")
    assert told == ["10 of 20 trainings; a", "12 of 20 trainings, 40 min left; b"]
    assert [in_hours(seconds) for seconds in (20, 600, 9000)] == ["1 min", "10 min", "2.5 h"]
