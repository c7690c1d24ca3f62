"""Pictures show what they should, and can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemaloop.drawing import PALETTE, colour_of, curves_figure, draw_detections, save_figure
from hemaloop.evaluation.detection import evaluate_detections
from hemaloop.plugin import Detections

GREY = np.full((120, 160, 3), 200, np.uint8)


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[index : index + 2], 16) for index in (1, 3, 5))


def found(score: float = 0.9) -> Detections:
    boxes = np.array([[20, 30, 60, 70], [100, 40, 140, 90]], np.float32)
    return Detections(boxes, np.array([0, 2], np.int64), np.full(2, score, np.float32))


def test_a_box_is_drawn_in_the_colour_of_its_class_and_the_image_is_left_alone() -> None:
    before = GREY.copy()
    picture = np.asarray(draw_detections(GREY, found(), ("RBC", "WBC", "Platelets")))
    assert tuple(picture[69, 40]) == rgb(colour_of(0))
    assert tuple(picture[89, 120]) == rgb(colour_of(2))
    assert (before == GREY).all()


def test_the_legend_lies_below_the_picture_not_on_it() -> None:
    picture = draw_detections(GREY, Detections.empty(), ("RBC", "WBC"))
    assert picture.width == 160
    assert picture.height > 120
    assert (np.asarray(picture)[:120] == 200).all()


def test_many_classes_wrap_in_the_legend() -> None:
    one, many = (draw_detections(GREY, Detections.empty(), [f"class {i}" for i in range(n)]).height for n in (1, 12))
    assert many > one


def test_a_marked_box_is_dashed() -> None:
    labels = ("RBC", "WBC", "Platelets")
    plain = np.asarray(draw_detections(GREY, found(1.0), labels))
    dashed = np.asarray(draw_detections(GREY, found(1.0), labels, marked=[0]))
    line = (plain[69, 20:60] == rgb(colour_of(0))).all(axis=1)
    dashes = (dashed[69, 20:60] == rgb(colour_of(0))).all(axis=1)
    assert line.all()
    assert 0 < dashes.sum() < line.sum()


def test_the_eight_colours_differ() -> None:
    assert len(set(PALETTE)) == 8
    assert colour_of(8) == colour_of(0)


@pytest.mark.parametrize("box", [[0, 0, 160, 120], [0, 0, 1, 1], [159, 119, 160, 120]])
def test_boxes_at_the_edge_can_be_drawn(box: list[float]) -> None:
    one = Detections(np.array([box], np.float32), np.zeros(1, np.int64), np.full(1, 0.5, np.float32))
    assert draw_detections(GREY, one, ("RBC",), marked=[0])


def test_curves_name_each_class_with_its_ap_and_are_written_as_png(tmp_path: Path) -> None:
    truths = [Detections.truth(found().boxes, found().labels)]
    report = evaluate_detections(truths, [found()], ("RBC", "WBC", "Platelets"), {"RBC": 0.5}, coco=False)
    figure = curves_figure(report)
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["RBC: AP 1.000 (1 cells)", "Platelets: AP 1.000 (1 cells)"]  # no truth, no curve
    assert axes.get_xlabel().startswith("recall")
    assert axes.get_ylabel().startswith("precision")
    path = save_figure(figure, tmp_path / "new" / "curves.png")
    with Image.open(path) as opened:
        assert opened.format == "PNG"
        assert opened.width > 800
