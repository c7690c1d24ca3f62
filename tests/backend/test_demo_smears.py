"""The images of the demo: whatever folder somebody names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemaloop.demo.smears import collect
from hemaloop.errors import DatasetError
from hemaloop.synthetic import write_voc


def _picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)


def test_a_folder_with_boxes_keeps_them(tmp_path: Path) -> None:
    source = write_voc(tmp_path / "smears", 3, width=160, height=120)
    found = collect(tmp_path / "demo", source)
    assert len(found.smears) == len(found.with_truth) == 3
    assert all((found.folder / smear.name).is_file() for smear in found.smears)


def test_nested_folders_with_boxes_are_found(tmp_path: Path) -> None:
    for name, seed in (("Training", 1), ("Testing", 2)):
        write_voc(tmp_path / "cbc" / name, 2, seed=seed, width=160, height=120)
    found = collect(tmp_path / "demo", tmp_path / "cbc")
    assert sorted(smear.name.split("/")[0] for smear in found.with_truth) == ["Testing"] * 2 + ["Training"] * 2


def test_plain_images_have_no_truth(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b ä.png", ".hidden.png"):
        _picture(tmp_path / "plain" / name)
    found = collect(tmp_path / "demo", tmp_path / "plain")
    assert {smear.name for smear in found.smears} == {"a.png", "deep/b ä.png"}
    assert found.with_truth == ()


def test_a_limit_takes_images_from_the_whole_folder(tmp_path: Path) -> None:
    for number in range(10):
        _picture(tmp_path / "plain" / f"{number}.png")
    found = collect(tmp_path / "demo", tmp_path / "plain", limit=3)
    assert [smear.name for smear in found.smears] == ["0.png", "3.png", "6.png"]


def test_without_a_folder_smears_are_rendered_once(tmp_path: Path) -> None:
    first = collect(tmp_path, None, limit=2)
    written = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*.jpg")}
    second = collect(tmp_path, None, limit=2)
    assert len(second.with_truth) == 2
    assert {path: path.stat().st_mtime_ns for path in second.folder.rglob("*.jpg")} == written


def test_a_folder_without_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no image"):
        collect(tmp_path / "demo", tmp_path / "empty")
    with pytest.raises(DatasetError, match="no such folder"):
        collect(tmp_path / "demo", tmp_path / "nowhere")
