"""Data sets of points on cells: which folders they are, what becomes of each point, and what is kept on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemaloop.errors import Cancelled, DatasetError
from hemaloop.evaluation.overlap import intersection_over_union, share_inside
from hemaloop.formats import PointRules, detect_format, examples, outlines, read_dataset
from hemaloop.formats.points import CHULA
from hemaloop.images.cache import DiskCache
from real_smears import CHULA as CHULA_FOLDER
from real_smears import needs_chula

CELLS = ((60, 60), (150, 60), (60, 140), (150, 140))
"""Middles of the cells on every image; each is 40 px wide."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's cache is left alone."""
    monkeypatch.setattr(outlines, "_cache", lambda: DiskCache(tmp_path / "cache", 2**20))


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (600, 480), (225, 225, 225))
    for x, y in CELLS:
        disc = Image.linear_gradient("L").resize((40, 40)).point(lambda _: 255)
        mask = Image.fromarray((np.hypot(*(np.mgrid[:40, :40] - 19.5)) <= 20).astype(np.uint8) * 255)
        image.paste(Image.merge("RGB", (disc, disc.point(lambda _: 120), disc)), (x - 20, y - 20), mask)
    image.save(path)
    return path


def chula(folder: Path, **texts: str) -> Path:
    """A folder laid out as Chula-RBC-12, an image for each text."""
    (folder / "Label").mkdir(parents=True)
    for name, text in texts.items():
        picture(folder / "Dataset" / f"{name}.png")
        (folder / "Label" / f"{name}.txt").write_text(text)
    return folder


def beside(folder: Path, names: str | None = "RBC\nWBC\n", **texts: str) -> Path:
    """Text files beside their images."""
    for name, text in texts.items():
        picture(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(text)
    if names is not None:
        (folder / "classes.txt").write_text(names)
    return folder


ALL = "60 60 0\n150 60 7\n60 140 12\n150 140 0\n"


def test_points_become_boxes_with_the_names_of_chula(tmp_path: Path) -> None:
    dataset = read_dataset(chula(tmp_path / "set", a=ALL, b="60 60 3\n"))
    assert dataset.format == "points"
    assert dataset.labels == tuple(name for name in CHULA if name != "Uncategorised")
    assert len(dataset.labels) == 12
    first, second = dataset.items
    assert first.names == ("Normal cell", "Teardrop", "Elliptocyte", "Normal cell")
    assert first.boxes[1] == pytest.approx([130, 40, 170, 80], abs=2)
    assert len(first.ignore) == 0
    assert second.names == ("Spherocyte",)
    assert len(second.ignore) == 3
    assert dataset.faults == ()


def test_cells_without_a_point_reach_the_example_as_ignore_regions_or_are_background_if_so_wished(
    tmp_path: Path,
) -> None:
    folder = chula(tmp_path / "set", a="60 60 0\n")
    (example,) = examples(read_dataset(folder), ("Normal cell",))
    assert example.ignore.shape == (3, 4)
    assert example.ignore.dtype == np.float32
    assert len(read_dataset(folder, rules=PointRules(ignore_unlabelled=False)).items[0].ignore) == 0


@pytest.mark.parametrize("ignore_unlabelled", [True, False])
def test_what_nobody_could_categorise_is_no_class_but_an_ignore_region(ignore_unlabelled: bool, tmp_path: Path) -> None:
    folder = chula(tmp_path / "set", a="60 60 0\n150 60 10\n60 140 0\n150 140 0\n")
    (item,) = read_dataset(folder, rules=PointRules(ignore_unlabelled=ignore_unlabelled)).items
    assert item.names == ("Normal cell",) * 3
    assert len(item.ignore) == 1
    assert item.ignore[0] == pytest.approx([130, 40, 170, 80], abs=2)


def test_text_files_beside_images_take_their_names_from_classes_txt(tmp_path: Path) -> None:
    folder = beside(tmp_path / "set", a="60 60 0\n\n150.5 60.25 1\n")
    (folder / "notes.txt").write_text("stained on Monday")
    dataset = read_dataset(folder)
    assert dataset.labels == ("RBC", "WBC")
    assert dataset.items[0].names == ("RBC", "WBC")
    assert dataset.faults == ()


def test_classes_txt_renames_the_classes_of_the_chula_layout(tmp_path: Path) -> None:
    folder = chula(tmp_path / "set", a="60 60 1\n")
    (folder / "classes.txt").write_text("round\nlarge\n")
    assert read_dataset(folder).items[0].names == ("large",)


def test_points_beside_images_without_names_say_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"put classes\.txt"):
        read_dataset(beside(tmp_path / "set", names=None, a="60 60 0\n"))


