"""A model's predictions as Label Studio's results: the inverse of `annotations`.

Boxes become per cent of the image, class maps brush masks, classifications choices; a relevance becomes a score. An
object worth a second look carries the reason as its note and, where the config has a control for it, a mark (`review`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemaloop import brush
from hemaloop.errors import PluginError
from hemaloop.heat import hottest
from hemaloop.labelconfig import Control
from hemaloop.plugin import Classification, ClassMap, Detections, Prediction, ReviewMark, Scored
from hemaloop.review import MARK_KIND
from hemaloop.validation import validate

__all__ = ["Answer", "merge_relevance", "regions", "score_for_label_studio", "task_prediction", "validate"]

KIND_OF: Mapping[type, str] = {Detections: "rectanglelabels", ClassMap: "brushlabels", Classification: "choices"}
"""The region type that shows each variant of a prediction."""


@dataclass(frozen=True, slots=True, eq=False)
class RegionAnswer:
    """What a control's model says about the regions of another one, by their index in its detections.

    labels: the plugin's labels.
    """

    control: Control
    scored: Mapping[int, Scored]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one bound control's model says about one task's image.

    labels: the plugin's labels (a starter may know more than the control). width, height: of the image, px. about: what
    others say about its regions. heat: float32 (H, W) in [0, 1], where its class was seen, None where nobody asked.
    """

    control: Control
    scored: Scored
    labels: tuple[str, ...]
    width: int
    height: int
    about: tuple[RegionAnswer, ...] = ()
    heat: NDArray[np.float32] | None = None


def score_for_label_studio(relevance: float) -> float:
    """Relevance in [0, inf) -> score in (0, 1]: Label Studio hands out the lowest score first.

    Raises `PluginError` for a relevance that is not a finite number >= 0.
    """
    if not math.isfinite(relevance) or relevance < 0:
        raise PluginError(
            f"relevance {relevance!r}, expected a finite number >= 0; the model family must mend its score"
        )
    return 1.0 / (1.0 + float(relevance))


def merge_relevance(relevances: Iterable[float]) -> float:
    """The relevance of a task whose image several families have scored: the largest.

    Their units differ, so a sum would mean nothing; an image that one family wants labelled is worth opening.
    """
    return max(relevances)


def relevance_of(answers: Iterable[Answer]) -> float:
    """The relevance of a task: `merge_relevance` of its controls'.

    That of a control about each region is the sum over the regions: a person who opens the image answers for them all.
    """
    each: list[float] = []
    for answer in answers:
        each.append(answer.scored.relevance)
        each += [sum(one.relevance for one in about.scored.values()) for about in answer.about]
    return merge_relevance(each)


def task_prediction(answers: Sequence[Answer], version: str) -> dict[str, Any]:
    """One task's prediction as Label Studio stores it: ``{"result", "score", "model_version"}``."""
    result = [
        region
        for answer in answers
        for region in regions(
            answer.scored.prediction,
            answer.control,
            answer.width,
            answer.height,
            labels=answer.labels,
            review=answer.scored.review,
            about=answer.about,
        )
    ]
    result += [region for answer in answers for region in _heat(answer)]
    result += [text for answer in answers for text in measured(answer)]
    score = score_for_label_studio(relevance_of(answers))
    return {"result": result, "score": score, "model_version": version}


def measured(answer: Answer) -> list[dict[str, Any]]:
    """What the model measured on the image, as the text of the config's text area; none where it has none."""
    found, name = answer.scored.measurements, answer.control.measured
    if name is None or not found:
        return []
    value = {"text": [measurements_text(found)]}
    area = replace(answer.control, name=name, kind="textarea")
    return [_complete({"value": value}, area, answer.width, answer.height, 0)]


def measurements_text(measurements: Mapping[str, float]) -> str:
    """Numbers about an image as a line for people: "34 cells; overlap fraction 0.12"."""
    parts = []
    for name, value in measurements.items():
        counted = float(value).is_integer() and name.isalpha()
        parts.append(f"{value:.0f} {name}" if counted else f"{name} {value:.3g}")
    return "; ".join(parts)


def regions(
    prediction: Prediction,
    control: Control,
    width: int,
    height: int,
    *,
    labels: Sequence[str] | None = None,
    review: Sequence[ReviewMark] = (),
    about: Sequence[RegionAnswer] = (),
) -> list[dict[str, Any]]:
    """The regions of a prediction, best score first as the model gave them; ids follow from the content.

    labels: what the prediction's label indices mean, the control's own model labels if not given. An object whose
    label the control does not have is left out. A review mark's reason is shown as the region's note. Marked regions
    come before the others, each behind its mark, so that they lead Label Studio's list of regions. about: what others
    say about these regions; it follows each region, with its id, and its reasons join the region's.

    Raises `PluginError` where the prediction is not of the control's kind.
    """
    kind = KIND_OF[type(prediction)]
    if kind != control.kind:
        raise PluginError(
            f"control {control.name!r} holds {control.kind}, its model family {_family(control)!r} gives {kind}; "
            "bind a family of the right kind"
        )
    names = [control.shown_label(label) for label in (control.model_labels if labels is None else labels)]
    reasons = _reasons(review, about)
    if isinstance(prediction, Detections):
        found = _rectangles(prediction, names, width, height, reasons)
    elif isinstance(prediction, ClassMap):
        found = _brushes(prediction, names, reasons)
    else:
        found = _choices(prediction, names, reasons)
    complete = [_complete(region, control, width, height, position) for position, (_, region) in enumerate(found)]
    marked = [
        (_marks(region, control), region, _said_about(index, region, about))
        for (index, _), region in zip(found, complete, strict=True)
    ]
    marked.sort(key=lambda one: not one[0])
    return [result for marks, region, said in marked for result in (*marks, region, *said)]


