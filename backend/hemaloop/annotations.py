"""Label Studio's annotations as truth: the inverse of `results`.

Truth is what a person submitted, as a whole: accepted predictions in it, and nothing at all ("no cell"), count as
well. Not truth: a skip, a draft, what "Create Annotations From Predictions" made, which nobody looked at, and the marks
of regions that are worth a second look. A box that somebody left without a class says that something is there, but not
what: it is neither an object nor background.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hemaloop import agreement, brush
from hemaloop.errors import AnnotationError
from hemaloop.labelconfig import Control
from hemaloop.plugin import Classification, ClassMap, Detections, Prediction

_ASPECT_TOLERANCE = 0.02
"""Relative. Label Studio may have shown a preview of other size, but never of another shape."""
_IGNORED = -1
"""Label, while truth is read, of a box that is neither an object nor background."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What people say about one image.

    prediction: the one truth, with labels of the control's `model_labels`. annotators: who submitted it, newest
    first. disagreement: among them, in [0, 1]. faults: regions that were left out and why, for people.
    ignore: float32 (K, 4) px, boxes that are neither an object nor background: of the labels that say so, and without a
    class that can be read. Among several people they are merged with all other boxes, as if to be ignored were a class.
    """

    prediction: Prediction
    annotators: tuple[str, ...]
    disagreement: float
    faults: tuple[str, ...]
    ignore: NDArray[np.float32]


def select(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The annotations of a task that are truth, newest first: those marked as ground truth if any, otherwise all;
    of each annotator the newest."""
    found = [one for one in task.get("annotations") or () if isinstance(one, dict) and _is_submitted(one)]
    marked = [one for one in found if one.get("ground_truth") is True]
    newest: dict[str, dict[str, Any]] = {}
    for one in sorted(marked or found, key=_age, reverse=True):
        newest.setdefault(annotator(one), one)
    return list(newest.values())


def annotator(annotation: Mapping[str, Any]) -> str:
    """Who submitted an annotation: the user's number as text, "unknown" for an import that does not say."""
    user = annotation.get("completed_by")
    if isinstance(user, Mapping):
        user = user.get("id", user.get("email"))
    return "unknown" if user is None else str(user)


def read_truth(task: Mapping[str, Any], control: Control, width: int, height: int) -> Truth | None:
    """What a task's annotations say about its image of width x height px; None where none of them is truth.

    An annotation that cannot be read is left out and named in `faults`; so is a single region.
    Raises `AnnotationError` where that leaves nothing.
    """
    selected = select(task)
    if not selected:
        return None
    truths: list[Prediction] = []
    annotators: list[str] = []
    faults: list[str] = []
    for one in selected:
        where = f"task {task.get('id')}, annotation {one.get('id')}"
        try:
            truths.append(_read(one.get("result"), control, width, height, where, faults))
            annotators.append(annotator(one))
        except AnnotationError as error:
            faults.append(f"{where}: {error}")
    if not truths:
        raise AnnotationError("; ".join(faults))
    prediction, ignore = _parted(agreement.merge(truths))
    disagreement = agreement.disagreement([_parted(truth)[0] for truth in truths])
    return Truth(prediction, tuple(annotators), disagreement, tuple(faults), ignore)


def read_result(result: object, control: Control, width: int, height: int) -> tuple[Prediction, list[str]]:
    """One annotation's `result` for an image of width x height px, and what was left out of it.

    Raises `AnnotationError` for a result that says nothing about this image.
    """
    faults: list[str] = []
    return _parted(_read(result, control, width, height, "annotation", faults))[0], faults


def _parted(truth: Prediction) -> tuple[Prediction, NDArray[np.float32]]:
    """What is learned of a truth, and the boxes (K, 4) that are neither an object nor background."""
    if not isinstance(truth, Detections):
        return truth, np.zeros((0, 4), np.float32)
    learned = truth.labels != _IGNORED
    kept = Detections(truth.boxes[learned], truth.labels[learned], truth.scores[learned])
    return kept, truth.boxes[~learned]