def test_a_yolo_folder_stays_one(tmp_path: Path) -> None:
    box = "0 0.25 0.3 0.1 0.1\n"
    assert detect_format(beside(tmp_path / "flat", a=box)) == "YOLO"
    assert detect_format(beside(tmp_path / "empty", a="")) == "YOLO"
    nested = tmp_path / "nested"
    picture(nested / "images" / "a.png")
    (nested / "labels").mkdir()
    (nested / "labels" / "a.txt").write_text(box)
    (nested / "classes.txt").write_text("RBC\n")
    assert detect_format(nested) == "YOLO"
    assert detect_format(beside(tmp_path / "points", a="", b="60 60 0\n")) == "points"


def test_a_folder_above_one_of_points_names_it(tmp_path: Path) -> None:
    chula(tmp_path / "smears", a=ALL)
    with pytest.raises(DatasetError, match="smears look like data sets"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("60 60", "expected x, y and a class number"),
        ("60 60 0.5", "expected x, y and a class number"),
        ("left 60 0", "expected x, y and a class number"),
        ("60 60 13", "class 13, expected 0 to 12"),
        ("60 60 -1", "class -1, expected 0 to 12"),
        ("600 60 0", "lies outside the image (600x480)"),
        ("-1 60 0", "lies outside the image"),
        ("nan 60 0", "lies outside the image"),
        ("inf 60 0", "lies outside the image"),
    ],
)
def test_a_bad_point_is_named_and_the_others_count(line: str, says: str, tmp_path: Path) -> None:
    dataset = read_dataset(chula(tmp_path / "set", a=f"150 60 7\n{line}\n"))
    assert dataset.items[0].names == ("Teardrop",)
    assert len(dataset.faults) == 1
    assert says in str(dataset.faults[0])


def test_an_empty_text_file_says_no_cell_and_every_cell_there_is_ignored(tmp_path: Path) -> None:
    item = read_dataset(chula(tmp_path / "set", a=ALL, b="")).items[1]
    assert item.boxes.shape == (0, 4)
    assert len(item.ignore) == 4


def test_an_image_without_text_and_a_text_without_image_are_left_out_and_named(tmp_path: Path) -> None:
    folder = chula(tmp_path / "set", a=ALL, b=ALL)
    picture(folder / "Dataset" / "c.png")
    (folder / "Dataset" / "b.png").unlink()
    dataset = read_dataset(folder)
    assert [item.path.name for item in dataset.items] == ["a.png"]
    said = " ".join(map(str, dataset.faults))
    assert "c.png: has no text file" in said
    assert "b.jpg' is not there" in said


def test_a_text_file_that_is_no_text_leaves_out_its_image(tmp_path: Path) -> None:
    folder = chula(tmp_path / "set", a=ALL, b=ALL)
    (folder / "Label" / "b.txt").write_bytes(b"\xff\xfe\x00")
    dataset = read_dataset(folder)
    assert [item.path.name for item in dataset.items] == ["a.png"]
    assert [str(fault)[:5] for fault in dataset.faults] == ["b.txt"]


