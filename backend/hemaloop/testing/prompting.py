"""Laws of prepare and prompt: what annotators ask by drawing."""

from __future__ import annotations

from typing import Any

import numpy as np

from hemaloop.errors import PluginError
from hemaloop.plugin import Classification, ClassMap, Detections, Image, Prediction, Prompt
from hemaloop.testing.subject import LawBroken, Subject, demand, same

_NO_BOX = np.zeros((0, 4), np.float32)
_NO_POINT = np.zeros((0, 2), np.float32)


def _boxes(*boxes: tuple[float, float, float, float]) -> Prompt:
    return Prompt(np.array(boxes, np.float32), _NO_POINT, np.zeros(0, bool))


def _points(*points: tuple[float, float, bool]) -> Prompt:
    places = np.array([(x, y) for x, y, _ in points], np.float32)
    return Prompt(_NO_BOX, places, np.array([positive for _, _, positive in points], bool))


def _prepared(subject: Subject, image: Image) -> Any:
    """None where nothing can be asked: of classes of whole images, and where another variant than declared comes back,
    which another law tells."""
    produces = subject.plugin.produces
    if produces is Classification or type(subject.fitted.predict([image])[0]) is not produces:
        return None
    return subject.fitted.prepare(image)


def _answer(subject: Subject, prepared: Any, prompt: Prompt) -> Prediction:
    try:
        return subject.fitted.prompt(prepared, prompt)
    except PluginError as error:
        raise LawBroken(
            f"prompt raised {error}: a family of {subject.plugin.produces.__name__} answers what annotators draw; "
            "leave `prompt` to the base class, or give an empty answer where nothing is"
        ) from error


def check_answers_lie_in_what_was_drawn(subject: Subject) -> None:
    """What is answered to a drawn rectangle lies in it: boxes by their centre, masks by every pixel."""
    for image in subject.images:
        if (prepared := _prepared(subject, image)) is None:
            return
        height, width = image.shape[:2]
        for x1, y1, x2, y2 in ((0, 0, width // 2, height), (width // 3, height // 4, width, height // 2)):
            found = _answer(subject, prepared, _boxes((x1, y1, x2, y2)))
            outside = False
            if isinstance(found, Detections):
                centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
                outside = bool((centres < (x1, y1)).any() or (centres > (x2, y2)).any())
            elif isinstance(found, ClassMap):
                rest = found.labels.copy()
                rest[y1:y2, x1:x2] = 0
                outside = bool(rest.any())
            demand(
                not outside,
                "the answer to a rectangle has something outside of it: leave out boxes whose centre is outside, and "
                "set a map to 0 there; an annotator asked about this place alone",
            )


def check_points_ask_and_take_away(subject: Subject) -> None:
    """A point on something that is seen gives it, and a negative point there takes it away again."""
    for image in subject.images[:2]:
        if (prepared := _prepared(subject, image)) is None:
            return
        height, width = image.shape[:2]
        for x, y in _on_cells(_answer(subject, prepared, _boxes((0, 0, width, height)))):
            for positive, prompt in ((True, _points((x, y, True))), (False, _points((x, y, True), (x, y, False)))):
                found = _answer(subject, subject.fitted.prepare(image), prompt)
                demand(
                    _is_at(found, x, y) == positive,
                    f"a point on a cell at x {x:.0f}, y {y:.0f} must give this cell, and with a negative point on it "
                    "nothing must be left there: read `positive`, and let what is taken away win",
                )


def check_questions_repeat(subject: Subject) -> None:
    """What `prepare` gave answers as many questions as are asked, each as if it were the first."""
    image = subject.images[0]
    if (prepared := _prepared(subject, image)) is None:
        return
    height, width = image.shape[:2]
    whole, part = _boxes((0, 0, width, height)), _boxes((0, 0, width / 2, height / 2))
    first = _answer(subject, prepared, whole)
    _answer(subject, prepared, part)
    demand(
        same(first, _answer(subject, prepared, whole)),
        "the same question got another answer the second time: `prompt` must leave what `prepare` gave as it is",
    )


def _on_cells(prediction: Prediction) -> list[tuple[float, float]]:
    """A few places on what is seen, x and y px."""
    if isinstance(prediction, Detections):
        centres = (prediction.boxes[:3, :2] + prediction.boxes[:3, 2:]) / 2
        solid = (prediction.boxes[:3, 2:] > prediction.boxes[:3, :2]).all(axis=1)  # not so where other laws are broken
        return [(float(x), float(y)) for x, y in centres[solid]]
    if isinstance(prediction, ClassMap):
        places = np.argwhere(prediction.labels)
        return [(float(x) + 0.5, float(y) + 0.5) for y, x in places[:: max(1, len(places) // 3)][:3]]
    return []


def _is_at(found: Prediction, x: float, y: float) -> bool:
    if isinstance(found, Detections):
        return bool(((found.boxes[:, :2] <= (x, y)) & (found.boxes[:, 2:] >= (x, y))).all(axis=1).any())
    return isinstance(found, ClassMap) and bool(found.labels[int(y), int(x)])
