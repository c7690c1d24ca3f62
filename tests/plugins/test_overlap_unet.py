"""The overlap U-Net through its contract, on small pictures and small networks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from safetensors.torch import load_file, save_file
from scipy import ndimage

from hemaloop.errors import DatasetError, ImageError, NotFitted, OptionError, StoreError
from hemaloop.formats import Examples, read_dataset
from hemaloop.measuring import map_report
from hemaloop.plugin import UNKNOWN, ClassMap, Example, Silent
from hemaloop.synthetic import render_smear
from hemaloop_overlap_unet import CLASSICAL, STARTER, OverlapUNet
from hemaloop_overlap_unet.centres import FULL
from hemaloop_overlap_unet.classical import segment
from hemaloop_overlap_unet.compose import Mixture, Window, compose, covered, overlaid, turned, window
from hemaloop_overlap_unet.meaning import meaning_of
from hemaloop_overlap_unet.morphology import resized_classes
from hemaloop_overlap_unet.sources import Cutout, Source, make_source
from hemaloop_overlap_unet.tiles import Tiling, blended
from hemaloop_overlap_unet.training import centre_loss, dice_loss
from hemaloop_overlap_unet.truth import truth_classes

LABELS = ("RBC", "Overlap")


def example(seed: int, key: str = "", width: int = 160, height: int = 128) -> Example:
    smear = render_smear(seed=seed, width=width, height=height)
    return Example(smear.image, ClassMap(smear.masks), key or f"smear-{seed}")


@pytest.fixture(scope="module")
def fitted() -> OverlapUNet:
    plugin = OverlapUNet(LABELS, OverlapUNet.quick_options)
    plugin.fit([example(seed) for seed in range(3)], [example(3)], Silent())
    return plugin


def classical(labels: tuple[str, ...] = LABELS) -> OverlapUNet:
    plugin = OverlapUNet(labels)
    plugin.load(CLASSICAL)
    return plugin


def test_a_project_without_a_label_has_its_red_cells_masked() -> None:
    smear = render_smear(seed=5, width=640, height=480)
    [found] = classical().predict([smear.image])
    assert isinstance(found, ClassMap)
    both, either = (found.labels > 0) & (smear.masks > 0), (found.labels > 0) | (smear.masks > 0)
    assert both.sum() / either.sum() > 0.8


def test_the_classical_model_saves_as_json_alone(tmp_path: Path) -> None:
    classical().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["unet.json"]


def test_the_starter_is_small_and_says_what_it_learned_from() -> None:
    assert (STARTER / "unet.safetensors").stat().st_size <= 30e6
    assert len(json.loads((STARTER / "trained_on.json").read_text("utf-8"))) > 100


def test_what_was_measured_is_told_with_the_map(fitted: OverlapUNet) -> None:
    image = example(0).image
    [scored] = fitted.score([image])
    cells = fitted.cells(scored.prediction)
    assert scored.measurements["cells"] == len(cells)
    assert all(np.isfinite(list(cell.measures.values())).all() for cell in cells)


@pytest.mark.parametrize(
    ("labels", "cell"),
    [(("RBC", "Overlap"), 1), (("Overlap", "RBC"), 2), (("Überlappung", "Erythrozyt"), 2), (("one", "two"), 1)],
)
def test_the_label_named_overlap_is_the_overlap(labels: tuple[str, ...], cell: int) -> None:
    meaning = meaning_of(labels)
    assert (meaning.cell, meaning.overlap) == (cell, 3 - cell)
    classes = np.array([[0, 1, 2]], np.uint8)
    assert np.array_equal(meaning.classes(meaning.values(classes)), classes)


@pytest.mark.parametrize("labels", [("RBC",), ("RBC", "Overlap", "WBC")])
def test_more_or_fewer_than_two_labels_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(OptionError, match="expected two"):
        OverlapUNet(labels)


def test_a_model_for_other_labels_is_refused() -> None:
    with pytest.raises(StoreError, match="made for labels"):
        classical(("Overlap", "RBC"))


def test_a_mask_of_the_wrong_size_is_named() -> None:
    image = example(0).image
    wrong = Example(image, ClassMap(np.ones((10, 10), np.uint8)), "the-key")
    with pytest.raises(DatasetError, match=r"the-key.*10 x 10"):
        OverlapUNet(LABELS, OverlapUNet.quick_options).fit([wrong], [], Silent())


def test_images_without_a_cell_teach_nothing_and_say_so() -> None:
    empty = Example(np.full((80, 90, 3), 220, np.uint8), ClassMap(np.zeros((80, 90), np.uint8)), "empty")
    with pytest.raises(DatasetError, match="no free-standing cell and no overlap"):
        OverlapUNet(LABELS, OverlapUNet.quick_options).fit([empty], [], Silent())


def test_what_nobody_looked_at_is_unknown_and_what_is_marked_in_it_is_not() -> None:
    truth = np.zeros((10, 10), np.uint8)
    truth[2, 2] = 1
    one = Example(np.zeros((10, 10, 3), np.uint8), ClassMap(truth), "k", np.array([[1, 1, 4, 4]], np.float32))
    classes = truth_classes(one, meaning_of(LABELS))
    assert classes[2, 2] == 1
    assert (classes == UNKNOWN).sum() == 8


def test_a_damaged_artifact_is_named(fitted: OverlapUNet, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    (tmp_path / "unet.safetensors").write_bytes(b"broken")
    with pytest.raises(StoreError, match=r"unet\.safetensors"):
        OverlapUNet(LABELS, OverlapUNet.quick_options).load(tmp_path)


def test_weights_that_are_not_there_are_named() -> None:
    plugin = OverlapUNet(LABELS, {**OverlapUNet.quick_options, "weights": "nowhere.safetensors"})
    with pytest.raises(StoreError, match="no such file"):
        plugin.fit([example(0)], [], Silent())


def test_starting_weights_say_which_images_they_have_seen() -> None:
    options = {"weights": "starter", "pictures": 2, "batch_size": 2, "window": 64}
    report = OverlapUNet(LABELS, options).fit([example(0)], [], Silent())
    assert len(report.inherited) > 100


def test_the_pixelshuffle_decoder_trains_too() -> None:
    plugin = OverlapUNet(LABELS, {**OverlapUNet.quick_options, "decoder": "pixelshuffle", "pictures": 4})
    plugin.fit([example(0)], [], Silent())
    [found] = plugin.predict([example(0).image])
    assert isinstance(found, ClassMap)


def test_dice_minds_the_classes_alike_and_leaves_out_what_is_unknown() -> None:
    classes = torch.zeros(1, 8, 8, dtype=torch.uint8)
    classes[0, 0, 0], classes[0, 4:, :4] = 2, 1
    right = 20.0 * torch.nn.functional.one_hot(classes.long(), 3).permute(0, 3, 1, 2)
    assert float(dice_loss(right, classes)) < 1e-3
    missed = right.clone()
    missed[0, :, 0, 0] = torch.tensor([20.0, 0.0, 0.0])  # one pixel of 64, and all there is of its class
    assert float(dice_loss(missed, classes)) > 0.3
    classes[0, 0, 0] = UNKNOWN
    assert float(dice_loss(missed, classes)) < 1e-3


def test_predicting_without_a_model_names_the_remedy() -> None:
    with pytest.raises(NotFitted, match="rbc_overlap_classical"):
        OverlapUNet(LABELS).predict([example(0).image])


def test_what_is_no_image_is_named() -> None:
    with pytest.raises(ImageError, match="image 1 of the batch"):
        classical().predict([example(0).image, np.zeros((4, 4), np.uint8)])  # type: ignore[list-item]


@pytest.mark.parametrize("shape", [(30, 40), (64, 64), (150, 200), (65, 130)])
def test_tiles_leave_no_seam_in_what_does_not_depend_on_place(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image.setflags(write=False)  # as a decoded picture is; PyTorch warns of a tile that cannot be written to

    def ask(tile: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert tile.flags.writeable
        assert tile.shape[0] % 16 == 0
        assert tile.shape[1] % 16 == 0
        return tile.astype(np.float32).transpose(2, 0, 1)

    found = blended(image, 3, ask, Tiling(side=64, overlap=16))
    assert np.allclose(found, image.transpose(2, 0, 1), atol=1e-3)


def sources(seeds: range) -> list[Source]:
    made = [example(seed, width=320, height=240) for seed in seeds]
    return [
        make_source(one.image, one.truth.labels, segment(one.image), 20)
        for one in made
        if isinstance(one.truth, ClassMap)
    ]


def test_cells_are_counted_where_the_truth_says_everything(tmp_path: Path) -> None:
    truths = []
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for seed in range(2):
        smear = render_smear(seed=seed, width=160, height=128)
        truths.append(ClassMap(smear.masks.copy()))
        Pillow.fromarray(smear.image).save(tmp_path / "images" / f"{seed}.png")
        if seed:
            smear.masks[:40] = UNKNOWN
        Pillow.fromarray(smear.masks).save(tmp_path / "masks" / f"{seed}.png")
    plugin = classical()
    report = map_report(plugin, Examples(read_dataset(tmp_path).items, LABELS, ClassMap), Silent(), "images")
    assert report.count is not None
    assert report.count.truth == len(plugin.cells(truths[0]))


def test_pictures_depend_on_their_generator_alone() -> None:
    made = sources(range(2))
    first, again = (compose(made, [], [], Mixture(), 64, 20, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.classes, again.classes)


def test_composing_makes_overlaps_where_the_images_have_none() -> None:
    made = [source for source in sources(range(8)) if source.cells.any()]
    flat = [
        replace(s, classes=np.where(s.cells, 1, np.where(s.classes > 0, UNKNOWN, 0)).astype(np.uint8)) for s in made
    ]
    found = [compose(flat, [], [], Mixture(), 128, 20, np.random.default_rng(number)).classes for number in range(12)]
    assert not any((source.classes == 2).any() for source in flat)
    assert sum(bool((classes == 2).any()) for classes in found) >= 4


def test_where_a_cell_lies_on_a_white_cell_nothing_is_known() -> None:
    paper, dark = np.full((64, 64, 3), 230, np.float32), np.full((64, 64, 3), 90, np.float32)
    rows, columns = np.mgrid[:64, :64]
    white, red = np.hypot(rows - 32, columns - 24) < 14, np.hypot(rows - 32, columns - 44) < 12
    nothing = np.zeros((64, 64), bool)
    below = Window(
        np.where(white[..., None], dark, paper),
        nothing.astype(np.uint8),
        nothing,
        nothing.astype(np.uint8),
        white,
        paper,
    )
    above = Window(
        np.where(red[..., None], dark, paper), red.astype(np.uint8), red, nothing.astype(np.uint8), nothing, paper
    )
    _, classes = overlaid(below, above, 24, 0.5, np.random.default_rng(0))
    assert (classes[white & red] == UNKNOWN).all()
    assert (classes[red & ~white] == 1).all()
    assert (classes[~red] == 0).all()


def test_pictures_know_the_centres_of_their_cells_and_not_those_that_are_hidden() -> None:
    [source] = sources(range(1))
    assert (source.centres[(source.classes == 1) & ~source.cells] == UNKNOWN).all(), "cells in clumps"
    one = compose([source], [], [], Mixture(rouleaux=1, uneven=0), 128, 20, np.random.default_rng(1))
    shown = ndimage.label(one.centres == FULL)[1]
    assert shown >= 2, "each cell twice"
    assert (one.classes[one.centres == FULL] > 0).all()
    over = Cutout(np.full((96, 96, 3), 0.4, np.float32), np.ones((96, 96), bool))
    white = compose([source], [over], [], Mixture(rouleaux=1, uneven=0, foreign=8), 128, 20, np.random.default_rng(1))
    assert not (white.centres[white.classes == 0] == FULL).any()
    assert ((white.centres == UNKNOWN) & (white.classes == 0)).any()


def test_what_nobody_knows_of_a_heatmap_is_not_learned() -> None:
    logits = torch.tensor([[[2.0, -1.0, 3.0]]])
    centres = torch.tensor([[[FULL, 0, UNKNOWN]]], dtype=torch.uint8)
    expected = (np.log1p(np.exp(-2)) + np.log1p(np.exp(-1))) / 2
    assert float(centre_loss(logits, centres)) == pytest.approx(expected, rel=1e-5)
    assert float(centre_loss(logits, torch.full_like(centres, UNKNOWN))) == 0


def test_a_prediction_names_centres_and_cells_go_by_them(fitted: OverlapUNet) -> None:
    [found] = fitted.predict([render_smear(seed=5, width=160, height=128).image])
    assert isinstance(found, ClassMap)
    assert found.centres is not None
    inside = np.array([x.mean(axis=0) for x in (cell.outline for cell in fitted.cells(found))])
    told = replace(found, centres=np.concatenate([found.centres, inside + np.float32(3), inside - np.float32(3)]))
    assert len(fitted.cells(told)) > len(fitted.cells(found))


def test_a_model_of_before_centres_were_seen_still_loads_and_parts_cells_by_their_shape(
    fitted: OverlapUNet, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    weights = load_file(tmp_path / "unet.safetensors")
    head = {name: value[:3].contiguous() for name, value in weights.items() if name.startswith("segmentation_head")}
    save_file({**weights, **head}, tmp_path / "unet.safetensors")
    written = json.loads((tmp_path / "unet.json").read_text("utf-8"))
    assert written.pop("centres") is True
    (tmp_path / "unet.json").write_text(json.dumps({**written, "version": "1.0"}), "utf-8")
    before = OverlapUNet(LABELS, OverlapUNet.quick_options)
    before.load(tmp_path)
    image = render_smear(seed=5, width=160, height=128).image
    [old], [new] = before.predict([image]), fitted.predict([image])
    assert isinstance(old, ClassMap)
    assert isinstance(new, ClassMap)
    assert old.centres is None
    assert np.array_equal(old.labels, new.labels)
    assert before.cells(old)
    before.save(tmp_path)
    assert set(load_file(tmp_path / "unet.safetensors")) == set(weights)


def test_a_cell_that_others_cover_almost_wholly_is_told() -> None:
    rows, columns = np.mgrid[:64, :64]
    for shift, hidden in ((2, True), (10, False)):
        one, other = (np.hypot(rows - 32, columns - middle) < 12 for middle in (26, 26 + shift))
        classes = one.astype(np.uint8) + other
        assert np.array_equal(covered(one, classes), one if hidden else np.zeros_like(one))


def test_an_image_laid_on_itself_does_not_lie_as_it_was() -> None:
    part = window(sources(range(1))[0], 0, 0, 96)
    laid = [turned(part, np.random.default_rng(seed), as_it_was=False) for seed in range(40)]
    assert not any(np.array_equal(one.pixels, part.pixels) for one in laid)
    assert len({one.pixels.tobytes() for one in laid}) == 7


def test_outlines_stay_where_they_are_at_another_size() -> None:
    rows, columns = np.mgrid[:200, :200]
    disc = np.hypot(rows + 0.5 - 101.3, columns + 0.5 - 97.8) <= 62
    classes = np.where(disc, 1, 0).astype(np.uint8)
    classes[:, 100:][disc[:, 100:]] = 2
    classes[:20] = UNKNOWN
    small = resized_classes(classes, 73, 73)
    assert set(np.unique(small)) == {0, 1, 2, UNKNOWN}
    area = np.pi * (62 * 73 / 200) ** 2
    assert np.isin(small, (1, 2)).sum() == pytest.approx(area, rel=0.01)
    assert np.array_equal(resized_classes(classes, 200, 200), classes)
