"""What a prediction must be before it may leave: Label Studio stores most faults unseen and breaks on the rest.

Stricter than Label Studio's own validation and independent of it: what passes here passes there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from hemaloop.labelconfig import Control, LabelConfig
from hemaloop.review import MARK_KIND

TOLERANCE = 1e-6
"""Per cent by which x + width may exceed 100: rounding, not a box outside."""


def validate(prediction: object, label_config: LabelConfig) -> list[str]:
    """Every fault of one task's prediction, or an empty list. Reads each region once; nothing is changed."""
    if not isinstance(prediction, Mapping):
        return [f"found {_shown(prediction)}, expected a dict with result, score and model_version"]
    faults = []
    if not _is_number(prediction.get("score"), 0, 1):
        faults.append(f"score: found {_shown(prediction.get('score'))}, expected a finite number in [0, 1]")
    version = prediction.get("model_version")
    if not isinstance(version, str) or not version:
        faults.append(f"model_version: found {_shown(version)}, expected a text")
    result = prediction.get("result")
    if not isinstance(result, list):
        return [*faults, f"result: found {_shown(result)}, expected a list of regions"]
    controls = {control.name: control for control in label_config.controls}
    ids: set[tuple[str, str]] = set()
    for index, region in enumerate(result):
        faults += [f"region {index}: {fault}" for fault in _region_faults(region, controls, ids)]
    if faults:
        return faults
    return [fault for control in label_config.bound for fault in _mark_faults(result, control, label_config)]


def _mark_faults(result: list[dict[str, Any]], control: Control, label_config: LabelConfig) -> Iterator[str]:
    """A mark, or a choice about a region, is drawn in the place of the region that it shares its id with, so it must be
    the same place."""
    about = {one.name for one in label_config.bound if one.regions == control.name}
    if control.review is not None:
        about.add(control.review.name)
    places = {region["id"]: _place(region) for region in result if region["from_name"] == control.name}
    for index, region in enumerate(result):
        if region["from_name"] not in about:
            continue
        if region["id"] not in places:
            yield f"region {index}: id: {region['id']!r} marks no region of {control.name!r}"
        elif places[region["id"]] != _place(region):
            yield f"region {index}: value: found another place than the region of {control.name!r} with its id has"


def _place(region: Mapping[str, Any]) -> dict[str, Any]:
    """The value of a region without its labels."""
    return {name: part for name, part in region["value"].items() if name != region["type"]}


def _region_faults(region: object, controls: Mapping[str, Control], ids: set[tuple[str, str]]) -> Iterator[str]:
    if not isinstance(region, dict):
        yield f"found {_shown(region)}, expected a dict"
        return
    control = controls.get(region["from_name"]) if isinstance(region.get("from_name"), str) else None
    if control is None:
        yield f"from_name: found {_shown(region.get('from_name'))}, expected one of {sorted(controls)}"
        return
    if region.get("to_name") != control.to_name:
        yield f"to_name: found {_shown(region.get('to_name'))}, expected {control.to_name!r}"
    if region.get("type") != control.kind:
        yield f"type: found {_shown(region.get('type'))}, expected {control.kind!r}"
    yield from _identity_faults(region, control, ids)
    for side in ("original_width", "original_height"):
        if type(region.get(side)) is not int or region[side] < 1:
            yield f"{side}: found {_shown(region.get(side))}, expected whole pixels >= 1"
    if "score" in region and not _is_number(region["score"], 0, 1):
        yield f"score: found {_shown(region['score'])}, expected a finite number in [0, 1]"
    value = region.get("value")
    if not isinstance(value, dict):
        yield f"value: found {_shown(value)}, expected a dict"
        return
    yield from _value_faults(value, control)


def _identity_faults(region: Mapping[str, Any], control: Control, ids: set[tuple[str, str]]) -> Iterator[str]:
    """An id occurs once a control: the choice made about a region shares the region's id."""
    identity = region.get("id")
    if not isinstance(identity, str) or not identity:
        yield f"id: found {_shown(identity)}, expected a text"
    elif (identity, control.name) in ids:
        yield f"id: {identity!r} occurs more than once for {control.name!r}"
    else:
        ids.add((identity, control.name))


def _value_faults(value: Mapping[str, Any], control: Control) -> Iterator[str]:
    if control.kind == "rectanglelabels":
        yield from _rectangle_faults(value)
    elif control.kind == "brushlabels":
        yield from _brush_faults(value)
    elif control.kind == MARK_KIND:
        yield from _path_faults(value.get(control.kind), control)
        return
    elif control.kind == "textarea":
        text = value.get("text")
        if not isinstance(text, list) or not text or not all(isinstance(line, str) and line for line in text):
            yield f"value.text: found {_shown(text)}, expected a list of lines"
        return
    elif control.kind != "choices":
        return
    labels = value.get(control.kind)
    if not isinstance(labels, list) or not labels:
        yield f"value.{control.kind}: found {_shown(labels)}, expected a list with a label"
    elif unknown := [label for label in labels if label not in control.labels]:
        yield f"value.{control.kind}: unknown {_shown(unknown)}, expected one of {list(control.labels)}"


def _path_faults(paths: object, control: Control) -> Iterator[str]:
    """Choices of a taxonomy, each as the path to it."""
    if not isinstance(paths, list) or not paths or not all(isinstance(path, list) and path for path in paths):
        yield f"value.{control.kind}: found {_shown(paths)}, expected a list of paths such as [['choice']]"
    elif unknown := [choice for path in paths for choice in path if choice not in control.labels]:
        yield f"value.{control.kind}: unknown {_shown(unknown)}, expected one of {list(control.labels)}"


def _rectangle_faults(value: Mapping[str, Any]) -> Iterator[str]:
    sides = [value.get(name) for name in ("x", "y", "width", "height")]
    if not all(_is_number(side, 0, 100) for side in sides):
        yield f"value: found x, y, width, height = {_shown(sides)}, expected numbers in [0, 100] per cent"
        return
    x, y, width, height = (float(side) for side in sides if side is not None)
    if width <= 0 or height <= 0:
        yield f"value: found a box of {width} x {height} per cent, expected an area"
    if x + width > 100 + TOLERANCE or y + height > 100 + TOLERANCE:
        yield f"value: found a box to ({x + width}, {y + height}) per cent, expected it inside the image"
    if not _is_number(value.get("rotation", 0), -360, 360):
        yield f"value.rotation: found {_shown(value['rotation'])}, expected degrees"


def _brush_faults(value: Mapping[str, Any]) -> Iterator[str]:
    rle = value.get("rle")
    if value.get("format") != "rle":
        yield f"value.format: found {_shown(value.get('format'))}, expected 'rle'"
    if not isinstance(rle, list) or not rle:
        yield f"value.rle: found {_shown(rle)}, expected a list of byte values"
    # Both run at the speed of C: a mask may have a hundred thousand values.
    elif set(map(type, rle)) != {int} or min(rle) < 0 or max(rle) > 255:
        yield "value.rle: found values that are not whole numbers from 0 to 255"


def _is_number(value: object, least: float, most: float) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and least <= value <= most  # type: ignore[arg-type, operator]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
