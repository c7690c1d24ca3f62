"""Laws of what a prediction looks like: one law for each way in which it can be malformed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from hemaloop.plugin import Classification, ClassMap, Detections, Image, Plugin, Prediction
from hemaloop.testing.subject import LawBroken, Subject, arrays, demand

SUM_TOLERANCE = 1e-5
"""How far the sum of probabilities may be from 1: float32 over a few classes."""


def odd_images() -> list[Image]:
    """1x1, one row, portrait, and a blank field without a cell."""
    return [
        np.full((1, 1, 3), 127, np.uint8),
        np.full((1, 50, 3), 200, np.uint8),
        np.full((90, 31, 3), 230, np.uint8),
        np.full((64, 64, 3), 255, np.uint8),
    ]


def _answers(subject: Subject) -> Iterator[tuple[Image, Prediction]]:
    """Each smear with its predictions of the declared variant, shown and unfiltered."""
    for found in (subject.fitted.predict(subject.images), subject.fitted.predict_unfiltered(subject.images)):
        for image, prediction in zip(subject.images, found, strict=False):
            if type(prediction) is subject.plugin.produces:
                yield image, prediction


def check_no_image_gives_no_prediction(subject: Subject) -> None:
    """An empty list is answered by an empty list."""
    for method in (subject.fitted.predict, subject.fitted.predict_unfiltered, subject.fitted.score):
        demand(method([]) == [], f"{method.__name__}([]) must give []: return before the images are stacked")


def check_the_declared_variant_comes_back(subject: Subject) -> None:
    """One prediction an image, of the variant that `produces` declares and of no other."""
    for method in (subject.fitted.predict, subject.fitted.predict_unfiltered):
        found = method(subject.images)
        demand(
            len(found) == len(subject.images),
            f"{len(subject.images)} images gave {len(found)} predictions: give one an image, in order",
        )
        kinds = sorted({type(one).__name__ for one in found} - {subject.plugin.produces.__name__})
        demand(
            not kinds,
            f"found {kinds}, but `produces` says {subject.plugin.produces.__name__}: return what is declared, or "
            "declare what is returned",
        )


def _form_fault(prediction: Prediction, image: Image, labels: int) -> str:
    height, width = image.shape[:2]
    if isinstance(prediction, Detections):
        count = len(prediction.scores)
        expected = {
            "boxes": ("float32", (count, 4)),
            "labels": ("int64", (count,)),
            "scores": ("float32", (count,)),
        }
    elif isinstance(prediction, ClassMap):
        count = 0 if prediction.centres is None else len(prediction.centres)
        expected = {"labels": ("uint8", (height, width)), "centres": ("float32", (count, 2))}
    else:
        expected = {"probabilities": ("float32", (labels,))}
    for name, array in arrays(prediction).items():
        found = (str(getattr(array, "dtype", type(array).__name__)), tuple(getattr(array, "shape", ())))
        if found != expected[name]:
            return f"{name} are {found[0]} {found[1]}, expected {expected[name][0]} {expected[name][1]}"
    return ""


def check_arrays_have_their_shape_and_type(subject: Subject) -> None:
    """Boxes float32 (N, 4), scores (N,), centres (N, 2), labels int64 (N,); maps uint8 (H, W); probabilities (C,)."""
    for image, prediction in _answers(subject):
        fault = _form_fault(prediction, image, len(subject.labels))
        demand(not fault, f"{fault}: convert with .astype, and mind that (H, W) is the image's own size")


def _well_formed(subject: Subject) -> Iterator[tuple[Image, Prediction]]:
    """The predictions whose arrays can be looked into."""
    for image, prediction in _answers(subject):
        if not _form_fault(prediction, image, len(subject.labels)):
            yield image, prediction


def check_numbers_are_finite(subject: Subject) -> None:
    """No NaN and no infinity in boxes, scores or probabilities."""
    for _, prediction in _well_formed(subject):
        for name, array in arrays(prediction).items():
            demand(
                bool(np.isfinite(array).all()),
                f"{name} hold numbers that are not finite: find the division or logarithm that makes them; do not "
                "replace them in silence",
            )


def _box_fault(found: Detections, image: Image) -> str:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = found.boxes[np.isfinite(found.boxes).all(axis=1)].T
    inside = (x1 >= 0) & (y1 >= 0) & (x1 < x2) & (y1 < y2) & (x2 <= width) & (y2 <= height)
    return "" if inside.all() else f"{int((~inside).sum())} of {len(found)} boxes break it on {width}x{height} px"


def check_boxes_lie_inside(subject: Subject) -> None:
    """0 <= x1 < x2 <= W and 0 <= y1 < y2 <= H."""
    for image, found in _well_formed(subject):
        if isinstance(found, Detections):
            fault = _box_fault(found, image)
            demand(
                not fault, f"0 <= x1 < x2 <= W and 0 <= y1 < y2 <= H: {fault}; clip to the image, then drop empty ones"
            )


def check_centres_lie_inside(subject: Subject) -> None:
    """Centres of a class map lie on the image: 0 <= x <= W and 0 <= y <= H."""
    for image, found in _well_formed(subject):
        if isinstance(found, ClassMap) and found.centres is not None:
            height, width = image.shape[:2]
            beside = int(((found.centres < 0) | (found.centres > (width, height))).any(axis=1).sum())
            demand(
                beside == 0,
                f"{beside} of {len(found.centres)} centres lie beside {width}x{height} px: give x before y, in "
                "px of the image and not of what the network saw",
            )


def _label_fault(prediction: Prediction, labels: int) -> str:
    if isinstance(prediction, Detections):
        known = (prediction.labels >= 0) & (prediction.labels < labels)
        return "" if known.all() else f"labels must lie in [0, {labels}), the position in the plugin's `labels`"
    if isinstance(prediction, ClassMap) and int(prediction.labels.max(initial=0)) > labels:
        return f"a ClassMap holds 0 for background and 1 to {labels} for the labels"
    return ""


def check_labels_are_known(subject: Subject) -> None:
    """Labels point into the plugin's `labels`; a class map holds 0 and the labels' positions plus one."""
    for _, prediction in _well_formed(subject):
        fault = _label_fault(prediction, len(subject.labels))
        demand(not fault, f"{fault}: a network that counts background as a class is off by one")


def _score_fault(prediction: Prediction) -> str:
    if isinstance(prediction, Detections):
        scores = prediction.scores[np.isfinite(prediction.scores)]
        if not ((scores >= 0) & (scores <= 1)).all():
            return "scores must lie in [0, 1]: apply a sigmoid or softmax"
        return "" if (np.diff(scores) <= 0).all() else "detections must come by falling score: sort them with argsort"
    if isinstance(prediction, Classification) and np.isfinite(prediction.probabilities).all():
        shares = prediction.probabilities
        if (shares < 0).any() or not math.isclose(float(shares.sum()), 1, abs_tol=SUM_TOLERANCE):
            return "probabilities must be >= 0 and sum to 1: apply a softmax in float32"
    return ""


def check_scores_are_probabilities(subject: Subject) -> None:
    """Scores lie in [0, 1] and fall; the probabilities of a classification sum to 1."""
    for _, prediction in _well_formed(subject):
        fault = _score_fault(prediction)
        demand(not fault, fault)


def _faults(prediction: Prediction, image: Image, plugin: Plugin) -> str:
    labels = len(plugin.labels)
    if type(prediction) is not plugin.produces:
        return f"found {type(prediction).__name__}"
    if fault := _form_fault(prediction, image, labels):
        return fault
    if not all(np.isfinite(array).all() for array in arrays(prediction).values()):
        return "numbers that are not finite"
    inside = _box_fault(prediction, image) if isinstance(prediction, Detections) else ""
    return inside or _label_fault(prediction, labels) or _score_fault(prediction)


def check_odd_images_are_answered(subject: Subject) -> None:
    """1x1 px, one row, a portrait and a field without a cell get a well-formed prediction and a relevance."""
    for image in odd_images():
        size = f"{image.shape[1]}x{image.shape[0]} px"
        try:
            found = [subject.fitted.score([image])[0].prediction, *subject.fitted.predict([image])]
        except Exception as error:
            raise LawBroken(
                f"an image of {size} raised {type(error).__name__}: {error}; pad or resize small images inside predict"
            ) from error
        for prediction in found:
            fault = _faults(prediction, image, subject.fitted)
            demand(not fault, f"an image of {size} gets a malformed prediction: {fault}; scale back, clip, drop empty")
