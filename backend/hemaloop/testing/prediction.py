"""Laws of predict and score: what an answer may depend on, and what goes with it."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np

from hemaloop.plugin import Detections, Prediction, Scored
from hemaloop.testing.form import odd_images
from hemaloop.testing.subject import Subject, demand, random_state, same


def check_shown_is_part_of_what_is_found(subject: Subject) -> None:
    """`visible` makes of each `predict_unfiltered` what `predict` gives."""
    shown = [subject.fitted.visible(found) for found in subject.fitted.predict_unfiltered(subject.images)]
    demand(
        all(same(a, b) for a, b in zip(shown, subject.fitted.predict(subject.images), strict=True)),
        "predict(images)[i] must equal visible(predict_unfiltered(images)[i]): override both or neither",
    )


def check_score_contains_the_prediction(subject: Subject) -> None:
    """`score` gives the very predictions of `predict`."""
    scored = subject.fitted.score(subject.images)
    predictions = subject.fitted.predict(subject.images)
    demand(
        all(same(a.prediction, b) for a, b in zip(scored, predictions, strict=False)),
        "score(images)[i].prediction must equal predict(images)[i]: make one of the two from the other",
    )


def check_relevance_is_a_number(subject: Subject) -> None:
    """Relevance is finite and >= 0, and its parts are finite."""
    for scored in subject.fitted.score(subject.images):
        demand(
            math.isfinite(scored.relevance) and scored.relevance >= 0,
            f"relevance {scored.relevance} must be finite and >= 0: give 0 where nothing is worth labelling",
        )
        demand(
            all(math.isfinite(part) for part in scored.parts.values()),
            f"the parts of a relevance must be finite, found {dict(scored.parts)}: leave out what does not apply",
        )


def check_marks_point_at_objects(subject: Subject) -> None:
    """Each review mark points at an object of its prediction and gives a reason."""
    for scored in subject.fitted.score(subject.images):
        count = len(scored.prediction) if isinstance(scored.prediction, Detections) else len(subject.labels)
        demand(
            all(0 <= mark.index < count and mark.reason for mark in scored.review),
            f"review marks must point at one of {count} objects and give a reason: make them after boxes are dropped "
            "and sorted",
        )


def _relevances_agree(first: Sequence[Scored], second: Sequence[Scored]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(math.isclose(a.relevance, b.relevance, rel_tol=1e-4, abs_tol=1e-5) for a, b in pairs)


def check_only_the_image_matters(subject: Subject) -> None:
    """An image gets the same answer alone, in a batch, in another order and again."""
    images = [subject.images[0], odd_images()[2], *subject.images[1:]]
    alone = [subject.fitted.score([image])[0] for image in images]
    others = {
        "its batch": subject.fitted.score(images),
        "the order of its batch": subject.fitted.score(images[::-1])[::-1],
        "what was asked before": [subject.fitted.score([image])[0] for image in images],
    }
    for dependence, answers in others.items():
        demand(
            all(same(a.prediction, b.prediction) for a, b in zip(alone, answers, strict=True)),
            f"a prediction depends on {dependence}: use eval mode, do not pad to the batch's largest image, keep no "
            "running state",
        )
        demand(
            _relevances_agree(alone, answers),
            f"a relevance depends on {dependence}: seed what is stochastic from the image's content",
        )


def check_features_are_comparable(subject: Subject) -> None:
    """Features are None for every image, or float32 (F,) of one length, finite, and independent of the batch."""
    images = list(subject.images)
    if all(scored.features is not None for scored in subject.fitted.score(images)):
        images += odd_images()
    together = [scored.features for scored in subject.fitted.score(images)]
    found = [features for features in together if features is not None]
    demand(len(found) in (0, len(images)), "either every image has features or none has: give zeros, not None")
    kinds = {(str(features.dtype), features.shape) for features in found}
    demand(
        all(kind == "float32" and len(shape) == 1 for kind, shape in kinds) and len(kinds) <= 1,
        f"found features {sorted(kinds)}, expected float32 (F,) with the same F for every image: pool over the image",
    )
    demand(
        all(bool(np.isfinite(features).all()) for features in found),
        "features must be finite: mind the division by a deviation of 0 in a blank image",
    )
    for image, features in zip(images, found, strict=False):
        alone = subject.fitted.score([image])[0].features
        demand(
            alone is not None and np.allclose(alone, features, rtol=1e-4, atol=1e-5),
            "the features of an image depend on what else is in the batch: normalise each image by itself",
        )


def check_images_are_untouched(subject: Subject) -> None:
    """Images are read, never written."""
    copies = [image.copy() for image in subject.images]
    for copy in copies:
        copy.flags.writeable = False
    remedy = "an image was written to: copy before writing (torch.from_numpy shares memory with the image)"
    try:
        subject.fitted.score(copies)
    except ValueError as error:
        demand("read-only" not in str(error), remedy)
        raise
    demand(all(np.array_equal(a, b) for a, b in zip(copies, subject.images, strict=True)), remedy)


def check_predicting_leaves_random_state(subject: Subject) -> None:
    """Predicting and scoring leave the random state of Python, numpy and torch as it was."""
    _ = subject.fitted  # imports what the family needs before the state is read
    before = random_state()
    subject.fitted.score(subject.images)
    demand(
        before == random_state(),
        "predicting changed global random state: draw from a generator of your own, seeded by the image's content",
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
