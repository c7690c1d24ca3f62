"""Laws of predict and score."""

from __future__ import annotations

import math
import threading

import numpy as np

from hemaloop.plugin import ClassMap, Detections, Image, Plugin, Prediction
from hemaloop.testing.subject import Subject, demand, same

TOLERANCE = 1e-5


def _check_detections(found: Detections, image: Image, labels: int) -> None:
    height, width = image.shape[:2]
    shapes = (found.boxes.shape, found.labels.shape, found.scores.shape)
    demand(
        shapes == ((len(found), 4), (len(found),), (len(found),)), f"shapes are {shapes}, expected (N, 4), (N,), (N,)"
    )
    types = tuple(str(array.dtype) for array in (found.boxes, found.labels, found.scores))
    demand(types == ("float32", "int64", "float32"), f"dtypes are {types}, expected float32, int64, float32")
    demand(bool(np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()), "boxes and scores must be finite")
    x1, y1, x2, y2 = found.boxes.T
    inside = (x1 >= 0) & (y1 >= 0) & (x1 < x2) & (y1 < y2) & (x2 <= width) & (y2 <= height)
    demand(bool(inside.all()), "boxes must satisfy 0 <= x1 < x2 <= W and 0 <= y1 < y2 <= H: clip, then drop empty ones")
    demand(bool(((found.scores >= 0) & (found.scores <= 1)).all()), "scores must lie in [0, 1]")
    demand(bool(((found.labels >= 0) & (found.labels < labels)).all()), f"labels must lie in [0, {labels})")
    demand(bool((np.diff(found.scores) <= 0).all()), "detections must come by falling score")


def _check_prediction(prediction: Prediction, image: Image, plugin: Plugin) -> None:
    demand(
        isinstance(prediction, plugin.produces),
        f"found {type(prediction).__name__}, `produces` says {plugin.produces.__name__}",
    )
    if isinstance(prediction, Detections):
        _check_detections(prediction, image, len(plugin.labels))
    elif isinstance(prediction, ClassMap):
        classes = prediction.labels
        demand(
            classes.shape == image.shape[:2] and classes.dtype == np.uint8, "a ClassMap is uint8 (H, W) of its image"
        )
        demand(int(classes.max(initial=0)) <= len(plugin.labels), "a ClassMap holds values 0..len(labels)")
    else:
        shares = prediction.probabilities
        demand(shares.shape == (len(plugin.labels),) and shares.dtype == np.float32, "probabilities are float32 (C,)")
        demand(
            bool((shares >= 0).all()) and math.isclose(float(shares.sum()), 1, abs_tol=TOLERANCE),
            "probabilities must be >= 0 and sum to 1: apply a softmax in float32",
        )


def _odd_images() -> list[Image]:
    """1x1, one row, portrait, and a blank field without a cell."""
    return [
        np.full((1, 1, 3), 127, np.uint8),
        np.full((1, 50, 3), 200, np.uint8),
        np.full((90, 31, 3), 230, np.uint8),
        np.full((64, 64, 3), 255, np.uint8),
    ]


def check_predictions_are_well_formed(subject: Subject) -> None:
    """The declared variant, right shapes and dtypes, everything finite and in range, for odd images too."""
    images = [*subject.images, *_odd_images()]
    predictions = subject.fitted.predict(images)
    demand(len(predictions) == len(images), f"{len(images)} images gave {len(predictions)} predictions")
    for image, prediction in zip(images, predictions, strict=True):
        _check_prediction(prediction, image, subject.fitted)
    for image, prediction in zip(images, subject.fitted.predict_unfiltered(images), strict=True):
        _check_prediction(prediction, image, subject.fitted)


def check_shown_is_part_of_what_is_found(subject: Subject) -> None:
    """`visible` makes of each `predict_unfiltered` what `predict` gives."""
    images = [*subject.images, *_odd_images()]
    shown = [subject.fitted.visible(found) for found in subject.fitted.predict_unfiltered(images)]
    demand(
        all(same(a, b) for a, b in zip(shown, subject.fitted.predict(images), strict=True)),
        "predict(images)[i] must equal visible(predict_unfiltered(images)[i]): override both or neither",
    )


