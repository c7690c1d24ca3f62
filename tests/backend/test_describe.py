"""A description counts right, and finds what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemaloop.describe import Description, describe, doubled_boxes, picture_hash
from hemaloop.formats import Item, read_dataset
from hemaloop.synthetic import render_smear, write_voc
from real_smears import CBC, needs_cbc


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight smears; the last one lost its red cells' boxes, and the first is there again as a smaller PNG."""
    root = write_voc(tmp_path_factory.mktemp("smears"), 8, seed=1, width=320, height=240)
    last = root / "Annotations" / "smear_01_0007.xml"
    last.write_text(last.read_text().replace("<name>RBC</name>", "<name>Dirt</name>", 99).replace("Dirt", "Platelets"))
    with Image.open(root / "Images" / "smear_01_0000.jpg") as first:
        first.resize((300, 225)).save(root / "Images" / "copy.png")
    text = (root / "Annotations" / "smear_01_0000.xml").read_text()
    (root / "Annotations" / "copy.xml").write_text(text.replace("smear_01_0000.jpg", "copy.png"))
    return root


@pytest.fixture(scope="module")
def description(folder: Path) -> Description:
    return describe(read_dataset(folder))


def test_counts_and_sizes_are_those_of_the_boxes(description: Description) -> None:
    summary = description.classes["RBC"]
    expected = [item.names.count("RBC") for item in description.dataset.items]
    assert summary.per_image.tolist() == expected
    assert summary.boxes == sum(expected)
    assert summary.images == sum(count > 0 for count in expected)
    assert summary.sizes.shape == (summary.boxes, 2)
    assert (summary.sizes > 0).all()


def test_the_image_whose_red_cells_nobody_labelled_is_named(description: Description) -> None:
    assert [suspect.path.name for suspect in description.suspects] == ["smear_01_0007.jpg"]


def test_the_same_picture_is_found_although_its_file_differs(description: Description) -> None:
    assert [[path.name for path in group] for group in description.duplicates] == [["copy.png", "smear_01_0000.jpg"]]
    assert description.dataset.duplicates() == []


def test_different_smears_are_never_the_same_picture() -> None:
    hashes = [picture_hash(render_smear(seed, 160, 128).image).astype(int) for seed in range(12)]
    distances = [int(np.abs(a - b).sum()) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > 40


def test_boxes_on_one_another_are_counted(tmp_path: Path) -> None:
    boxes = np.array([[0, 0, 50, 50], [1, 1, 50, 50], [60, 60, 90, 90]], np.float32)
    assert doubled_boxes(Item(tmp_path, boxes, ("RBC", "WBC", "RBC"), "k", 100, 100)) == 1
    assert doubled_boxes(Item(tmp_path, boxes[:0], (), "k", 100, 100)) == 0


def test_findings_and_json_tell_the_same(description: Description) -> None:
    loaded = json.loads(json.dumps(description.as_json(), allow_nan=False))
    assert loaded["findings"] == description.findings()
    assert loaded["classes"]["RBC"]["boxes"] == description.classes["RBC"].boxes
    assert set(loaded["findings"]) == {
        "images that look unlabelled",
        "the same picture more than once",
        "faults in the files",
    }


def test_the_figure_has_three_labelled_panels(description: Description) -> None:
    axes = description.figure().axes
    assert len(axes) == 3
    assert all(panel.get_ylabel() for panel in axes)
    assert axes[2].get_xlabel() == "width of the box, px"


def test_a_data_set_without_a_usable_image_can_be_described(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<annotation/>")
    empty = describe(read_dataset(tmp_path))
    assert empty.classes == {}
    assert "faults in the files" in empty.findings()
    assert empty.figure()


@needs_cbc
def test_cbc_is_described_as_its_readme_says() -> None:
    found = describe(read_dataset(CBC / "Training"))
    assert len(found.suspects) == 18
    assert found.duplicates == ()
    assert len(found.findings()["faults in the files"]) == 1
    red, white, platelets = (np.median(found.classes[name].sizes) for name in ("RBC", "WBC", "Platelets"))
    assert platelets < red < white
