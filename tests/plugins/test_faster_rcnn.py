"""The family as a whole: it learns, answers alike however it is asked, and refuses what it cannot do."""

from __future__ import annotations

import gc
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hemaloop.errors import DatasetError, ImageError, NotFitted, StoreError, TrainingDiverged
from hemaloop.evaluation.detection import evaluate_detections, intersection_over_union
from hemaloop.plugin import Detections, Example, FitReport, Prediction, Silent
from hemaloop.synthetic import render_smear
from hemaloop_faster_rcnn import CBC_LABELS, STARTER, FasterRCNN
from hemaloop_faster_rcnn.training import LOSSES

LABELS = ("RBC", "WBC", "Platelets")
SMALL = {"recipe": "quick", "image_size": 96, "epochs": 1}
SMEARS = [render_smear(seed=seed, width=160, height=128) for seed in range(4)]
EXAMPLES = [Example(smear.image, smear.detections, f"smear {index}") for index, smear in enumerate(SMEARS)]
IMAGES = [smear.image for smear in SMEARS]
TRUTHS = [smear.detections for smear in SMEARS]


class Recorder:
    """A `Progress` that keeps the figures it is told."""

    def __init__(self) -> None:
        self.figures: list[Mapping[str, float]] = []
        self.done: list[float] = []

    def report(self, done: float, total: float, message: str, figures: Mapping[str, float] | None = None) -> None:
        self.done.append(done / total)
        if figures:
            self.figures.append(figures)


def boxes(predictions: list[Prediction]) -> list[Detections]:
    return [prediction for prediction in predictions if isinstance(prediction, Detections)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[FasterRCNN, FitReport, Recorder]:
    plugin = FasterRCNN(LABELS, {"recipe": "quick", "image_size": 128, "epochs": 120, "thresholds": "fit"})
    recorder = Recorder()
    report = plugin.fit(EXAMPLES, EXAMPLES, recorder)
    return plugin, report, recorder


@pytest.fixture(scope="module")
def artifact(trained: tuple[FasterRCNN, FitReport, Recorder], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("artifact")
    trained[0].save(directory)
    return directory


def test_four_smears_can_be_learned_by_heart(trained: tuple[FasterRCNN, FitReport, Recorder]) -> None:
    found = boxes(trained[0].predict_unfiltered(IMAGES))
    assert evaluate_detections(TRUTHS, found, LABELS, coco=False).ap["RBC"] > 0.8


def test_the_four_losses_of_every_epoch_are_reported(trained: tuple[FasterRCNN, FitReport, Recorder]) -> None:
    _, report, recorder = trained
    assert len(report.epochs) == len(recorder.figures) == 120
    for told, kept in zip(recorder.figures, report.epochs, strict=True):
        assert set(LOSSES) <= set(told)
        assert told == kept
    assert recorder.done == sorted(recorder.done)
    assert recorder.done[-1] == 1.0


def test_a_training_lowers_the_loss(trained: tuple[FasterRCNN, FitReport, Recorder]) -> None:
    epochs = trained[1].epochs
    assert epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]


def test_what_was_measured_on_the_tune_images_is_reported(trained: tuple[FasterRCNN, FitReport, Recorder]) -> None:
    assert {"map50", "ap/RBC"} <= set(trained[1].figures)


def test_fitted_thresholds_are_kept_in_the_artifact(artifact: Path) -> None:
    fitted, paper = FasterRCNN(LABELS, {"thresholds": "fit"}), FasterRCNN(LABELS)
    fitted.load(artifact)
    paper.load(artifact)
    kept = json.loads((artifact / "detector.json").read_text())["thresholds"]
    assert fitted.thresholds["RBC"] == kept["RBC"]
    assert paper.thresholds == {"RBC": 0.70, "WBC": 0.80, "Platelets": 0.55}


def test_predict_is_predict_unfiltered_above_the_thresholds(artifact: Path) -> None:
    plugin = FasterRCNN(LABELS, {"thresholds": "RBC=0.6,WBC=0.3,Platelets=0.4"})
    plugin.load(artifact)
    for shown, everything in zip(boxes(plugin.predict(IMAGES)), boxes(plugin.predict_unfiltered(IMAGES)), strict=True):
        kept = everything.scores >= np.array([0.6, 0.3, 0.4], np.float32)[everything.labels]
        np.testing.assert_array_equal(shown.boxes, everything.boxes[kept])


def test_saving_and_loading_changes_nothing_at_all(
    trained: tuple[FasterRCNN, FitReport, Recorder], artifact: Path
) -> None:
    loaded = FasterRCNN(LABELS, {"thresholds": "fit"})
    loaded.load(artifact)
    for before, after in zip(boxes(trained[0].predict(IMAGES)), boxes(loaded.predict(IMAGES)), strict=True):
        np.testing.assert_array_equal(before.boxes, after.boxes)
        np.testing.assert_array_equal(before.scores, after.scores)


def test_bfloat16_finds_the_same_cells_as_float32(artifact: Path) -> None:
    found = {}
    for precision in ("float32", "bfloat16"):
        plugin = FasterRCNN(LABELS, {"precision": precision})
        plugin.load(artifact)
        found[precision] = boxes(plugin.predict_unfiltered(IMAGES))
    for exact, reduced in zip(found["float32"], found["bfloat16"], strict=True):
        sure = exact.scores > 0.6
        overlaps = intersection_over_union(exact.boxes[sure], reduced.boxes)
        best = overlaps.argmax(axis=1)
        assert (overlaps.max(axis=1) > 0.85).all()
        np.testing.assert_allclose(exact.scores[sure], reduced.scores[best], atol=0.15)


def test_accuracy_does_not_suffer_from_bfloat16(artifact: Path) -> None:
    smears = [render_smear(seed=seed, width=160, height=128) for seed in range(100, 132)]
    truths = [smear.detections for smear in smears]
    figures = {}
    for precision in ("float32", "bfloat16"):
        plugin = FasterRCNN(LABELS, {"precision": precision})
        plugin.load(artifact)
        found = boxes(plugin.predict_unfiltered([smear.image for smear in smears]))
        figures[precision] = evaluate_detections(truths, found, LABELS, coco=False).map50
    assert figures["bfloat16"] >= figures["float32"] - 0.03, figures


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (1512, 2024)])
def test_images_of_any_size_are_answered_inside_their_bounds(artifact: Path, size: tuple[int, int]) -> None:
    plugin = FasterRCNN(LABELS)
    plugin.load(artifact)
    image = np.resize(IMAGES[0], (*size, 3)).astype(np.uint8)
    (found,) = boxes(plugin.predict_unfiltered([image]))
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2] <= size[1]).all()
    assert (found.boxes[:, 3] <= size[0]).all()


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8), "smear.jpg"],
    ids=["grey", "float", "empty", "text"],
)
def test_what_is_no_image_is_named(artifact: Path, image: object) -> None:
    plugin = FasterRCNN(LABELS)
    plugin.load(artifact)
    with pytest.raises(ImageError, match="image 1 of the batch"):
        plugin.predict([IMAGES[0], image])  # type: ignore[list-item]


