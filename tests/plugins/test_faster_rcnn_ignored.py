"""Ignore regions: what lies in them is neither cell nor background, in training and in what is measured on tune."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import box_iou

from hemaloop.plugin import Detections, Example
from hemaloop.synthetic import render_smear
from hemaloop_faster_rcnn.augment import Picture, clip_regions, compose, whole
from hemaloop_faster_rcnn.detector import Architecture, build, train_mode
from hemaloop_faster_rcnn.ignored import share_inside
from hemaloop_faster_rcnn.recipe import Strength
from hemaloop_faster_rcnn.training import LOSSES
from hemaloop_faster_rcnn.truth import Smear, read_training_set

SIDE = 128
REGION = torch.tensor([[64.0, 0.0, 128.0, 128.0]])
CELL = torch.tensor([[10.0, 10.0, 50.0, 50.0]])
CELL_INSIDE = torch.tensor([[70.0, 70.0, 110.0, 110.0]])
NOTHING = torch.zeros(0, 4)


@pytest.fixture
def network() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = build(Architecture("resnet18_fpn", 2, "batch"), 0.45, 0.05)
    train_mode(network)
    return network


def target(boxes: Tensor, ignore: Tensor) -> dict[str, Tensor]:
    return {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64), "ignore": ignore}


def losses(network: Any, *targets: dict[str, Tensor]) -> dict[str, float]:
    images = list(torch.rand(len(targets), 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return {name: float(value.detach()) for name, value in network(images, list(targets)).items()}


def learned_from(network: Any, boxes: Tensor, ignore: Tensor) -> Tensor:
    """The proposals that the box head learns from, (N, 4), of one picture."""
    given: list[Any] = []
    hook = network.roi_heads.box_roi_pool.register_forward_pre_hook(lambda _, arguments: given.extend(arguments))
    losses(network, target(boxes, ignore))
    hook.remove()
    (proposals,) = given[1]
    return torch.as_tensor(proposals)


def test_share_inside_adds_the_regions() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    regions = torch.tensor([[5.0, 0, 20, 10], [0, 0, 2, 10]])
    assert share_inside(boxes, regions).tolist() == pytest.approx([0.7, 0.0])
    assert share_inside(boxes, NOTHING).tolist() == [0, 0]


def test_no_background_proposal_in_a_region_is_learned_from(network: Any) -> None:
    inside = {}
    for name, ignore in (("ignored", REGION), ("learned", NOTHING)):
        proposals = learned_from(network, CELL, ignore)
        background = box_iou(proposals, CELL).amax(dim=1) < 0.5
        inside[name] = int((background & (share_inside(proposals, REGION) >= 0.5)).sum())
    assert inside["ignored"] == 0
    assert inside["learned"] > 10


def test_a_cell_in_a_region_is_learned_all_the_same(network: Any) -> None:
    proposals = learned_from(network, CELL_INSIDE, REGION)
    assert bool((proposals == CELL_INSIDE).all(dim=1).any())


def test_anchors_in_a_region_are_left_out_unless_they_match_a_cell(network: Any) -> None:
    anchors = torch.cat([CELL, CELL_INSIDE, CELL_INSIDE - 2, torch.tensor([[70.0, 5, 90, 25], [5.0, 70, 25, 90]])])
    truth = torch.cat([CELL, CELL_INSIDE])
    (labels,), _ = network.rpn.assign_targets_to_anchors([anchors], [target(truth, REGION)])
    assert labels.tolist() == [1, 1, 1, -1, 0]


def test_what_lies_in_a_region_adds_no_loss(network: Any) -> None:
    """An anchor inside that is taken for a cell, wrongly: nothing is known against it where the region says so."""
    anchors = [torch.cat([CELL, torch.tensor([[70.0, 5, 90, 25], [5.0, 70, 25, 90]])])]
    deltas = torch.zeros(3, 4)
    found = {}
    for name, ignore in (("ignored", REGION), ("learned", NOTHING)):
        labels, boxes = network.rpn.assign_targets_to_anchors(anchors, [target(CELL, ignore)])
        goals = network.rpn.box_coder.encode(boxes, anchors)
        found[name] = [
            float(network.rpn.compute_loss(torch.tensor([[0.0], [sure], [0.0]]), deltas, labels, goals)[0])
            for sure in (0.0, 50.0)
        ]
    assert found["ignored"][0] == found["ignored"][1]
    assert found["learned"][1] > found["learned"][0] + 10


@pytest.mark.parametrize("boxes", [CELL, NOTHING], ids=["with a cell", "without"])
def test_without_a_region_nothing_differs_from_torchvision(network: Any, boxes: Tensor) -> None:
    ours = losses(network, target(boxes, NOTHING))
    network.rpn.__class__, network.roi_heads.__class__ = RegionProposalNetwork, RoIHeads
    assert losses(network, target(boxes, NOTHING)) == ours


def test_a_picture_of_nothing_but_a_region_has_no_loss_and_no_nan(network: Any) -> None:
    everywhere = torch.tensor([[-500.0, -500.0, 900.0, 900.0]])
    assert losses(network, target(NOTHING, everywhere)) == dict.fromkeys(LOSSES, 0.0)


def dotted() -> Smear:
    """A white field with a dark rectangle, which is both a cell and a region."""
    pixels = np.full((120, 160, 3), 240, np.uint8)
    pixels[40:70, 50:90] = (150, 60, 110)
    box = np.array([[50, 40, 90, 70]], np.float32)
    return Smear(pixels, box, np.array([1]), box)


def shown(seed: int, mosaic: float) -> Picture:
    strength = Strength(zoom=(0.9, 1.1), mosaic=mosaic, stain=0.0, blemish=0.0)
    return compose(dotted(), dotted, 100, 128, strength, np.random.default_rng(seed))


@pytest.mark.parametrize("mosaic", [0.0, 1.0], ids=["one smear", "mosaic"])
def test_a_region_stays_where_it_was_drawn_through_every_change_of_a_picture(mosaic: float) -> None:
    boxes = 0
    for seed in range(16):
        picture = shown(seed, mosaic)
        regions = {tuple(region) for region in picture.ignore.tolist()}
        assert {tuple(box) for box in picture.boxes.tolist()} <= regions
        boxes += len(picture.boxes)
    assert boxes > 8


def test_whole_images_keep_their_regions() -> None:
    picture = whole(dotted(), 60)
    assert picture.ignore.tolist() == picture.boxes.tolist() == [[25, 20, 45, 35]]


def test_regions_are_cut_to_the_window_however_little_of_them_is_left() -> None:
    regions = np.array([[-50, -50, 2, 200], [90, 20, 95, 30], [100, 0, 120, 50]], np.float32)
    assert clip_regions(regions, 100, 100).tolist() == [[0, 0, 2, 100], [90, 20, 95, 30]]


def test_the_training_set_scales_regions_with_their_images() -> None:
    image = np.full((600, 900, 3), 200, np.uint8)
    region = np.array([[300, 200, 600, 400], [10, 10, 10, 20]], np.float32)
    example = Example(image, Detections.truth([[0, 0, 90, 90]], [0]), "big", region)
    (smear,) = read_training_set([example], ["RBC"], 200).smears
    np.testing.assert_allclose(smear.ignore, [[100, 200 / 3, 200, 400 / 3]], rtol=1e-5)


def test_an_image_whose_cells_lie_in_regions_does_not_look_unlabelled() -> None:
    smears = [render_smear(seed=seed, width=240, height=180) for seed in range(8)]
    examples = [Example(smear.image, smear.detections, f"image {index}") for index, smear in enumerate(smears)]
    for ignore, kept in ((np.zeros((0, 4), np.float32), 7), (smears[3].detections.boxes, 8)):
        examples[3] = Example(smears[3].image, Detections.empty(), "image 3", ignore)
        assert len(read_training_set(examples, ("RBC", "WBC", "Platelets"), 300).smears) == kept
