"""Relevance as a fitted family gives it: every strategy, what it refuses, marks, features and starting weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from hemaloop.errors import OptionError
from hemaloop.plugin import Detections, Example, Scored, Silent
from hemaloop.synthetic import render_smear
from hemaloop_faster_rcnn import STARTER, FasterRCNN
from hemaloop_faster_rcnn.fitting import measure
from hemaloop_faster_rcnn.relevance import STRATEGIES

LABELS = ("RBC", "WBC", "Platelets")
QUICK = {"recipe": "quick", "image_size": 96, "thresholds": "RBC=0.3,WBC=0.3,Platelets=0.3"}
SMEARS = [render_smear(seed=seed, width=160, height=128) for seed in range(4)]
EXAMPLES = [Example(smear.image, smear.detections, f"smear {index}") for index, smear in enumerate(SMEARS)]
IMAGES = [smear.image for smear in SMEARS]
BLANK = np.full((128, 160, 3), 235, np.uint8)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a detector with dropout that has seen four smears often enough to find cells on them."""
    directory = tmp_path_factory.mktemp("with dropout")
    plugin = FasterRCNN(LABELS, {**QUICK, "epochs": 60, "dropout": 0.5, "relevance": "paper"})
    plugin.fit(EXAMPLES, EXAMPLES, Silent())
    plugin.save(directory)
    return directory


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a detector without dropout."""
    directory = tmp_path_factory.mktemp("without dropout")
    plugin = FasterRCNN(LABELS, {**QUICK, "epochs": 1})
    plugin.fit(EXAMPLES, [], Silent())
    plugin.save(directory)
    return directory


def scored(artifact: Path, relevance: str, images: list[np.ndarray] | None = None, **options: object) -> list[Scored]:
    plugin = FasterRCNN(LABELS, {**QUICK, "relevance": relevance, **options})
    plugin.load(artifact)
    return plugin.score(IMAGES if images is None else images)


def test_the_papers_relevance_is_the_sum_of_its_parts(artifact: Path) -> None:
    for one in scored(artifact, "paper", gamma=3, rare_classes="Platelets"):
        parts = one.parts
        assert one.relevance == parts["uncertain_class"] + parts["uncertain_box"] + 3 * parts["rare"]
        assert parts["cells"] == len(one.prediction) > 0  # type: ignore[arg-type]
        assert parts["per_cell"] == one.relevance / parts["cells"]


def test_doubtful_smears_have_marks_and_each_mark_is_counted(artifact: Path) -> None:
    found = scored(artifact, "paper", beta=0.97, rare_classes="Platelets")
    assert sum(len(one.review) for one in found) > 0
    for one in found:
        reasons = [reason for mark in one.review for reason in mark.reason.split("; ")]
        assert sum(reason == "uncertain box" for reason in reasons) == one.parts["uncertain_box"]
        assert sum(reason == "uncertain class" for reason in reasons) == one.parts["uncertain_class"]
        assert sum(reason.startswith("maybe rare: Platelets (") for reason in reasons) == one.parts["rare"]


@pytest.mark.parametrize("relevance", list(STRATEGIES))
def test_a_score_depends_on_the_image_alone(artifact: Path, relevance: str) -> None:
    plugin = FasterRCNN(LABELS, {**QUICK, "relevance": relevance})
    plugin.load(artifact)
    together, backwards = plugin.score(IMAGES), plugin.score(IMAGES[::-1])[::-1]
    for image, one, other in zip(IMAGES, together, backwards, strict=True):
        (alone,) = plugin.score([image])
        assert one.relevance == pytest.approx(other.relevance) == pytest.approx(alone.relevance)
        assert one.review == other.review == alone.review
        np.testing.assert_allclose(one.features, alone.features, atol=1e-6)
    assert len({round(one.relevance, 6) for one in together}) > 1


@pytest.mark.parametrize("relevance", list(STRATEGIES))
def test_a_field_without_cells_is_worth_nothing_and_is_no_nan(artifact: Path, relevance: str) -> None:
    (one,) = scored(artifact, relevance, [BLANK], thresholds="RBC=1,WBC=1,Platelets=1", score_floor=0.99)
    assert len(one.prediction) == 0  # type: ignore[arg-type]
    assert all(map(math.isfinite, one.parts.values()))
    assert one.parts["cells"] == 0
    assert 0 < one.relevance < 1 if relevance == "random" else one.relevance == 0
    assert one.features is not None
    assert np.isfinite(one.features).all()


def test_more_passes_are_another_sample_of_the_same(artifact: Path) -> None:
    few, many = (scored(artifact, "bald", passes=passes)[0].relevance for passes in (20, 200))
    assert few != many
    assert few == pytest.approx(many, rel=0.5)


@pytest.mark.parametrize("relevance", ["paper", "paper_per_cell", "bald", "bald_per_cell"])
def test_a_model_trained_without_dropout_refuses_with_the_remedy_and_still_predicts(
    plain: Path, relevance: str
) -> None:
    plugin = FasterRCNN(LABELS, {**QUICK, "relevance": relevance})
    plugin.load(plain)
    assert len(plugin.predict(IMAGES)) == len(IMAGES)
    with pytest.raises(OptionError, match=r"trained without dropout: train again with dropout=0\.2, or choose"):
        plugin.score(IMAGES)


def test_other_relevances_need_no_dropout(plain: Path) -> None:
    for relevance in ("doubt", "entropy", "margin", "random"):
        assert all(math.isfinite(one.relevance) for one in scored(plain, relevance))


def test_a_training_whose_model_could_not_be_scored_is_refused_before_it_begins() -> None:
    with pytest.raises(OptionError, match=r"relevance 'paper' needs stochastic passes, found dropout 0; set dropout"):
        FasterRCNN(LABELS, {**QUICK, "relevance": "paper"}).fit(EXAMPLES, [], Silent())


def test_one_pass_is_refused_as_undefined() -> None:
    with pytest.raises(OptionError, match=r"passes.*U\^d .*undefined for 1; expected 2 or more"):
        FasterRCNN(LABELS, {"passes": 1})


def test_rare_classes_that_are_no_labels_are_refused() -> None:
    with pytest.raises(OptionError, match=r"rare_classes: found labels \['Blast'\], expected some of \['RBC'"):
        FasterRCNN(LABELS, {"rare_classes": "WBC,Blast"})


def test_the_artifact_keeps_dropout_and_the_counts_that_rare_classes_come_from(artifact: Path) -> None:
    description = json.loads((artifact / "detector.json").read_text())
    labels = np.concatenate([smear.detections.labels for smear in SMEARS])
    assert description["dropout"] == 0.5
    assert description["boxes"] == {label: int((labels == index).sum()) for index, label in enumerate(LABELS)}


def test_dropout_is_off_in_use(artifact: Path) -> None:
    plugin = FasterRCNN(LABELS, QUICK)
    plugin.load(artifact)
    first, second = (plugin.predict_unfiltered(IMAGES[:1])[0] for _ in range(2))
    np.testing.assert_array_equal(first.scores, second.scores)  # type: ignore[union-attr]


def test_a_single_class_can_be_scored() -> None:
    truth = [Detections.truth(smear.detections.boxes, np.zeros(len(smear.detections))) for smear in SMEARS]
    plugin = FasterRCNN(("Cell",), {**QUICK, "thresholds": "none", "epochs": 1, "dropout": 0.5, "relevance": "paper"})
    plugin.fit([Example(image, one, "") for image, one in zip(IMAGES, truth, strict=True)], [], Silent())
    for one in plugin.score(IMAGES):
        assert math.isfinite(one.relevance)
        assert one.parts["rare"] == 0


def test_features_have_length_one_and_tell_images_apart(artifact: Path) -> None:
    other = np.ascontiguousarray(IMAGES[0][::-1])
    features = [one.features for one in scored(artifact, "doubt", [*IMAGES, other, BLANK])]
    assert all(one is not None and one.dtype == np.float32 and one.ndim == 1 for one in features)
    stacked = np.stack([one for one in features if one is not None])
    np.testing.assert_allclose(np.linalg.norm(stacked, axis=1), 1, rtol=1e-5)
    apart = np.linalg.norm(stacked[:, None] - stacked[None], axis=2)
    assert apart[0, 4] < apart[0, 5], "the same smear upside down is more alike than an empty field"
    assert apart[:4, :4][~np.eye(4, dtype=bool)].min() > 1e-4


def test_detections_in_ignore_regions_are_not_counted_on_tune_images(artifact: Path) -> None:
    plugin = FasterRCNN(LABELS, QUICK)
    plugin.load(artifact)
    half = [Detections.truth(smear.detections.boxes[::2], smear.detections.labels[::2]) for smear in SMEARS]
    rest = [smear.detections.boxes[1::2] for smear in SMEARS]
    model, options = plugin._fitted_model(), plugin._options
    bare = [Example(image, truth, "") for image, truth in zip(IMAGES, half, strict=True)]
    told = [Example(*each, "", regions) for *each, regions in zip(IMAGES, half, rest, strict=True)]
    without, _, _ = measure(model, bare, LABELS, options)
    ignoring, _, _ = measure(model, told, LABELS, options)
    assert ignoring["ap/RBC"] > without["ap/RBC"] + 0.05


def test_starter_weights_serve_other_labels_and_say_what_begins_anew() -> None:
    options = {**QUICK, "thresholds": "fit", "epochs": 1, "weights": "starter"}
    plugin = FasterRCNN(("Discocyte", "Echinocyte I"), options)
    truth = [Detections.truth(smear.detections.boxes, smear.detections.labels % 2) for smear in SMEARS]
    examples = [Example(image, one, "") for image, one in zip(IMAGES, truth, strict=True)]
    report = plugin.fit(examples, [], Silent())
    assert any("cls_score.weight" in note and "began anew" in note for note in report.notes)
    assert list(report.inherited) == json.loads((STARTER / "trained_on.json").read_text())


def test_weights_of_the_same_labels_begin_nothing_anew() -> None:
    report = FasterRCNN(LABELS, {**QUICK, "epochs": 1, "weights": "starter"}).fit(EXAMPLES, [], Silent())
    assert not any("anew" in note for note in report.notes)


def test_a_training_from_nothing_inherits_nothing() -> None:
    assert FasterRCNN(LABELS, {**QUICK, "epochs": 1}).fit(EXAMPLES, [], Silent()).inherited == ()


@pytest.mark.parametrize(("preset", "classes"), [("rbc_subtypes", 7), ("rbc_subtypes_vgg16", 7), ("rbc12", 12)])
def test_presets_of_subtypes_can_be_scored_as_they_stand(preset: str, classes: int) -> None:
    chosen = FasterRCNN.presets[preset]
    options = FasterRCNN(chosen.labels, chosen.options)._options
    assert len(chosen.labels) == classes
    assert (options.relevance, options.dropout, options.passes) == ("paper", 0.2, 20)
    assert (options.backbone == "vgg16") == preset.endswith("vgg16")