def _read(result: object, control: Control, width: int, height: int, where: str, faults: list[str]) -> Prediction:
    if not isinstance(result, list):
        raise AnnotationError(f"found {type(result).__name__} as its result, expected a list of regions")
    regions = [one for one in result if isinstance(one, dict) and one.get("from_name") == control.name]
    for region in regions:
        _check_canvas(region, width, height)
    reader = _Reader(control, width, height, where, faults)
    if control.kind == "rectanglelabels":
        return reader.detections(regions)
    if control.kind == "brushlabels":
        return reader.class_map(regions)
    if control.regions is not None:
        return reader.region_choices(regions, result)
    return reader.classification(regions)


class _Labelled(NamedTuple):
    """A region, the index of its model label or `_IGNORED`, and what is wrong with its labels, if anything is."""

    region: Mapping[str, Any]
    label: int
    fault: str = ""


@dataclass(frozen=True, slots=True)
class _Reader:
    """Regions of one control in one annotation; `faults` takes what is left out."""

    control: Control
    width: int
    height: int
    where: str
    faults: list[str]

    def detections(self, regions: Sequence[Mapping[str, Any]]) -> Detections:
        boxes, labels, taken = [], [], set[tuple[float, ...]]()
        for region, label, fault in self._labelled(regions):
            try:
                box = _box(region.get("value"), self.width, self.height)
            except AnnotationError as error:
                self._leave_out(region, fault or str(error))
                continue
            # Whoever accepts an answer about a place where the model's box lies already has it twice.
            place = (label, *(round(side, 1) for side in box))
            if place not in taken:
                taken.add(place)
                boxes.append(box)
                labels.append(label)
            if fault:
                self._leave_out(region, f"{fault}; it is taken neither for an object nor for background")
        return Detections.truth(boxes, labels)

    def class_map(self, regions: Sequence[Mapping[str, Any]]) -> ClassMap:
        """Strokes of one label are one mask; where labels overlap, the later stroke lies on top."""
        values = np.zeros((self.height, self.width), np.uint8)
        for region, label in self._learned(regions):
            try:
                values[self._mask(region)] = label + 1
            except AnnotationError as error:
                self._leave_out(region, str(error))
        return ClassMap(values)

    def classification(self, regions: Sequence[Mapping[str, Any]]) -> Classification:
        labels = {label for _, label in self._learned(regions)}
        if len(labels) != 1:
            names = [self.control.model_labels[label] for label in sorted(labels)]
            raise AnnotationError(f"found {names or 'no choice'} for {self.control.name!r}, expected one choice")
        probabilities = np.zeros(len(self.control.model_labels), np.float32)
        probabilities[labels.pop()] = 1
        return Classification(probabilities)

    def region_choices(self, choices: Sequence[Mapping[str, Any]], result: Sequence[object]) -> Detections:
        """The boxes of regions about which something was chosen, labelled with it.

        A choice without coordinates of its own lies where the region with its id is.
        """
        places = {
            one.get("id"): one["value"]
            for one in reversed(result)
            if isinstance(one, dict) and isinstance(one.get("value"), dict) and "x" in one["value"]
        }
        chosen: dict[object, set[int]] = {}
        for region, label in self._learned(choices):
            chosen.setdefault(region.get("id"), set()).add(label)
        boxes, labels = [], []
        for identity, said in chosen.items():
            names = [self.control.model_labels[label] for label in sorted(said)]
            if len(said) > 1:
                self._leave_out({"id": identity}, f"found {names} for {self.control.name!r}, expected one choice")
                continue
            try:
                boxes.append(_box(places.get(identity), self.width, self.height))
                labels.append(said.pop())
            except AnnotationError as error:
                self._leave_out({"id": identity}, str(error))
        return Detections.truth(boxes, labels)

    def _mask(self, region: Mapping[str, Any]) -> brush.Mask:
        value = region.get("value")
        rle = value.get("rle") if isinstance(value, Mapping) else None
        if rle is None:
            raise AnnotationError("it has no mask (rle): a stroke that was never saved; draw it again")
        return brush.decode(rle, self.width, self.height)

    def _learned(self, regions: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], int]]:
        """Regions with the index of their model label; the faulty ones are left out."""
        for region, label, fault in self._labelled(regions):
            if fault:
                self._leave_out(region, fault)
            elif label != _IGNORED:
                yield region, label

    def _labelled(self, regions: Sequence[Mapping[str, Any]]) -> Iterator[_Labelled]:
        """Regions with their labels; those that the model does not learn are passed over."""
        for region in regions:
            value = region.get("value")
            names = value.get(self.control.kind) if isinstance(value, Mapping) else None
            if not isinstance(names, list) or not names:
                yield _Labelled(region, _IGNORED, "it has no label")
                continue
            unknown = [name for name in names if name not in self.control.labels]
            learned = {self.control.label_map[name] for name in names if name in self.control.label_map}
            if unknown:
                expected = ", ".join(map(repr, self.control.labels))
                fault = f"label {unknown[0]!r} is not in the labelling config ({expected})"
                yield _Labelled(region, _IGNORED, fault)
            elif set(names) & set(self.control.ignored):
                yield _Labelled(region, _IGNORED)
            elif len(learned) > 1 and self.control.kind != "choices":
                yield _Labelled(region, _IGNORED, f"it has several labels {sorted(learned)}, expected one")
            else:
                for label in sorted(learned):
                    yield _Labelled(region, self.control.model_labels.index(label))

    def _leave_out(self, region: Mapping[str, Any], reason: str) -> None:
        self.faults.append(f"{self.where}, region {region.get('id')!r} left out: {reason}")