def test_predicting_before_fitting_says_what_to_do() -> None:
    with pytest.raises(NotFitted, match="fit"):
        FasterRCNN(LABELS).predict([])


def test_tune_images_may_be_absent() -> None:
    report = FasterRCNN(LABELS, SMALL).fit(EXAMPLES, [], Silent())
    assert any("no tune image" in note for note in report.notes)


def test_a_class_without_an_example_is_noted_and_the_rest_is_learned() -> None:
    plugin = FasterRCNN((*LABELS, "Blast"), SMALL)
    report = plugin.fit(EXAMPLES, EXAMPLES[:1], Silent())
    assert plugin.fitted
    assert any(note.startswith("Blast:") for note in report.notes)


def test_no_training_image_is_an_error() -> None:
    with pytest.raises(DatasetError, match="no image"):
        FasterRCNN(LABELS, SMALL).fit([], EXAMPLES, Silent())


def test_a_diverging_training_names_epoch_batch_and_remedy_and_keeps_the_old_model(artifact: Path) -> None:
    plugin = FasterRCNN(LABELS, {"recipe": "paper", "image_size": 64, "epochs": 40, "learning_rate": 1.0})
    plugin.load(artifact)
    before = boxes(plugin.predict(IMAGES[:1]))[0]
    with pytest.raises(TrainingDiverged, match=r"epoch \d+, batch \d+: loss_\w+ is .*learning_rate"):
        plugin.fit(EXAMPLES, [], Silent())
    np.testing.assert_array_equal(boxes(plugin.predict(IMAGES[:1]))[0].boxes, before.boxes)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / name).mkdir()
        plugin = FasterRCNN(LABELS, SMALL, seed=seed)
        plugin.fit(EXAMPLES, [], Silent())
        plugin.save(tmp_path / name)
        weights.append(load_file(tmp_path / name / "detector.safetensors")["roi_heads.box_predictor.bbox_pred.weight"])
    assert torch.allclose(weights[0], weights[1], atol=1e-4)
    assert not torch.allclose(weights[0], weights[2], atol=1e-4)


def test_a_time_limit_shortens_the_training() -> None:
    recorder = Recorder()
    report = FasterRCNN(LABELS, {**SMALL, "epochs": 5000, "max_minutes": 0.03}).fit(EXAMPLES, [], recorder)
    assert len(report.epochs) < 5000
    assert recorder.done[-1] == 1.0


