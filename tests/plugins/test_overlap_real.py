"""The overlap family on real smears, outlined by eye before any model was trained."""

from __future__ import annotations

import json

from benchmarks.overlap_crops import measure
from hemaloop.evaluation.segmentation import evaluate_maps
from hemaloop.formats.items import load_picture
from hemaloop.plugin import ClassMap
from hemaloop_overlap_unet import CLASSICAL, STARTER, OverlapUNet
from overlap_truth import VALIDATION, classes_of, read_crops
from real_smears import DATA, needs_cbc, needs_chula

LABELS = ("RBC", "Overlap")


def test_pixels_of_two_outlines_are_an_overlap() -> None:
    square, moved = [[0, 0], [4, 0], [4, 4], [0, 4]], [[2, 0], [6, 0], [6, 4], [2, 4]]
    assert classes_of([square, moved], 0, 0, 7, 1).tolist() == [[1, 1, 2, 2, 1, 1, 0]]
    assert classes_of([square], 2, 0, 3, 1).tolist() == [[1, 1, 0]]


def test_there_are_crops_enough_and_ten_were_drawn_twice() -> None:
    crops = read_crops()
    assert len(crops) >= 36
    twice = [crop for crop in crops if crop.again is not None]
    assert len(twice) >= 10
    first = [ClassMap(crop.classes) for crop in twice]
    again = [ClassMap(crop.again) for crop in twice if crop.again is not None]
    assert evaluate_maps(first, again, LABELS).pooled["Overlap"] > 0.85


@needs_chula
@needs_cbc
def test_the_starter_never_learned_from_an_outlined_image() -> None:
    learned = set(json.loads((STARTER / "trained_on.json").read_text("utf-8")))
    outlined = [*read_crops(), *read_crops(VALIDATION)]
    assert not learned & {load_picture(DATA / crop.image).key for crop in outlined}


def test_crops_to_choose_by_are_of_other_images_than_those_to_test_on() -> None:
    chosen_by = {crop.image for crop in read_crops(VALIDATION)}
    assert len(chosen_by) >= 6
    assert not chosen_by & {crop.image for crop in read_crops()}


@needs_chula
@needs_cbc
def test_the_starter_beats_the_classical_segmentation_on_real_overlaps() -> None:
    reports = []
    for directory in (STARTER, CLASSICAL):
        plugin = OverlapUNet(LABELS)
        plugin.load(directory)
        reports.append(measure(plugin, read_crops()))
    network, classical = reports
    assert network.pooled["Overlap"] > 0.65
    spreads = network.spreads()
    assert spreads["Overlap"].mean > 0.65
    assert spreads["mean"].mean > 0.85
    assert network.mean_iou_all > classical.mean_iou_all + 0.2
    assert network.pooled["RBC"] > classical.pooled["RBC"]
