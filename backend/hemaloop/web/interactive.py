"""Interactive calls: what the model sees where the annotator just drew.

The answer is always a dict with a `result`: Label Studio breaks on `[]` here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hemaloop.inference.wire import TaskAnswer


def nothing(version: str) -> bytes:
    """No region, and no claim about the image: interactive answers are not stored."""
    return json.dumps({"result": [], "score": 0.0, "model_version": version}).encode()


def inside(answer: TaskAnswer | None, drawn: Sequence[Mapping[str, Any]], version: str) -> bytes:
    """The prediction's boxes whose centre lies in a drawn rectangle, or that hold a drawn point."""
    if answer is None or answer.body is None:
        return nothing(version)
    prediction = json.loads(answer.body)
    shapes = [shape for shape in map(_rectangle, drawn) if shape is not None]
    boxes = [(region, _rectangle(region)) for region in prediction["result"]]
    prediction["result"] = [region for region, box in boxes if box and any(_meets(shape, box) for shape in shapes)]
    return json.dumps(prediction).encode()


def _rectangle(region: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """x, y, width, height in per cent; a point has neither width nor height. None for what is neither."""
    value = region.get("value")
    if not isinstance(value, Mapping):
        return None
    point = "keypointlabels" in value
    numbers = [value.get("x"), value.get("y"), *([0.0, 0.0] if point else [value.get("width"), value.get("height")])]
    if not all(isinstance(number, (int, float)) for number in numbers):
        return None
    x, y, width, height = (float(number) for number in numbers if number is not None)
    return x, y, width, height


def _meets(shape: tuple[float, float, float, float], box: tuple[float, float, float, float]) -> bool:
    x, y, width, height = shape
    left, top, across, down = box
    if width or height:
        return x <= left + across / 2 <= x + width and y <= top + down / 2 <= y + height
    return left <= x <= left + across and top <= y <= top + down