def test_boxes_that_are_guesses_are_reported(tmp_path: Path) -> None:
    dataset = read_dataset(chula(tmp_path / "set", a="60 60 0\n105 100 0\n"))
    assert dataset.items[0].guessed == 1
    assert "1 of 2 boxes are squares of usual size" in dataset.notes()[0]
    assert dataset.notes()[1].startswith("3 ignore region(s)")
    assert read_dataset(chula(tmp_path / "whole", a=ALL)).notes() == []


def test_the_side_of_a_cell_can_be_said(tmp_path: Path) -> None:
    folder = chula(tmp_path / "set", a="105 100 0\n")
    box = read_dataset(folder, rules=PointRules(side=20.0)).items[0].boxes[0]
    assert box == pytest.approx([95, 90, 115, 110])


def test_outlines_are_made_once_and_anew_for_other_points_another_side_or_another_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = outlines.outline
    monkeypatch.setattr(outlines, "outline", lambda *given: made.append(1) or real(*given))
    folder = chula(tmp_path / "set", a=ALL)
    first, again = read_dataset(folder).items[0], read_dataset(folder).items[0]
    assert len(made) == 1
    assert (first.boxes == again.boxes).all()
    assert (first.ignore == again.ignore).all()
    read_dataset(folder, rules=PointRules(side=41.0))
    assert len(made) == 2
    (folder / "Label" / "a.txt").write_text("60 60 0\n")
    read_dataset(folder)
    assert len(made) == 3
    with Image.open(folder / "Dataset" / "a.png") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "Dataset" / "a.png")
    read_dataset(folder)
    assert len(made) == 4


def test_outlines_lie_in_the_cache_folder_of_the_user_and_a_folder_that_cannot_be_written_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    folder = chula(tmp_path / "set", a=ALL)
    for root in (tmp_path / "home", tmp_path / "set" / "Label" / "a.txt"):  # a file is no folder, for root neither
        monkeypatch.setenv("XDG_CACHE_HOME", str(root))
        outlines._cache.cache_clear()
        assert len(read_dataset(folder).items[0].boxes) == 4
    outlines._cache.cache_clear()
    assert [path for path in (tmp_path / "home" / "hemaloop" / "outlines").rglob("*") if path.is_file()]


def test_reading_can_be_stopped(tmp_path: Path) -> None:
    class Stopped:
        def report(self, done: float, total: float, message: str, figures: object = None) -> None:
            raise Cancelled(f"{done:g} of {total:g} {message}")

    folder = chula(tmp_path / "set", a=ALL, b=ALL, c=ALL)
    with pytest.raises(Cancelled, match="1 of 3 images"):
        read_dataset(folder, progress=Stopped())


TWINS = ((233, 234), (243, 244), (267, 273), (269, 275))
"""Images of Chula-RBC-12 that show the same field and were labelled twice, apart from each other."""


@needs_chula
def test_cells_that_only_the_second_labelling_of_a_field_has_were_ignored_in_the_first_and_boxes_agree(
    tmp_path: Path,
) -> None:
    for part, suffix in (("Dataset", "jpg"), ("Label", "txt")):
        (tmp_path / "set" / part).mkdir(parents=True)
        for name in sum(TWINS, ()):
            source = CHULA_FOLDER / part / f"{name}.{suffix}"
            (tmp_path / "set" / part / source.name).write_bytes(source.read_bytes())
    items = {int(item.path.stem): item for item in read_dataset(tmp_path / "set").items}
    ignored: list[float] = []
    agreement: list[float] = []
    for pair in TWINS:
        for first, second in (pair, pair[::-1]):
            overlaps = intersection_over_union(items[second].boxes, items[first].boxes).max(axis=1, initial=0.0)
            ignored += share_inside(items[second].boxes[overlaps < 0.5], items[first].ignore).tolist()
            agreement += overlaps[overlaps >= 0.5].tolist()
    assert len(ignored) > 100
    assert np.mean(np.array(ignored) >= 0.5) > 0.9
    assert np.median(agreement) > 0.9
