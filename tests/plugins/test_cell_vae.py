"""The family as a whole: it learns without labels, tells cells apart from few, and refuses what it cannot do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from cells_pictures import LABELS, examples, on_smear, truth
from hemaloop.errors import DatasetError, ImageError, NotFitted, OptionError, PluginError, StoreError
from hemaloop.plugin import Classification, Detections, Embedded, Example, FitReport, Silent
from hemaloop_cell_vae import CellVAE
from hemaloop_cell_vae.head import usual_distance
from hemaloop_cell_vae.patches import square
from hemaloop_cell_vae.representation import collapse_note

SMALL = {"image_size": 32, "latent": 16, "hidden": 16, "batch_size": 8, "epochs": 4, "suppression": "none"}
UNSEEN = examples(12, first=500)


@pytest.fixture(scope="module")
def trained() -> tuple[CellVAE, FitReport]:
    plugin = CellVAE(LABELS, SMALL)
    return plugin, plugin.fit(examples(36), examples(12, first=100), Silent())


@pytest.fixture(scope="module")
def artifact(trained: tuple[CellVAE, FitReport], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cells")
    trained[0].save(directory)
    return directory


def said(plugin: CellVAE, images: list[np.ndarray]) -> list[int]:
    return [int(one.probabilities.argmax()) for one in plugin.predict(images) if isinstance(one, Classification)]


def test_cells_that_it_has_not_seen_are_told_apart(trained: tuple[CellVAE, FitReport]) -> None:
    known = [int(one.truth.probabilities.argmax()) for one in UNSEEN if isinstance(one.truth, Classification)]
    assert np.mean(np.array(said(trained[0], [one.image for one in UNSEEN])) == known) >= 0.9


def test_losses_of_the_representation_and_of_the_classifier_are_reported(trained: tuple[CellVAE, FitReport]) -> None:
    report = trained[1]
    assert {"epoch", "loss", "l1", "divergence"} <= set(report.epochs[0])
    assert {"head_epoch", "head_loss"} <= set(report.epochs[-1])
    assert {"active_dimensions", "temperature", "accuracy", "macro_f1"} <= set(report.figures)
    assert report.epochs[3]["l1"] < report.epochs[0]["l1"]


def test_a_cell_like_no_labelled_one_is_new_and_marked(trained: tuple[CellVAE, FitReport]) -> None:
    strange = np.zeros((96, 96, 3), np.uint8)
    strange[::2, :, 1] = 255
    usual, odd = trained[0].score([UNSEEN[0].image, strange])
    assert odd.parts["novelty"] > usual.parts["novelty"]
    assert odd.relevance > usual.relevance
    assert any("unlike any labelled cell" in mark.reason for mark in odd.review)


def test_reconstructions_look_like_what_was_embedded_more_than_like_another_cell(
    trained: tuple[CellVAE, FitReport],
) -> None:
    images = [on_smear(0, 700), on_smear(1, 701)]
    made = trained[0].reconstruct(trained[0].embed(images))
    assert made[0].shape == (32, 32, 3)
    middle = [
        one[12:20, 12:20].astype(float).mean(axis=(0, 1)) for one in (*made, *(square(one, 32) for one in images))
    ]
    assert np.abs(middle[0] - middle[2]).sum() < np.abs(middle[0] - middle[3]).sum()


def test_saving_and_loading_changes_nothing_at_all(trained: tuple[CellVAE, FitReport], artifact: Path) -> None:
    loaded = CellVAE(LABELS)
    loaded.load(artifact)
    images = [one.image for one in UNSEEN]
    for before, after in zip(trained[0].score(images), loaded.score(images), strict=True):
        assert before.relevance == after.relevance
        assert isinstance(before.prediction, Classification)
        assert isinstance(after.prediction, Classification)
        np.testing.assert_array_equal(before.prediction.probabilities, after.prediction.probabilities)
    assert loaded.representation == trained[0].representation


@pytest.mark.parametrize(
    "options",
    [
        {"suppression": "noise", "noise_target": "clean"},
        {"suppression": "fixed", "mask": "linear"},
        {"suppression": "sampled", "mask_mean": "pixels", "classify": "sample"},
        {"suppression": "learned"},
        {"suppression": "crop", "image_size": 48},
        {"representation": "rae", "kl_reduction": "sum", "views": 4, "class_weights": "none"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_method_learns_and_is_kept(options: Mapping[str, object], tmp_path: Path) -> None:
    plugin = CellVAE(LABELS, {**SMALL, "epochs": 1, **options})
    plugin.fit(examples(9), [], Silent())
    plugin.save(tmp_path)
    loaded = CellVAE(LABELS)
    loaded.load(tmp_path)
    images = [one.image for one in UNSEEN[:2]]
    np.testing.assert_allclose(plugin.embed(images), loaded.embed(images), atol=1e-5)


def test_patches_of_all_sizes_and_shapes_are_seen_whole() -> None:
    tall = np.zeros((90, 30, 3), np.uint8)
    tall[:, 10:20] = 200
    found = square(tall, 30)
    assert found.shape == (30, 30, 3)
    assert found[:, 14].min() == 200, "no part of an elongated cell is lost"
    assert square(np.full((5, 7, 3), 9, np.uint8), 32).shape == (32, 32, 3)


def test_small_and_flat_patches_are_told_and_flat_ones_left_out() -> None:
    small = [Example(on_smear(i % 2, i, side=20), truth(i % 2), f"small {i}") for i in range(4)]
    flat = [Example(np.full((40, 40, 3), 7, np.uint8), truth(0), "flat")]
    report = CellVAE(LABELS, {**SMALL, "epochs": 1}).fit([*examples(6), *small, *flat], [], Silent())
    assert any(note.startswith("4 image(s) are smaller than image_size (32 px)") for note in report.notes)
    assert any(note.startswith("1 image(s) of one colour were left out") for note in report.notes)


def test_a_patch_that_is_smaller_than_the_crop_is_enlarged() -> None:
    plugin = CellVAE(LABELS, {**SMALL, "epochs": 1, "suppression": "crop", "crop": 256})
    plugin.fit([Example(on_smear(i % 2, i, side=12), truth(i % 2), str(i)) for i in range(6)], [], Silent())
    assert np.isfinite(plugin.embed([on_smear(0, 9, side=8)])).all()


def test_images_of_one_colour_alone_are_refused() -> None:
    flat = [np.full((40, 40, 3), shade, np.uint8) for shade in range(5)]
    with pytest.raises(DatasetError, match="5 images, 5 of them of one colour"):
        CellVAE(LABELS, SMALL).learn(flat, Silent())


def test_a_latent_space_that_has_collapsed_is_said() -> None:
    plugin = CellVAE(LABELS, {**SMALL, "epochs": 2, "kl_weight": 1000, "kl_reduction": "sum"})
    report = plugin.learn([one.image for one in examples(16)], Silent())
    assert any(note.startswith("latent collapse: only") for note in report.notes)
    assert collapse_note(np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)) == ()


def test_one_class_is_refused_with_what_there_is() -> None:
    same = [Example(on_smear(0, seed), truth(0), str(seed)) for seed in range(4)]
    with pytest.raises(DatasetError, match=r"one class only \(ALL 4, HEM 0\)"):
        CellVAE(LABELS, {**SMALL, "epochs": 1}).fit(same, [], Silent())


def test_classes_with_few_cells_or_none_are_named(trained: tuple[CellVAE, FitReport]) -> None:
    plugin = CellVAE((*LABELS, "rare"), {**SMALL, "epochs": 1})
    images = [on_smear(i % 2, i) for i in range(8)]
    plugin.learn(images, Silent())
    rows = plugin.embed(images)
    labelled = [Embedded(row, truth(i % 2, 3), str(i)) for i, row in enumerate(rows)]
    report = plugin.fit_head(labelled, [], Silent())
    assert any(note.startswith("rare: no training cell has it") for note in report.notes)
    assert any(note.startswith("ALL: only 4 training cell(s)") for note in report.notes)


def test_truth_of_another_kind_names_the_image() -> None:
    wrong = Example(on_smear(0, 1), Detections.empty(), "smear 17")
    with pytest.raises(DatasetError, match="smear 17: found truth of type Detections"):
        CellVAE(LABELS, {**SMALL, "epochs": 1}).fit([*examples(6), wrong], [], Silent())


def test_what_is_no_image_and_vectors_of_another_representation_are_refused(artifact: Path) -> None:
    plugin = CellVAE(LABELS)
    plugin.load(artifact)
    with pytest.raises(ImageError, match="image 1 of the batch"):
        plugin.predict([UNSEEN[0].image, np.zeros((4, 4), np.uint8)])
    with pytest.raises(PluginError, match=r"found shape \(2, 8\), expected \(N, 16\)"):
        plugin.score_embedded(np.zeros((2, 8), np.float32))


def test_a_representation_without_a_classifier_says_what_is_missing() -> None:
    plugin = CellVAE(LABELS, {**SMALL, "epochs": 1})
    with pytest.raises(NotFitted, match="learn with any and then fit_head"):
        plugin.embed([])
    plugin.learn([one.image for one in examples(6)], Silent())
    assert not plugin.fitted
    with pytest.raises(NotFitted, match="label cells of two classes"):
        plugin.predict([UNSEEN[0].image])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"image_size": 100}, "a multiple of 16, such as 96 or 112"),
        ({"representation": "rae", "suppression": "learned"}, "implemented for 'vae' alone"),
        ({"suppression": "blur"}, "'none', 'noise', 'fixed', 'sampled', 'learned' or 'crop'"),
    ],
    ids=["size", "learned of an RAE", "method"],
)
def test_options_that_do_not_fit_are_refused(options: Mapping[str, object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        CellVAE(LABELS, options)


@pytest.mark.parametrize("fault", ["missing", "shape", "not finite", "known"])
def test_a_damaged_artifact_is_refused_with_the_tensor_named(artifact: Path, tmp_path: Path, fault: str) -> None:
    for path in artifact.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    file = "known.safetensors" if fault == "known" else "representation.safetensors"
    name = "known" if fault == "known" else "mean.weight"
    tensors = load_file(tmp_path / file)
    if fault == "missing":
        del tensors[name]
    elif fault == "not finite":
        tensors[name][0, 0] = float("nan")
    else:
        tensors[name] = tensors[name][:, :2].contiguous()
    save_file(tensors, tmp_path / file)
    with pytest.raises(StoreError, match=name):
        CellVAE(LABELS).load(tmp_path)


def test_an_artifact_of_other_labels_gives_its_representation_and_no_more(artifact: Path) -> None:
    plugin = CellVAE(("other", "labels"))
    with pytest.raises(StoreError, match="made for labels"):
        plugin.load(artifact)
    plugin.load_representation(artifact)
    assert not plugin.fitted
    assert json.loads((artifact / "cells.json").read_text())["head"]["temperature"] >= 0.5


def test_an_image_that_was_labelled_twice_says_nothing_of_how_far_apart_cells_are() -> None:
    cells = np.random.default_rng(0).normal(size=(30, 16)).astype(np.float32)
    twice = np.concatenate([cells, cells + np.float32(1e-4)])
    assert usual_distance(twice) == pytest.approx(usual_distance(cells), rel=1e-3)
    assert usual_distance(np.concatenate([cells[:1], cells[:1]])) == 1.0
