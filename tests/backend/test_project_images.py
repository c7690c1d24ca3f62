"""Which files become tasks, under which names, and how they are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

import stub_plugin
from hemaloop.errors import DatasetError, LabelConfigError, SettingsError
from hemaloop.labelconfig import parse_label_config
from hemaloop.plugin import Silent
from hemaloop.project_images import (
    BYTES_AT_ONCE,
    FILES_AT_ONCE,
    Picture,
    _batches,
    find_pictures,
    image_field,
    storage_of,
)
from web_stage import settings

TWO_IMAGES = """<View><Image name="a" value="$left"/><Image name="b" value="$right"/>
<RectangleLabels name="x" toName="a" model_family="stub"><Label value="red"/></RectangleLabels>
<RectangleLabels name="y" toName="b" model_family="stub"><Label value="red"/></RectangleLabels></View>"""


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stub_plugin.png(stub_plugin.draw(stub_plugin.random_cells(seed))))
    return path


def test_a_folder_gives_each_content_once_in_the_order_of_its_keys(tmp_path: Path) -> None:
    for number in range(6):
        picture(tmp_path / "smears" / f"p{number % 2}" / f"{number}.png", number % 5)
    picture(tmp_path / "smears" / ".hidden" / "9.png", 9)
    found = find_pictures([tmp_path / "smears"], settings(tmp_path), Silent())
    assert sorted(one.name for one in found.pictures) == ["p0/0.png", "p0/2.png", "p0/4.png", "p1/1.png", "p1/3.png"]
    assert [one.key for one in found.pictures] == sorted(one.key for one in found.pictures)
    assert {one.folder for one in found.pictures} == {"p0", "p1"}
    assert found.left_out == ("p1/5.png: is the same picture as p0/0.png",)


def test_several_folders_are_told_apart_by_their_names(tmp_path: Path) -> None:
    paths = [picture(tmp_path / name / "1.png", number).parent for number, name in enumerate("ab")]
    found = find_pictures([*paths, picture(tmp_path / "alone.png", 7)], settings(tmp_path), Silent())
    assert sorted(one.name for one in found.pictures) == ["a/1.png", "alone.png", "b/1.png"]


def test_what_cannot_be_labelled_is_left_out_with_its_reason(tmp_path: Path) -> None:
    folder = picture(tmp_path / "smears" / "good.png", 1).parent
    (folder / "scan.tiff").write_bytes(b"II*\0")
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "notes.txt").write_text("no image")
    chosen = settings(tmp_path, image_max_pixels=64 * 48 + 1, image_max_bytes=2000)
    (folder / "large.bmp").write_bytes(bytes(3000))
    left_out = " ".join(find_pictures([folder], chosen, Silent()).left_out)
    assert "scan.tiff: browsers do not show .tiff files" in left_out
    assert "torn.jpg: is not an image that can be read" in left_out
    assert "large.bmp: 3,000 bytes, expected at most 2,000" in left_out
    assert "notes.txt" not in left_out
    with pytest.raises(DatasetError, match="64x48 px, expected at most 100"):
        find_pictures([folder / "good.png"], settings(tmp_path, image_max_pixels=100), Silent())


def test_a_request_holds_no_more_than_label_studio_takes(tmp_path: Path) -> None:
    small = [Picture(tmp_path, str(number), str(number), 10) for number in range(2 * FILES_AT_ONCE + 1)]
    assert [len(batch) for batch in _batches(small)] == [FILES_AT_ONCE, FILES_AT_ONCE, 1]
    large = [Picture(tmp_path, str(number), str(number), BYTES_AT_ONCE // 2) for number in range(3)]
    assert [len(batch) for batch in _batches(large)] == [2, 1]
    assert list(_batches([])) == []


def test_a_config_with_two_images_a_task_takes_no_files() -> None:
    with pytest.raises(LabelConfigError, match=r"several images a task \(left, right\)"):
        image_field(parse_label_config(TWO_IMAGES))
    assert image_field(parse_label_config(stub_plugin.config())) == "image"


@pytest.mark.parametrize("address", ["gs://bucket/x", "relative/folder", "https://host/x", "s3://"])
def test_a_storage_of_another_kind_says_what_to_do(address: str) -> None:
    with pytest.raises(SettingsError, match="expected s3://bucket/prefix, or the absolute path"):
        storage_of(address)


def test_a_bucket_is_opened_with_the_environments_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    with pytest.raises(SettingsError, match="AWS_SECRET_ACCESS_KEY in the environment"):
        storage_of("s3://cells/smears/")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "xyzzy")
    kind, fields = storage_of("s3://cells/smears/")
    assert (kind, fields["bucket"], fields["prefix"]) == ("s3", "cells", "smears")
    assert "xyzzy" not in fields["title"]