def _heat(answer: Answer) -> list[dict[str, Any]]:
    """The hottest part of the image as a brush region, where the config has a control for it."""
    control = answer.control.heat
    if control is None or answer.heat is None:
        return []
    mask = hottest(answer.heat)
    if not mask.any():
        return []
    kind = KIND_OF[ClassMap]
    value = {"format": "rle", "rle": brush.encode(mask), kind: [control.label]}
    shown = _complete({"value": value}, answer.control, answer.width, answer.height, 0)
    return [{**shown, "from_name": control.name, "type": kind}]


def _reasons(review: Sequence[ReviewMark], about: Sequence[RegionAnswer]) -> dict[int, str]:
    """Why to look again, by the index of the object."""
    reasons = {mark.index: [mark.reason] for mark in review}
    for answer in about:
        for index, scored in answer.scored.items():
            reasons.setdefault(index, []).extend(mark.reason for mark in scored.review)
    return {index: "; ".join(parts) for index, parts in reasons.items() if parts}


def _said_about(index: int, region: Mapping[str, Any], about: Sequence[RegionAnswer]) -> list[dict[str, Any]]:
    """The choices made about a region: results of their own that share its id and place."""
    said = []
    place = {name: part for name, part in region["value"].items() if name != region["type"]}
    for answer in about:
        scored = answer.scored.get(index)
        if scored is None or not isinstance(scored.prediction, Classification):
            continue
        names = [answer.control.shown_label(label) for label in answer.labels]
        for _, choice in _choices(scored.prediction, names, {}):
            value = {**place, **choice["value"]}
            kind = answer.control.kind
            said.append({**region, **choice, "from_name": answer.control.name, "type": kind, "value": value})
    return [{name: part for name, part in one.items() if name != "meta"} for one in said]


_Found = list[tuple[int, dict[str, Any]]]
"""Regions, each with the index of its object in the prediction."""


def _marks(region: Mapping[str, Any], control: Control) -> list[dict[str, Any]]:
    """The mark of a region with a note, if the config has one for it.

    Label Studio takes place and colour of a region from the first of the results with its id.
    """
    if control.review is None or "meta" not in region:
        return []
    labels = control.review.labels_for(region["meta"]["text"][0])
    if not labels:
        return []
    value = {name: part for name, part in region["value"].items() if name != control.kind}
    value[MARK_KIND] = [[label] for label in labels]
    return [{**region, "from_name": control.review.name, "type": MARK_KIND, "value": value}]


def _rectangles(
    detections: Detections, names: Sequence[str | None], width: int, height: int, reasons: Mapping[int, str]
) -> _Found:
    found = []
    size = np.array([width, height, width, height], np.float64)
    # float64 keeps every float32 coordinate through per cent and back.
    for index, (x1, y1, x2, y2) in enumerate((detections.boxes.astype(np.float64) * 100 / size).tolist()):
        name = names[int(detections.labels[index])]
        if name is None:
            continue
        value = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1, "rotation": 0, "rectanglelabels": [name]}
        found.append((index, _region(value, float(detections.scores[index]), reasons.get(index))))
    return found


def _brushes(class_map: ClassMap, names: Sequence[str | None], reasons: Mapping[int, str]) -> _Found:
    found = []
    for index, name in enumerate(names):
        mask = class_map.labels == index + 1  # (H, W)
        if name is None or not mask.any():
            continue
        value = {"format": "rle", "rle": brush.encode(mask), "brushlabels": [name]}
        found.append((index, _region(value, None, reasons.get(index))))
    return found


def _choices(classification: Classification, names: Sequence[str | None], reasons: Mapping[int, str]) -> _Found:
    """The most probable choice that the control has, or none."""
    for index in np.argsort(-classification.probabilities, kind="stable").tolist():
        name = names[index]
        if name is not None:
            score = float(classification.probabilities[index])
            return [(index, _region({"choices": [name]}, score, reasons.get(index)))]
    return []


def _region(value: dict[str, Any], score: float | None, reason: str | None) -> dict[str, Any]:
    region: dict[str, Any] = {"value": value}
    if score is not None:
        region["score"] = score
    if reason:
        region["meta"] = {"text": [reason]}
    return region


def _complete(region: dict[str, Any], control: Control, width: int, height: int, position: int) -> dict[str, Any]:
    identity = json.dumps([control.name, position, region["value"]], ensure_ascii=False, sort_keys=True)
    return {
        "id": hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:10],
        "from_name": control.name,
        "to_name": control.to_name,
        "type": control.kind,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        **region,
    }


def _family(control: Control) -> str | None:
    return control.binding.family if control.binding else None
