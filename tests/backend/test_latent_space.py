"""A picture of a latent space: the plane of the largest variance, and files that say where each image lies."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image
from safetensors.numpy import load_file

import stub_plugin
from cells_pictures import on_smear, truth
from hemaloop.errors import DatasetError, OptionError, PluginError
from hemaloop.latent_space import look, plane
from hemaloop.manifest import Manifest
from hemaloop.model_folder import write_model
from hemaloop.plane import principal_plane
from hemaloop.plugin import Example, Silent
from hemaloop.registry import find


def test_the_plane_holds_the_two_directions_of_the_largest_variance() -> None:
    rng = np.random.default_rng(0)
    points = np.stack([10 * rng.normal(size=200), 0.1 * rng.normal(size=200), 3 * rng.normal(size=200)], axis=1)
    places, share = principal_plane(points)
    assert abs(np.corrcoef(places[:, 0], points[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(places[:, 1], points[:, 2])[0, 1]) > 0.99
    assert share[0] == pytest.approx(100 / 109, abs=0.03)
    np.testing.assert_allclose(principal_plane(points + 5)[0], places, atol=1e-9)


def test_images_that_are_all_alike_lie_in_one_place() -> None:
    places, share = principal_plane(np.ones((4, 3)))
    assert not places.any()
    assert share == (0, 0)


def test_an_unknown_method_and_a_missing_umap_say_what_there_is() -> None:
    with pytest.raises(OptionError, match="found 'tsne', expected one of pca, umap"):
        plane(np.ones((4, 3)), "tsne")
    with pytest.raises(OptionError, match="pip install umap-learn"):
        plane(np.ones((4, 3)), "umap")


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder a class, and models beside it."""
    stub_plugin.install(monkeypatch)
    labels = ("ALL", "HEM")
    for label, name in enumerate(labels):
        (tmp_path / "cells" / name).mkdir(parents=True)
        for seed in range(6):
            Image.fromarray(on_smear(label, seed, 40)).save(tmp_path / "cells" / name / f"{seed}.png")
    for family in ("parts", "tone"):
        plugin = find(family)(labels)
        examples = [Example(on_smear(i % 2, i, 40), truth(i % 2), str(i)) for i in range(8)]
        report = plugin.fit(examples, [], Silent())
        write_model(tmp_path / family, plugin, Manifest.of_fit(plugin, report), {})
    return tmp_path


def test_a_folder_becomes_vectors_a_table_and_a_picture(cells: Path) -> None:
    space = look(str(cells / "parts"), cells / "cells", cells / "out", method="pca", device="cpu")
    assert load_file(cells / "out" / "vectors.safetensors")["vectors"].shape == (12, 48)
    rows = list(csv.DictReader((cells / "out" / "vectors.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == list(space.labels) == ["ALL"] * 6 + ["HEM"] * 6
    assert sum(row["said"] == row["label"] for row in rows) >= 10
    assert float(rows[3]["x"]) == pytest.approx(space.places[3, 0], abs=1e-6)
    assert imread(cells / "out" / "latent.png").shape[0] > 800, "with reconstructions below"


def test_a_family_without_a_representation_and_an_empty_folder_are_refused(cells: Path) -> None:
    with pytest.raises(PluginError, match="'tone' has no representation"):
        look(str(cells / "tone"), cells / "cells", cells / "out", method="pca", device="cpu")
    (cells / "none").mkdir()
    with pytest.raises(DatasetError, match="found 0 images, expected three or more"):
        look(str(cells / "parts"), cells / "none", cells / "out", method="pca", device="cpu")
