"""Questions that annotators draw: which part of a prediction answers a rectangle or a point.

Someone who draws a box where the model shows nothing says that there is something, so the best of what the operating
threshold hides is an answer too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import PluginError
from hemaloop.plugin import ClassMap, Detections, Prediction, Prompt

Mask = NDArray[np.bool_]

INSIDE = 0.5
"""Share of a cell's area that must lie in a drawn box for the cell to be asked about."""
_EIGHT = np.ones((3, 3), bool)


def read_prompt(drawn: Sequence[Mapping[str, Any]], width: int, height: int, to_name: str) -> Prompt:
    """Regions as Label Studio sends them for smart tools, on an image of width x height px.

    Rectangles and key points on the image `to_name` count; others, and what is damaged, are left out. A box is cut to
    the image. `is_positive` is false on a negative key point.
    """
    boxes: list[tuple[float, float, float, float]] = []
    points: list[tuple[float, float]] = []
    positive: list[bool] = []
    for region in drawn:
        value = region.get("value")
        if not isinstance(value, Mapping) or region.get("to_name", to_name) != to_name:
            continue
        point = "keypointlabels" in value or str(region.get("type", "")).startswith("keypoint")
        numbers = [value.get(name) for name in (("x", "y") if point else ("x", "y", "width", "height"))]
        if not all(isinstance(one, (int, float)) and math.isfinite(one) for one in numbers):
            continue
        x, y, *sides = (float(one) / 100 for one in numbers if one is not None)
        if point:
            points.append((x * width, y * height))
            positive.append(bool(region.get("is_positive", value.get("is_positive", True))))
            continue
        left, right = sorted((x, x + sides[0]))
        top, bottom = sorted((y, y + sides[1]))
        boxes.append((left * width, top * height, right * width, bottom * height))
    size = np.array([width, height, width, height], np.float32)
    found = np.clip(np.array(boxes, np.float32).reshape(-1, 4), 0, size)
    found = found[(found[:, 2:] > found[:, :2]).all(axis=1)]
    return Prompt(found, np.array(points, np.float32).reshape(-1, 2), np.array(positive, bool))


def chosen(shown: Prediction, everything: Prediction, prompt: Prompt) -> Prediction:
    """The part of `shown` that a prompt asks about; of boxes, where nothing is, the best one of `everything`.

    Raises `PluginError` for a classification.
    """
    if isinstance(shown, Detections) and isinstance(everything, Detections):
        return _chosen_boxes(shown, everything, prompt)
    if isinstance(shown, ClassMap):
        return _chosen_parts(shown, prompt)
    raise PluginError("a classification is about the image as a whole: there is nothing to ask about a place in it")


def _chosen_boxes(shown: Detections, everything: Detections, prompt: Prompt) -> Detections:
    boxes: list[NDArray[np.float32]] = []
    labels: list[int] = []
    scores: list[float] = []

    def take(found: Detections, index: int) -> None:
        if not any(np.array_equal(found.boxes[index], one) for one in boxes):
            boxes.append(found.boxes[index])
            labels.append(int(found.labels[index]))
            scores.append(float(found.scores[index]))

    for box in prompt.boxes:
        visible = np.flatnonzero(_centred(shown.boxes, box))
        for index in visible:
            take(shown, int(index))
        hidden = np.flatnonzero(_centred(everything.boxes, box))
        if not len(visible) and len(hidden):
            take(everything, int(hidden[np.argmax(everything.scores[hidden])]))
    for point in prompt.points[prompt.positive]:
        for found in (shown, everything):
            under = np.flatnonzero(_holds(found.boxes, point))
            if len(under):
                take(found, int(under[np.argmax(found.scores[under])]))
                break
    removed = prompt.points[~prompt.positive]
    kept = [i for i, box in enumerate(boxes) if not any(_holds(box[None], point)[0] for point in removed)]
    kept.sort(key=lambda i: -scores[i])
    return Detections(
        np.array([boxes[i] for i in kept], np.float32).reshape(-1, 4),
        np.array([labels[i] for i in kept], np.int64),
        np.array([scores[i] for i in kept], np.float32),
    )


def _centred(boxes: NDArray[np.float32], drawn: NDArray[np.float32]) -> Mask:
    """Which boxes (N, 4) have their centre in one drawn."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.asarray(((centres >= drawn[:2]) & (centres <= drawn[2:])).all(axis=1))


def _holds(boxes: NDArray[np.float32], point: NDArray[np.float32]) -> Mask:
    return np.asarray(((boxes[:, :2] <= point) & (point <= boxes[:, 2:])).all(axis=1))


def _chosen_parts(shown: ClassMap, prompt: Prompt) -> ClassMap:
    """What lies in drawn boxes, and the connected parts under positive points, without those under negative ones."""
    from scipy import ndimage  # 17 MB of every process that predicts, and boxes need none of it

    parts, _ = ndimage.label(shown.labels > 0, _EIGHT)
    kept = inside_of(prompt.boxes, parts.shape)
    wanted, removed = (
        [int(parts[pixel]) for pixel in pixels_of(prompt.points[prompt.positive == sign], parts.shape)]
        for sign in (True, False)
    )
    kept = (kept | np.isin(parts, wanted)) & ~np.isin(parts, removed)
    return ClassMap(np.where(kept, shown.labels, 0).astype(np.uint8))


def inside_of(boxes: NDArray[np.float32], shape: tuple[int, ...]) -> Mask:
    """The px of an image (H, W) whose centre lies in one of the boxes (K, 4) px."""
    mask = np.zeros(shape, bool)
    for x1, y1, x2, y2 in np.round(boxes).astype(int).tolist():
        mask[y1:y2, x1:x2] = True
    return mask


def pixels_of(points: NDArray[np.float32], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Row and column of each point (P, 2) that lies on an image (H, W)."""
    found = np.floor(points).astype(int).tolist()
    return [(y, x) for x, y in found if 0 <= x < shape[1] and 0 <= y < shape[0]]
