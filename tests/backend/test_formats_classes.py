"""Data sets of images with a class each: layouts, subjects, faults, and splits that keep subjects together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hemaloop.errors import DatasetError
from hemaloop.formats.classes import ClassDataset, ClassExamples, ClassItem, read_classes
from hemaloop.subjects import kept_back, part, require_no_leak

_drawn = iter(range(10_000))


def picture(path: Path, shade: int | None = None) -> Path:
    """A picture unlike any other, unless the shade is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    value = next(_drawn) if shade is None else 60_000 + shade
    Image.fromarray(np.full((16, 12, 3), (value % 256, value // 256, 9), np.uint8)).save(path)
    return path


@pytest.fixture
def c_nmc(tmp_path: Path) -> Path:
    """Three folds of four ill and three healthy subjects, two cells each, as the challenge names them."""
    root = tmp_path / "C-NMC_training_data"
    for subject in range(1, 5):
        for cell in (1, 2):
            picture(root / f"fold_{subject % 3}" / "all" / f"UID_{subject}_1_{cell}_all.bmp")
    for subject in range(1, 4):
        for cell in (1, 2):
            picture(root / f"fold_{subject % 3}" / "hem" / f"UID_H{subject}_7_{cell}_hem.bmp")
    return root


def subjects(items: list[ClassItem]) -> set[str | None]:
    return {item.subject for item in items}


def test_c_nmc_is_read_with_its_subjects(c_nmc: Path) -> None:
    found = read_classes(c_nmc)
    assert found.format == "C-NMC"
    assert found.labels == ("ALL", "HEM")
    assert found.counts() == {"ALL": 8, "HEM": 6}
    assert found.subjects == {"1", "2", "3", "4", "H1", "H2", "H3"}
    assert found.faults == ()


def test_files_of_c_nmc_that_contradict_their_name_or_folder_are_left_out(c_nmc: Path) -> None:
    picture(c_nmc / "fold_0" / "hem" / "UID_9_1_1_all.bmp")
    picture(c_nmc / "fold_0" / "hem" / "cell 7.bmp")
    (c_nmc / "fold_0" / "all" / "UID_8_1_1_all.bmp").write_bytes(b"not a picture")
    found = read_classes(c_nmc)
    assert len(found) == 14
    told = " ".join(map(str, found.faults))
    for says in ("says ALL, its folder hem", "cell 7.bmp: is not named UID_", "UID_8_1_1_all.bmp"):
        assert says in told


def test_all_idb2_is_read_from_its_names(tmp_path: Path) -> None:
    for number in range(1, 5):
        picture(tmp_path / f"Im{number:03d}_{number % 2}.tif")
    picture(tmp_path / "cover.jpg")
    found = read_classes(tmp_path)
    assert found.format == "ALL-IDB2"
    assert [(item.path.name, item.label) for item in found.items[:2]] == [
        ("Im001_1.tif", "ALL"),
        ("Im002_0.tif", "HEM"),
    ]
    assert found.subjects == frozenset()
    assert "cover.jpg: is not named Im<number>" in str(found.faults[0])


def test_a_list_names_the_subjects_that_file_names_do_not(tmp_path: Path) -> None:
    for number in range(1, 5):
        picture(tmp_path / f"Im{number:03d}_{number % 2}.tif")
    (tmp_path / "subjects.csv").write_text("file,subject\nIm001_1.tif,p1\nIm002_0.tif,p1\nIm003_1.tif,p2\n")
    assert [item.subject for item in read_classes(tmp_path).items] == ["p1", "p1", "p2", None]
    (tmp_path / "subjects.csv").write_text("name,who\nIm001_1.tif,p1\n")
    assert "expected file and subject" in str(read_classes(tmp_path).faults[0])


def test_a_folder_a_class_is_read_with_its_faults(tmp_path: Path) -> None:
    for label in ("LY", "MY"):
        for number in range(3):
            picture(tmp_path / label / f"{number}.jpg")
    picture(tmp_path / "stray.png")
    (tmp_path / "empty").mkdir()
    found = read_classes(tmp_path)
    assert found.format == "class folders"
    assert found.counts() == {"LY": 3, "MY": 3}
    told = " ".join(map(str, found.faults))
    assert "stray.png: lies in no class folder" in told
    assert "empty: holds no image" in told


def test_the_same_picture_under_two_classes_is_told(tmp_path: Path) -> None:
    for label in ("LY", "MY"):
        picture(tmp_path / label / "same.png", shade=3)
    (told,) = read_classes(tmp_path).contradictions()
    assert told == "same.png (LY) = same.png (MY)"


def choice(number: int, *choices: str, user: int = 1) -> dict[str, Any]:
    value = {"choices": list(choices)}
    region = {"id": f"r{number}", "from_name": "diagnosis", "to_name": "image", "type": "choices", "value": value}
    said = [{**region, "original_width": 12, "original_height": 16}]
    return {"id": 10 * number + user, "completed_by": user, "lead_time": 1.0, "result": said}


def test_an_export_of_choices_is_read_with_subjects_and_contradictions_by_task(tmp_path: Path) -> None:
    annotations = {
        1: [choice(1, "ALL")],
        2: [choice(2, "HEM")],
        3: [choice(3, "ALL", "HEM")],
        4: [choice(4, "ALL", user=1), choice(4, "HEM", user=2)],
        5: [],
    }
    tasks = []
    for number, said in annotations.items():
        picture(tmp_path / "images" / f"{number}.png")
        address = f"/data/upload/1/0123abcd-{number}.png"
        tasks.append({"id": number, "data": {"image": address, "patient": number // 2}, "annotations": said})
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    found = read_classes(tmp_path / "export.json")
    assert found.format == "Label Studio export"
    assert [(item.path.name, item.group) for item in found.items] == [
        ("1.png", "patient:0"),
        ("2.png", "patient:1"),
        ("4.png", "patient:2"),
    ]
    told = " ".join(map(str, found.faults))
    assert "task 3" in told
    assert "expected one choice" in told
    assert "task 4: its 2 annotators contradict each other" in told


def test_an_export_without_choices_about_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text(json.dumps([{"id": 1, "data": {"image": "1.png"}, "annotations": []}]))
    with pytest.raises(DatasetError, match="none with a choice about its image"):
        read_classes(tmp_path / "export.json")


@pytest.mark.parametrize("what", ["nowhere", "nothing"])
def test_what_is_no_such_data_set_is_refused_with_what_was_expected(tmp_path: Path, what: str) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DatasetError, match="expected C-NMC"):
        read_classes(tmp_path / what)


def test_examples_decode_when_indexed_and_have_one_class(c_nmc: Path) -> None:
    found = read_classes(c_nmc)
    examples = ClassExamples(found.items, ("HEM", "ALL"))
    assert examples[0].image.shape == (16, 12, 3)
    assert examples[0].truth.probabilities.tolist() == [0, 1]
    assert len(examples[1:3]) == 2
    assert len(ClassExamples(found.items, ("HEM",))) == 6


# splits


def disjoint(one: list[ClassItem], other: list[ClassItem]) -> bool:
    return not subjects(one) & subjects(other)


def test_no_subject_is_on_both_sides_of_any_split(c_nmc: Path) -> None:
    items = read_classes(c_nmc).items
    for share in (0.1, 0.3, 0.5):
        learned, back = kept_back(items, share)
        assert learned
        assert back
        assert disjoint(learned, back)
        assert disjoint(part(items, share, testing=True), part(items, share, testing=False))
        require_no_leak({"training": learned, "tuning": back})


def test_a_split_that_puts_a_subject_on_both_sides_is_refused_by_name(c_nmc: Path) -> None:
    found: ClassDataset = read_classes(c_nmc)
    first, second, *_ = found.items
    assert first.subject == second.subject
    with pytest.raises(DatasetError, match=rf"subject:{first.subject} is in both training and testing"):
        require_no_leak({"training": [first], "testing": [second]})


def test_an_image_on_both_sides_is_refused_where_no_subject_is_known() -> None:
    item = ClassItem(Path("a.png"), "ALL", "abc")
    with pytest.raises(DatasetError, match="image abc is in both"):
        require_no_leak({"training": [item], "testing": [item]})


def test_one_subject_alone_cannot_be_split() -> None:
    items = [ClassItem(Path(f"{i}.png"), "ALL", str(i), "p1") for i in range(5)]
    with pytest.raises(DatasetError, match=r"5 usable image\(s\) of 1 subject\(s\)"):
        kept_back(items, 0.2)