def _box(value: Any, width: int, height: int) -> list[float]:
    """Rectangle in per cent -> [x1 y1 x2 y2] px inside the image; a turned one -> the box around it."""
    if not isinstance(value, Mapping):
        raise AnnotationError(f"its value is {value!r}, expected x, y, width, height, rotation")
    sides: list[Any] = [value.get(name) for name in ("x", "y", "width", "height")]
    rotation: Any = value.get("rotation") or 0
    if not all(_is_finite(number) for number in (*sides, rotation)):
        raise AnnotationError(f"x, y, width, height, rotation are {[*sides, rotation]}, expected numbers")
    x, y, w, h = (side * size / 100 for side, size in zip(sides, (width, height) * 2, strict=True))
    if w <= 0 or h <= 0:
        raise AnnotationError(f"its box is {w:g} x {h:g} px, expected an area")
    x1, y1, x2, y2 = _hull(x, y, w, h, rotation)
    box = np.clip(np.array([x1, y1, x2, y2]), 0, [width, height, width, height]).astype(np.float32)
    if box[2] <= box[0] or box[3] <= box[1]:
        raise AnnotationError(
            f"its box ({x1:g}, {y1:g})-({x2:g}, {y2:g}) px has no area inside the image of {width}x{height} px"
        )
    return [float(side) for side in box]


def _hull(x: float, y: float, w: float, h: float, rotation: float) -> tuple[float, float, float, float]:
    """The box around a rectangle that is turned clockwise about its corner (x, y) by `rotation` degrees."""
    if rotation % 360 == 0:
        return x, y, x + w, y + h
    cosine, sine = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    xs = [x + dx * cosine - dy * sine for dx in (0, w) for dy in (0, h)]
    ys = [y + dx * sine + dy * cosine for dx in (0, w) for dy in (0, h)]
    return min(xs), min(ys), max(xs), max(ys)


def _check_canvas(region: Mapping[str, Any], width: int, height: int) -> None:
    """Raises `AnnotationError` for a region drawn on an image of another shape.

    `image_rotation` is not looked at: whoever turns the image in the editor still gives coordinates of the upright one.
    """
    drawn_width: Any = region.get("original_width")
    drawn_height: Any = region.get("original_height")
    if not (_is_finite(drawn_width) and _is_finite(drawn_height) and drawn_width > 0 and drawn_height > 0):
        return
    if abs(drawn_width * height / (drawn_height * width) - 1) > _ASPECT_TOLERANCE:
        raise AnnotationError(
            f"it was drawn on an image of {drawn_width}x{drawn_height} px, but the image is {width}x{height} px: it "
            "was replaced, or its EXIF orientation is not the one that was shown; label it again"
        )


def _is_submitted(annotation: Mapping[str, Any]) -> bool:
    if annotation.get("was_cancelled"):
        return False
    in_bulk = annotation.get("parent_prediction") is not None and annotation.get("lead_time") is None
    return not in_bulk or annotation.get("ground_truth") is True


def _age(annotation: Mapping[str, Any]) -> tuple[float, int]:
    """Sorts by when an annotation was submitted last, then by number."""
    number = annotation.get("id")
    text = annotation.get("updated_at") or annotation.get("created_at")
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        when = datetime.fromtimestamp(0, UTC)
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return when.timestamp(), number if isinstance(number, int) else 0


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
