"""Stochastic passes: cached ones equal full ones, depend on the content alone, and belong to the look that was used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hemaloop.networks.arithmetic import Arithmetic
from hemaloop.synthetic import render_smear
from hemaloop_faster_rcnn import inference
from hemaloop_faster_rcnn.detector import Architecture, build
from hemaloop_faster_rcnn.inference import Finder
from hemaloop_faster_rcnn.look import look
from hemaloop_faster_rcnn.stochastic import content_seed, dropout_masks, stochastic_passes

IMAGE = render_smear(seed=3, width=128, height=96).image
PASSES, RATE = 4, 0.5
EXACT = Arithmetic(torch.device("cpu"), torch.float32)


def network_of(backbone: str, dropout: float = RATE) -> Any:
    """A network of random weights whose answers differ from proposal to proposal, in use."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network: Any = build(Architecture(backbone, 3, "batch", dropout), 0.45, 0.05).eval()
    predictor = network.roi_heads.box_predictor
    with torch.no_grad():
        units = look(network, pixels()).lower.std()
        predictor.cls_score.weight.mul_(5 / units)
        predictor.bbox_pred.weight.mul_(5 / units)
    return network


def pixels() -> Tensor:
    return torch.from_numpy(IMAGE).permute(2, 0, 1).float() / 255


class GivenMasks(nn.Module):
    """In place of a dropout: multiplies by the next of some masks."""

    def __init__(self, masks: list[Tensor]) -> None:
        super().__init__()
        self.masks = masks

    def forward(self, values: Tensor) -> Tensor:
        return values * self.masks.pop(0)


def full_pass(network: Any, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (P, classes) and boxes (P, classes, 4) of every proposal, from all of the network."""
    heads = network.roi_heads
    given: list[Any] = []
    answers: list[Any] = []
    hooks = [
        heads.box_roi_pool.register_forward_pre_hook(lambda _, arguments: given.extend(arguments)),
        heads.box_predictor.register_forward_hook(lambda _, __, answer: answers.extend(answer)),
    ]
    kept, heads.box_head.dropout = heads.box_head.dropout, GivenMasks([first, second])
    with torch.inference_mode():
        network([pixels()])
    heads.box_head.dropout = kept
    for hook in hooks:
        hook.remove()
    _, proposals, ((height, width),) = given
    logits, deltas = answers
    corners = torch.tensor([width, height, width, height])
    boxes = torch.minimum(heads.box_coder.decode(deltas, proposals).clamp(min=0), corners)
    return logits.softmax(dim=1), boxes


@pytest.mark.parametrize("backbone", ["resnet18_fpn", "vgg16", "mobilenet_v3_large_fpn", "resnet50_fpn"])
def test_cached_passes_equal_full_passes_with_the_same_masks(backbone: str) -> None:
    network = network_of(backbone)
    seen = look(network, pixels())
    cells = seen.origins[:40]
    first, second = dropout_masks(PASSES, len(seen.proposals), seen.lower.shape[1], RATE, seed=1)
    cached = stochastic_passes(network, seen, cells, first[:, cells], second[:, cells])
    for number in range(PASSES):
        probabilities, boxes = full_pass(network, first[number], second[number])
        best = probabilities[cells, 1:].argmax(dim=1) + 1  # the background has no box
        np.testing.assert_allclose(cached.probabilities[number], probabilities[cells], atol=1e-5)
        np.testing.assert_allclose(cached.boxes[number] / 128, boxes[cells, best] / 128, atol=1e-5)
    assert cached.probabilities.std(axis=0).max() > 0.05, "the masks make no difference, so equality proves nothing"
    assert cached.boxes.std(axis=0).max() > 0.5


@pytest.mark.parametrize("backbone", ["resnet18_fpn", "vgg16"])
def test_a_look_finds_exactly_what_the_network_finds(backbone: str) -> None:
    network = network_of(backbone)
    seen = look(network, pixels())
    with torch.inference_mode():
        (whole,) = network([pixels()])
    assert len(whole["boxes"]) > 10
    assert torch.equal(seen.boxes, whole["boxes"])
    assert torch.equal(seen.labels + 1, whole["labels"])
    assert torch.equal(seen.scores, whole["scores"])


def test_each_detection_knows_its_proposal() -> None:
    network = network_of("resnet18_fpn")
    seen = look(network, pixels())
    assert torch.equal(seen.probabilities[seen.origins, seen.labels + 1], seen.scores)


def test_masks_drop_the_share_asked_for_and_keep_the_mean() -> None:
    first, second = dropout_masks(20, 30, 64, 0.3, seed=1)
    for mask in (first, second):
        np.testing.assert_allclose(mask.unique(), [0, 1 / 0.7], rtol=1e-6)
        assert float(mask.mean()) == pytest.approx(1, abs=0.03)
    assert not torch.equal(first, second)


def test_masks_depend_on_the_seed_alone_and_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (dropout_masks(3, 4, 8, 0.5, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_seed_comes_from_pixels_and_size() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    changed = image.copy()
    changed[3, 5, 2] = 1
    seeds = [content_seed(one) for one in (image, image.copy(), changed, image.reshape(6, 4, 3))]
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert content_seed(image[:, ::2]) == content_seed(np.ascontiguousarray(image[:, ::2]))


def test_cells_of_one_proposal_share_its_passes() -> None:
    finder = Finder(network_of("resnet18_fpn"), 96, 0.0, EXACT)
    found = finder.find(IMAGE)
    origins = found.origins.numpy()
    repeated = next(origin for origin in origins if (origins == origin).sum() > 1)
    cells = np.r_[np.flatnonzero(origins == repeated)[:2], np.flatnonzero(origins != repeated)[:1]]
    passes = finder.passes(found, cells, PASSES, RATE, seed=1)
    np.testing.assert_array_equal(passes.boxes[:, 0], passes.boxes[:, 1])
    assert not np.array_equal(passes.boxes[:, 0], passes.boxes[:, 2])


@pytest.mark.parametrize("factor", [1.0, 0.5, 1.75], ids=["one look", "a smaller second look", "a larger second look"])
def test_with_nothing_dropped_every_pass_is_the_prediction_of_the_look_that_was_used(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "better_magnification", lambda found, usual: factor)
    finder = Finder(network_of("resnet18_fpn"), 96, 30.0, EXACT)
    found = finder.find(IMAGE)
    assert found.seen.shape == (96 * factor, 128 * factor)
    best = found.seen.probabilities[found.origins, 1:].argmax(dim=1).numpy()
    cells = np.flatnonzero(best == found.detections.labels)[:20]
    passes = finder.passes(found, cells, 3, 0.0, seed=6)
    for number in range(3):
        np.testing.assert_allclose(passes.boxes[number] / factor, found.detections.boxes[cells], atol=1e-3)
        scores = passes.probabilities[number, np.arange(len(cells)), found.detections.labels[cells] + 1]
        np.testing.assert_allclose(scores, found.detections.scores[cells], atol=1e-5)


def test_no_cell_has_no_passes() -> None:
    finder = Finder(network_of("resnet18_fpn"), 96, 0.0, EXACT)
    passes = finder.passes(finder.find(IMAGE), np.zeros(0, np.int64), PASSES, RATE, seed=1)
    assert passes.probabilities.shape == (PASSES, 0, 4)
    assert passes.boxes.shape == (PASSES, 0, 4)