def check_no_image_gives_no_prediction(subject: Subject) -> None:
    """An empty list is answered by an empty list."""
    demand(subject.fitted.predict([]) == [] and subject.fitted.score([]) == [], "no image must give []")


def check_relevance_is_a_number(subject: Subject) -> None:
    """Relevance is finite and >= 0, its parts are finite, and marks point at objects that exist."""
    for scored in subject.fitted.score([*subject.images, *_odd_images()]):
        demand(
            math.isfinite(scored.relevance) and scored.relevance >= 0,
            f"relevance {scored.relevance} must be finite and >= 0",
        )
        demand(all(math.isfinite(part) for part in scored.parts.values()), "the parts of a relevance must be finite")
        count = len(scored.prediction) if isinstance(scored.prediction, Detections) else len(subject.labels)
        demand(
            all(0 <= mark.index < count and mark.reason for mark in scored.review),
            f"review marks must point at one of {count} objects and give a reason",
        )


def check_score_contains_the_prediction(subject: Subject) -> None:
    """`score` gives the very predictions of `predict`."""
    scored = subject.fitted.score(subject.images)
    predictions = subject.fitted.predict(subject.images)
    demand(
        all(same(a.prediction, b) for a, b in zip(scored, predictions, strict=True)),
        "score(images)[i].prediction must equal predict(images)[i]",
    )


def check_batch_does_not_matter(subject: Subject) -> None:
    """An image gets the same answer alone, in a batch, in another order and again."""
    images = [subject.images[0], _odd_images()[2], *subject.images[1:]]
    alone = [subject.fitted.score([image])[0] for image in images]
    batch = subject.fitted.score(images)
    backwards = subject.fitted.score(images[::-1])[::-1]
    for one, many, other in zip(alone, batch, backwards, strict=True):
        demand(
            same(one.prediction, many.prediction) and same(one.prediction, other.prediction),
            "a prediction depends on the batch: do not pad to the batch's largest image, and use eval mode",
        )
        demand(
            math.isclose(one.relevance, many.relevance, rel_tol=1e-4, abs_tol=1e-5),
            "a relevance depends on the batch: seed what is stochastic from the image's content",
        )


def check_features_are_comparable(subject: Subject) -> None:
    """Features are None for every image, or float32 (F,) of one length, finite, and independent of the batch."""
    images = [*subject.images, *_odd_images()]
    together = [scored.features for scored in subject.fitted.score(images)]
    found = [features for features in together if features is not None]
    demand(len(found) in (0, len(images)), "either every image has features or none has: give zeros, not None")
    kinds = {(str(features.dtype), features.shape) for features in found}
    demand(
        all(kind == "float32" and len(shape) == 1 for kind, shape in kinds) and len(kinds) <= 1,
        f"found features {sorted(kinds)}, expected float32 (F,) with the same F for every image",
    )
    demand(all(bool(np.isfinite(features).all()) for features in found), "features must be finite")
    for image, features in zip(images, found, strict=False):
        alone = subject.fitted.score([image])[0].features
        demand(
            alone is not None and np.allclose(alone, features, rtol=1e-4, atol=1e-5),
            "the features of an image depend on what else is in the batch",
        )


def check_inputs_are_untouched(subject: Subject) -> None:
    """Images are read, never written."""
    copies = [image.copy() for image in subject.images]
    for copy in copies:
        copy.flags.writeable = False
    subject.fitted.score(copies)
    demand(
        all(np.array_equal(a, b) for a, b in zip(copies, subject.images, strict=True)),
        "an image was changed: copy before writing",
    )


def check_predict_is_thread_safe(subject: Subject) -> None:
    """Four threads at once get what one gets alone."""
    expected = [subject.fitted.predict([image])[0] for image in subject.images]
    found: dict[int, Prediction] = {}

    def work(index: int) -> None:
        found[index] = subject.fitted.predict([subject.images[index]])[0]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(expected))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    demand(
        all(index in found and same(found[index], one) for index, one in enumerate(expected)),
        "predictions differ between threads: keep no state of a call on the object",
    )