@pytest.mark.parametrize("backbone", ["resnet50_fpn", "mobilenet_v3_large_fpn", "vgg16"])
def test_every_backbone_learns_answers_and_comes_back(backbone: str, tmp_path: Path) -> None:
    plugin = FasterRCNN(LABELS, {**SMALL, "backbone": backbone, "image_size": 64, "batch_size": 2})
    report = plugin.fit(EXAMPLES[:2], [], Silent())
    assert math.isfinite(report.epochs[-1]["loss"])
    plugin.save(tmp_path)
    other = FasterRCNN(LABELS)
    other.load(tmp_path)
    np.testing.assert_array_equal(
        boxes(plugin.predict_unfiltered(IMAGES[:1]))[0].boxes, boxes(other.predict_unfiltered(IMAGES[:1]))[0].boxes
    )


def test_a_frozen_backbone_does_not_move(artifact: Path, tmp_path: Path) -> None:
    options = {**SMALL, "weights": str(artifact / "detector.safetensors"), "frozen_backbone": True}
    plugin = FasterRCNN(LABELS, options)
    plugin.fit(EXAMPLES, [], Silent())
    plugin.save(tmp_path)
    before, after = (load_file(folder / "detector.safetensors") for folder in (artifact, tmp_path))
    for name, value in before.items():
        if name.startswith("backbone.body."):
            assert torch.equal(value, after[name]), name
    assert not torch.equal(before["rpn.head.conv.0.0.weight"], after["rpn.head.conv.0.0.weight"])


def test_the_paper_recipe_trains() -> None:
    report = FasterRCNN(LABELS, {"recipe": "paper", "image_size": 96, "epochs": 1}).fit(EXAMPLES, [], Silent())
    assert report.epochs[0]["learning_rate"] == 0.001


def test_an_artifact_of_other_labels_is_refused_with_both_named(artifact: Path) -> None:
    with pytest.raises(StoreError, match=r"\['RBC', 'WBC', 'Platelets'\], expected \['WBC', 'RBC'\]"):
        FasterRCNN(("WBC", "RBC")).load(artifact)


@pytest.mark.parametrize("fault", ["shape", "missing", "foreign", "not finite", "truncated"])
def test_a_damaged_artifact_is_refused_with_the_tensor_named(artifact: Path, tmp_path: Path, fault: str) -> None:
    (tmp_path / "detector.json").write_bytes((artifact / "detector.json").read_bytes())
    name = "roi_heads.box_predictor.cls_score.weight"
    tensors = load_file(artifact / "detector.safetensors")
    if fault == "shape":
        tensors[name] = tensors[name][:2].contiguous()
    elif fault == "missing":
        del tensors[name]
    elif fault == "foreign":
        tensors["surplus"] = torch.zeros(1)
    elif fault == "not finite":
        tensors[name][0, 0] = torch.nan
    save_file(tensors, tmp_path / "detector.safetensors")
    if fault == "truncated":
        (tmp_path / "detector.safetensors").write_bytes((artifact / "detector.safetensors").read_bytes()[:1000])
    named = {"foreign": "surplus", "truncated": "expected the weights"}.get(fault, name)
    with pytest.raises(StoreError, match=named):
        FasterRCNN(LABELS).load(tmp_path)


def test_asking_for_name_and_options_imports_no_torch() -> None:
    code = "import sys, hemaloop_faster_rcnn as f; f.FasterRCNN(('RBC',)); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_prediction_imports_no_compiler_and_who_asks_for_it_gets_the_real_one() -> None:
    code = """
import sys
from hemaloop.synthetic import render_smear
from hemaloop_faster_rcnn import CBC_LABELS, STARTER, FasterRCNN
plugin = FasterRCNN(CBC_LABELS)
plugin.load(STARTER)
assert len(plugin.predict([render_smear(0).image])[0].boxes)
assert not {"torch._dynamo", "sympy", "triton"} & set(sys.modules)
asked = sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu")
from torch._dynamo.utils import is_compile_supported
assert asked == is_compile_supported("cpu")
assert sys.modules["torch._dynamo"].__file__
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_loaded_model_saves_what_it_was_loaded_from(tmp_path: Path) -> None:
    plugin = FasterRCNN(CBC_LABELS)
    plugin.load(STARTER)
    plugin.save(tmp_path)
    before, after = (load_file(folder / "detector.safetensors") for folder in (STARTER, tmp_path))
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert value.dtype == after[name].dtype, name
        assert torch.equal(value, after[name]), name


def test_a_model_keeps_its_weights_once_as_they_compute_and_once_as_they_are_written() -> None:
    plugin = FasterRCNN(CBC_LABELS)
    plugin.load(STARTER)
    held = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in _tensors(plugin)}
    written = (STARTER / "detector.safetensors").stat().st_size
    assert written < sum(held.values()) < 3.2 * written


def _tensors(root: object) -> Iterator[torch.Tensor]:
    """Those that an object holds on to."""
    seen: set[int] = set()
    waiting: list[object] = [vars(root)]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType):
            continue
        seen.add(id(one))
        if isinstance(one, torch.Tensor):
            yield one
        waiting.extend(gc.get_referents(one))
