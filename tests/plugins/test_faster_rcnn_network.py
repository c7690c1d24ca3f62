"""The network's parts: pretrained weights, reduced arithmetic, schedule, second look, shipped weights."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch.hub import load_state_dict_from_url

from hemaloop.errors import StoreError, TrainingDiverged
from hemaloop.networks.arithmetic import fold_normalisation
from hemaloop.networks.artifact import round_weights
from hemaloop.plugin import Detections
from hemaloop_faster_rcnn import STARTER, FasterRCNN, FasterRCNNOptions, pretrained
from hemaloop_faster_rcnn.backbone import body_of
from hemaloop_faster_rcnn.detector import Architecture, build
from hemaloop_faster_rcnn.magnification import better_magnification
from hemaloop_faster_rcnn.pretrained import apply_weights, read_weights
from hemaloop_faster_rcnn.recipe import DEFAULT, PAPER, QUICK, recipe_of
from hemaloop_faster_rcnn.training import check_finite, learning_rate, schedule_of

RESNET18 = Architecture("resnet18_fpn", 3, "batch")


@pytest.fixture
def network() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(RESNET18, 0.45, 0.05)


def test_the_slim_head_keeps_an_artifact_small(network: Any) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) * 2 < 30e6  # bytes as float16


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_of_a_classifier_file_become_the_backbone(network: Any, tmp_path: Path, suffix: str) -> None:
    classifier = torchvision.models.resnet18(weights=None).state_dict()
    path = tmp_path / f"resnet18{suffix}"
    if suffix == ".pth":
        torch.save(classifier, path)
    else:
        save_file(classifier, path)
    apply_weights(network, read_weights("resnet18_fpn", str(path)), str(path))
    assert torch.equal(body_of(network.backbone).state_dict()["conv1.weight"], classifier["conv1.weight"])


def test_weights_of_another_backbone_are_refused_with_the_part_named(network: Any) -> None:
    other = torchvision.models.resnet34(weights=None).state_dict()
    with pytest.raises(StoreError, match=r"weights 'mine'.*backbone"):
        apply_weights(network, {name: value for name, value in other.items() if "layer4" not in name}, "mine")


def test_a_detector_with_other_classes_gives_all_but_its_last_layer(network: Any) -> None:
    other: Any = build(Architecture("resnet18_fpn", 5, "batch"), 0.45, 0.05)
    apply_weights(network, other.state_dict(), "other")
    assert torch.equal(network.rpn.head.cls_logits.weight, other.rpn.head.cls_logits.weight)
    assert network.roi_heads.box_predictor.cls_score.weight.shape == (4, 256)


def test_weights_that_cannot_be_reached_say_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/resnet18-f37072fd.pth"  # nobody listens there
    entry = SimpleNamespace(
        url=url,
        get_state_dict=lambda **given: load_state_dict_from_url(url, model_dir=str(tmp_path), **given),
    )
    monkeypatch.setitem(pretrained.PUBLISHED, ("resnet18_fpn", "imagenet"), lambda: entry)
    with pytest.raises(StoreError, match=r"could not be had.*path as `weights`, or use weights 'none'"):
        read_weights("resnet18_fpn", "imagenet")


def test_a_missing_or_broken_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        read_weights("resnet18_fpn", str(tmp_path / "absent.pth"))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not weights")
    with pytest.raises(StoreError, match=r"broken\.safetensors"):
        read_weights("resnet18_fpn", str(broken))


def test_folding_the_normalisation_changes_no_result(network: Any) -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(2))
            module.running_var.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(3))
    network.eval()
    with torch.inference_mode():
        before = network.backbone(images)
    fold_normalisation(network.backbone)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.backbone.modules())
    with torch.inference_mode():
        after = network.backbone(images)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-3, atol=1e-4)


def test_rounded_weights_survive_float16_exactly(network: Any) -> None:
    round_weights(network)
    for value in network.state_dict().values():
        if value.ndim > 1:
            assert torch.equal(value.half().float(), value)


def test_the_learning_rate_rises_then_falls_to_a_hundredth() -> None:
    rates = [learning_rate(DEFAULT, done) for done in np.linspace(0, 1, 101)]
    top = int(np.argmax(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) == pytest.approx(DEFAULT.learning_rate, rel=0.01)
    assert rates[-1] == pytest.approx(DEFAULT.learning_rate / 100)


def test_the_papers_learning_rate_is_constant() -> None:
    assert {learning_rate(PAPER, done) for done in (0.0, 0.5, 1.0)} == {0.001}


def test_few_images_get_more_epochs() -> None:
    assert schedule_of(DEFAULT, 300, None).epochs == DEFAULT.epochs
    assert schedule_of(DEFAULT, 8, None).steps >= DEFAULT.min_steps
    assert schedule_of(PAPER, 8, None).epochs == 5


def test_options_change_the_recipe_they_name() -> None:
    recipe = recipe_of(FasterRCNNOptions(recipe="quick", epochs=3, batch_size=2, learning_rate=0.01, image_size=120))
    assert (recipe.epochs, recipe.min_steps, recipe.batch_size, recipe.learning_rate) == (3, 0, 2, 0.01)
    assert recipe.image_size == 120
    assert recipe.window is not None
    assert QUICK.window is not None
    assert recipe.window < QUICK.window


def test_a_loss_that_is_not_finite_is_named() -> None:
    with pytest.raises(TrainingDiverged, match="epoch 2, batch 7: loss_objectness is nan"):
        check_finite({"loss_classifier": 0.3, "loss_objectness": float("nan")}, 2, 7, 0.1)


def squares(side: float, count: int, score: float = 0.9) -> Detections:
    corners = np.arange(count, dtype=np.float32)[:, None] * [300, 0] + [0, 0]
    return Detections(
        np.concatenate([corners, corners + side], axis=1).astype(np.float32),
        np.zeros(count, np.int64),
        np.full(count, score, np.float32),
    )


@pytest.mark.parametrize(
    ("side", "factor"), [(60, 1.0), (50, 1.0), (40, 1.5), (20, 1.75), (150, 0.5), (110, 60 / 110)], ids=str
)
def test_cells_of_unusual_size_are_looked_at_again_at_the_usual_one(side: float, factor: float) -> None:
    assert better_magnification(squares(side, 9), 60) == pytest.approx(factor)


def test_one_look_is_enough_where_size_is_unknown() -> None:
    assert better_magnification(squares(20, 3), 60) == 1.0
    assert better_magnification(squares(20, 9, score=0.1), 60) == 1.0
    assert better_magnification(squares(20, 9), 0.0) == 1.0


def test_the_shipped_weights_load_and_are_small() -> None:
    plugin = FasterRCNN(FasterRCNN.presets["cbc"].labels)
    plugin.load(STARTER)
    assert plugin.fitted
    assert sum(path.stat().st_size for path in STARTER.iterdir()) <= 40e6


def test_the_model_card_states_what_the_shipped_figures_say() -> None:
    card = (STARTER / "README.md").read_text(encoding="utf-8")
    figures = json.loads((STARTER / "figures.json").read_text(encoding="utf-8"))
    for name in ("map50", "ap/RBC", "ap/WBC", "ap/Platelets", "paper_map", "coco_map"):
        assert f"{figures[name]:.3f}" in card, name
