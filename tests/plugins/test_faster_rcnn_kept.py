"""The box head alone, on kept features: what is kept is true, drawn as asked, and nothing else of the network moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.ops import box_iou

from hemaloop.errors import OptionError
from hemaloop.evaluation.detection import evaluate_detections
from hemaloop.plugin import Detections, Example, Silent
from hemaloop.synthetic import render_smear
from hemaloop_faster_rcnn import STARTER, FasterRCNN
from hemaloop_faster_rcnn.augment import Picture
from hemaloop_faster_rcnn.kept import BOXES, CELLS, Kept, KeptFeatures, _proposed
from hemaloop_faster_rcnn.recipe import HEAD
from hemaloop_faster_rcnn.training import schedule_of

LABELS = ("Small", "Large")
SMEARS = [render_smear(seed=seed, width=200, height=160) for seed in range(4)]
SMALL = {"recipe": "head", "weights": "starter", "image_size": 160, "epochs": 60, "thresholds": "none"}
NOTHING = torch.zeros(0, 4)


def by_size(truth: Detections) -> Detections:
    """Red cells in two classes that the starter has never heard of: those narrower and wider than the usual one."""
    widths = truth.boxes[:, 2] - truth.boxes[:, 0]
    return Detections(truth.boxes, (widths > np.median(widths)).astype(np.int64), truth.scores)


EXAMPLES = [Example(smear.image, by_size(smear.detections), f"smear {index}") for index, smear in enumerate(SMEARS)]


@pytest.fixture(scope="module")
def trained() -> FasterRCNN:
    plugin = FasterRCNN(LABELS, SMALL)
    plugin.fit(EXAMPLES, [], Silent())
    return plugin


def picture(boxes: list[list[float]], labels: list[int], ignore: Tensor = NOTHING) -> Picture:
    return Picture(torch.zeros(3, 200, 200), torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels), ignore)


def test_new_classes_are_learned_by_the_box_head_alone(trained: FasterRCNN) -> None:
    found = [one for example in EXAMPLES for one in trained.predict_unfiltered([example.image])]
    truths = [example.truth for example in EXAMPLES]
    report = evaluate_detections(truths, found, LABELS, coco=False)  # type: ignore[arg-type]
    assert report.map50 > 0.6


def test_nothing_but_the_box_head_moves(trained: FasterRCNN, tmp_path: Path) -> None:
    trained.save(tmp_path)
    before, after = load_file(STARTER / "detector.safetensors"), load_file(tmp_path / "detector.safetensors")
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("roi_heads.") for name in moved)


def test_the_same_seed_gives_the_same_head(tmp_path: Path) -> None:
    weights = []
    for number in range(2):
        plugin = FasterRCNN(LABELS, {**SMALL, "epochs": 2}, seed=7)
        plugin.fit(EXAMPLES, [], Silent())
        (tmp_path / str(number)).mkdir()
        plugin.save(tmp_path / str(number))
        weights.append(load_file(tmp_path / str(number) / "detector.safetensors"))
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_each_proposal_belongs_to_the_cell_that_it_overlaps_most() -> None:
    found = torch.tensor([[12.0, 10, 52, 50], [95.0, 100, 140, 140], [150.0, 10, 190, 50]])
    kept = _proposed(found, picture([[10, 10, 50, 50], [100, 100, 140, 140]], [0, 4]), np.random.default_rng(0))
    overlap = box_iou(kept.boxes, kept.cells).diagonal()
    assert (overlap[kept.labels > 0] >= 0.5).all()
    assert kept.labels[(kept.boxes == found[1]).all(dim=1)].tolist() == [5]
    assert kept.labels[(kept.boxes == found[2]).all(dim=1)].tolist() == [0]


def test_what_lies_in_an_ignore_region_is_no_background() -> None:
    found = torch.tensor([[150.0, 10, 190, 50], [20.0, 150, 60, 190]])
    told = picture([[10, 10, 50, 50]], [0], torch.tensor([[140.0, 0, 200, 60]]))
    kept = _proposed(found, told, np.random.default_rng(0))
    assert not (kept.boxes == found[0]).all(dim=1).any()
    assert (kept.boxes == found[1]).all(dim=1).any()


def test_a_picture_without_a_cell_gives_background_alone() -> None:
    kept = _proposed(torch.tensor([[20.0, 150, 60, 190]]), picture([], []), np.random.default_rng(0))
    assert kept.labels.tolist() == [0]


@pytest.mark.parametrize(("balance", "rare"), [(0.0, (0.0, 0.1)), (1.0, (0.4, 0.6))], ids=["as they come", "evenly"])
def test_cells_of_a_step_are_drawn_as_balance_says(
    trained: FasterRCNN, balance: float, rare: tuple[float, float]
) -> None:
    labels = torch.tensor([0] * 500 + [1] * 480 + [2] * 20)
    kept = Kept(torch.zeros(1000, 1, 1, 1), labels, torch.zeros(1000, 4))
    network: Any = trained._fitted_model()._finder._network
    lesson = KeptFeatures(network.roi_heads, kept, replace(HEAD, balance=balance), 20, 0)
    drawn = torch.cat([batch.labels for batch in lesson.batches(1, False)])
    assert len(drawn) == 20 * BOXES
    assert (drawn > 0).float().mean() == pytest.approx(CELLS)
    assert rare[0] <= float((drawn[drawn > 0] == 2).float().mean()) <= rare[1]


def test_weights_that_know_no_cells_are_refused() -> None:
    with pytest.raises(OptionError, match="recipe 'head' learns on what its weights see"):
        FasterRCNN(LABELS, {"recipe": "head"})


def test_few_images_are_learned_from_as_long_as_many() -> None:
    steps = [schedule_of(HEAD, images, None).steps for images in range(20, 400, 20)]
    assert max(steps) < 1.25 * min(steps)
