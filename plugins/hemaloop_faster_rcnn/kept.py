"""The lesson of the box head alone, on features that are kept: a training of seconds.

Backbone, pyramid and proposals stay those of the starting weights, so what they say of a picture is asked once and
kept; each step then learns from proposals of all pictures together. That is Fast R-CNN's training (Girshick 2015,
section 2.3) with everything before the pooling frozen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.ops import box_iou

from hemaloop.networks.arithmetic import Arithmetic
from hemaloop.plugin import Progress
from hemaloop_faster_rcnn.arithmetic import network_in_use
from hemaloop_faster_rcnn.augment import Picture, whole
from hemaloop_faster_rcnn.ignored import MOSTLY, share_inside
from hemaloop_faster_rcnn.recipe import Recipe
from hemaloop_faster_rcnn.training import draw
from hemaloop_faster_rcnn.truth import Smear

BOXES = 512
"""Proposals a step."""
CELLS = 0.5
"""Share of them that are cells."""
COPIES = 2
"""Of each truth box, moved and stretched a little: proposals of a trained network lie too well."""
SHAKE = 0.12
"""Largest move and stretch of a copy, in sides."""
OFF_CELLS = 64
"""Proposals of a picture kept that are no cell, drawn by chance."""
LOOKS = 800
"""Pictures in all, about 2 GB of features; where smears are so many, each is looked at less often, but once."""


class Kept(NamedTuple):
    """Proposals of all pictures.

    pooled: float16 (K, C, S, S). labels: int64 (K,), 0 for the background. deltas: float32 (K, 4), from the proposal to
    its cell; 0 for the background.
    """

    pooled: Tensor
    labels: Tensor
    deltas: Tensor


class KeptFeatures:
    """A `Lesson` of the box heads of a network; `kept` is what they learn from."""

    def __init__(self, heads: Any, kept: Kept, recipe: Recipe, steps: int, seed: int) -> None:
        self._heads = heads
        self._kept = kept
        self._balance = recipe.balance
        self._steps = steps
        self._seed = seed
        labels = kept.labels.numpy()
        self._places = {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}

    def batches(self, epoch: int, settled: bool) -> Iterator[Kept]:  # noqa: ARG002 - pictures were drawn before
        """`BOXES` proposals a step, half of them cells; of these the share `balance` of classes drawn evenly."""
        rng = np.random.default_rng((self._seed, epoch, 2))
        cells = [places for label, places in self._places.items() if label]
        everything = np.concatenate(cells)
        background = self._places.get(0, everything)
        count = round(BOXES * CELLS)
        even = round(count * self._balance)
        for _ in range(self._steps):
            classes = rng.integers(len(cells), size=even)
            drawn = np.concatenate(
                [
                    *(rng.choice(cells[index], np.count_nonzero(classes == index)) for index in range(len(cells))),
                    rng.choice(everything, count - even),
                    rng.choice(background, BOXES - count),
                ]
            )
            places = torch.from_numpy(drawn)
            yield Kept(*(values[places] for values in self._kept))

    def losses(self, batch: Kept) -> dict[str, Tensor]:
        """Class of a proposal and its box: the two losses of Fast R-CNN."""
        heads = self._heads
        device = heads.box_predictor.cls_score.weight.device
        pooled, labels, deltas = (values.to(device) for values in batch)
        classes, boxes = heads.box_predictor(heads.box_head(pooled.float()))
        classifier, regression = fastrcnn_loss(classes, boxes, [labels], [deltas])
        return {"loss_classifier": classifier, "loss_box_reg": regression}


@dataclass(frozen=True, slots=True, eq=False)
class _Proposed:
    """The proposals of one picture that are learned from: (K, 4) px, labels (K,), the cells that they are of (K, 4)."""

    boxes: Tensor
    labels: Tensor
    cells: Tensor


def keep_features(
    network: nn.Module, smears: Sequence[Smear], recipe: Recipe, arithmetic: Arithmetic, seed: int, progress: Progress
) -> Kept:
    """Look up to `recipe.looks` times at each smear: first at all of it as it is, then at other pictures of it.

    Raises `Cancelled` from `progress`.
    """
    used = network_in_use(network, arithmetic)
    kept: list[Kept] = []
    looks = max(1, min(recipe.looks, LOOKS // len(smears)))
    for index in range(len(smears)):
        for number in range(looks):
            rng = np.random.default_rng((seed, index, number, 3))
            if number:
                picture = draw(smears, index, None, recipe, recipe.exploring, rng)
            else:
                picture = whole(smears[index], recipe.image_size)
            kept.append(_look(used, picture, rng, arithmetic))
        progress.report(index + 1, len(smears), f"looking at image {index + 1} of {len(smears)}")
    return Kept(*(torch.cat(values) for values in zip(*kept, strict=True)))


@torch.inference_mode()
def _look(network: nn.Module, picture: Picture, rng: np.random.Generator, arithmetic: Arithmetic) -> Kept:
    parts: Any = network
    heads = parts.roi_heads
    images, _ = parts.transform([picture.pixels.to(arithmetic.device)])
    maps = parts.backbone(images.tensors)
    (found,), _ = parts.rpn(images, maps)
    proposed = _proposed(found.cpu(), picture, rng)
    boxes = proposed.boxes.to(arithmetic.device)
    pooled = heads.box_roi_pool(maps, [boxes], images.image_sizes).cpu().half()
    (deltas,) = heads.box_coder.encode([proposed.cells], [proposed.boxes])
    return Kept(pooled, proposed.labels, torch.where(proposed.labels[:, None] > 0, deltas, 0.0))


def _proposed(found: Tensor, picture: Picture, rng: np.random.Generator) -> _Proposed:
    """Proposals `found` (P, 4) px, the truth boxes and copies of these, matched as in `CellHeads`."""
    truth = picture.boxes
    candidates = torch.cat([found, truth, *(_shaken(truth, rng) for _ in range(COPIES))])
    if len(truth):
        overlap, owner = box_iou(candidates, truth).max(dim=1)
        cell = overlap >= 0.5
        labels, cells = torch.where(cell, picture.labels[owner] + 1, 0), truth[owner]
    else:
        cell = torch.zeros(len(candidates), dtype=torch.bool)
        labels, cells = torch.zeros(len(candidates), dtype=torch.int64), candidates
    background = torch.where(~cell & (share_inside(candidates, picture.ignore) < MOSTLY))[0]
    drawn = torch.from_numpy(rng.permutation(len(background))[:OFF_CELLS])
    places = torch.cat([torch.where(cell)[0], background[drawn]])
    return _Proposed(candidates[places], labels[places], cells[places])


def _shaken(boxes: Tensor, rng: np.random.Generator) -> Tensor:
    """Boxes (N, 4), each side moved by up to half of `SHAKE` times its length."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + sides * torch.from_numpy(rng.uniform(-SHAKE / 2, SHAKE / 2, boxes.shape).astype(np.float32))
