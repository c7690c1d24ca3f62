"""The experiment goes on where it was, and refuses what it cannot compare."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from cells_pictures import on_smear
from hemaloop.cli import build
from hemaloop.errors import DatasetError, OptionError
from hemaloop_cell_vae.experiment import study
from hemaloop_cell_vae.experiment.study import Plan, path_of, work

PLAN = Plan(("VAE-256", "sampled 50"), size=32, epochs=1, folds=2, seed=0)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    for label, name in enumerate(("ALL", "HEM")):
        (folder / name).mkdir()
        for seed in range(12):
            Image.fromarray(on_smear(label, seed, 40)).save(folder / name / f"{seed}.png")
    return folder


def test_finished_folds_are_kept_and_the_rest_is_done(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = path_of(tmp_path, "VAE-256", 0)
    figures = {"l1": 0.5, "ssim": 0.9, "f1": [0.25], "active_dimensions": 3, "seconds": 7200.0, "epochs": []}
    kept.write_text(json.dumps({"method": "VAE-256", "fold": 0, **figures}))
    work(cells, tmp_path, Plan(("VAE-256",), 32, 1, 2, 0), without=(), only_report=False)
    (row,) = json.loads((tmp_path / "results.json").read_text())
    assert row["folds"] == 2
    assert row["f1_best"] == 0.25, "the fold with the best SSIM"
    assert row["hours"] >= 2
    assert (tmp_path / "suppression.png").stat().st_size > 10_000
    monkeypatch.setattr(study, "one_fold", lambda *_: pytest.fail("a finished fold was done again"))
    work(cells, tmp_path, Plan(("VAE-256",), 32, 1, 2, 0), without=(), only_report=False)
    with pytest.raises(OptionError, match=r"holds another experiment: epochs 1 \(now 2\)"):
        work(cells, tmp_path, Plan(("VAE-256",), 32, 2, 2, 0), without=(), only_report=False)


def test_images_of_the_classifier_are_seen_by_no_auto_encoder(cells: Path) -> None:
    from hemaloop.plugin import Silent

    patches = study.read(cells, PLAN, (), Silent())
    assert 0 < patches.labelled.sum() < 24
    assert set(patches.folds.tolist()) == {0, 1}
    assert patches.pixels.shape == (24, 32, 32, 3)


def test_too_few_images_and_unknown_methods_say_what_is_needed(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="12 images of 1 classes, expected two classes or more"):
        work(cells, tmp_path, PLAN, without=("HEM",), only_report=False)
    with pytest.raises(OptionError, match="--methods: found blur, expected some of: VAE-256"):
        Plan.of(quick=True, size=None, epochs=None, folds=None, methods=("blur",), seed=0)


def test_the_command_is_found_by_its_entry_point() -> None:
    shown = CliRunner().invoke(build(), ["experiment", "suppression", "--help"])
    assert shown.exit_code == 0, shown.output
    assert "--quick" in shown.output
    assert CliRunner().invoke(build(), ["experiment", "unheard-of"]).exit_code != 0
