"""Laws of families that are made of a representation and a head (`hemaloop.plugin.Representing`); others pass."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import Cancelled, DatasetError, NotFitted
from hemaloop.plugin import Embedded, Example, Representing, Silent
from hemaloop.testing.learning import CancelAfter
from hemaloop.testing.subject import LawBroken, Subject, demand, same

_Law = Callable[[Subject], None]


def _of_representing(law: Callable[[Subject, Any], None]) -> _Law:
    """A law about the fitted plugin of families that represent."""

    @wraps(law)
    def check(subject: Subject) -> None:
        if issubclass(subject.plugin, Representing):
            law(subject, subject.fitted)

    return check


def _embedded(plugin: Representing, examples: Sequence[Example]) -> list[Embedded]:
    vectors = plugin.embed([one.image for one in examples])
    return [Embedded(vector, one.truth, one.key) for vector, one in zip(vectors, examples, strict=True)]


def _copy(subject: Subject, plugin: Representing) -> Any:
    with tempfile.TemporaryDirectory() as name:
        plugin.save(Path(name))
        copy = subject.build()
        copy.load(Path(name))
    return copy


def _agree(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    tolerance = 1e-4 * max(1.0, float(np.abs(one).max(initial=0)))
    return one.shape == other.shape and bool(np.allclose(one, other, atol=tolerance, rtol=1e-4))


@_of_representing
def check_vectors_are_alone(subject: Subject, plugin: Representing) -> None:
    """`embed` gives one finite float32 row an image, whatever else is in the batch."""
    found = plugin.embed(subject.images)
    demand(
        found.dtype == np.float32 and found.ndim == 2 and len(found) == len(subject.images),
        f"embed gave {found.dtype} {found.shape}, expected float32 ({len(subject.images)}, D): one row an image",
    )
    demand(bool(np.isfinite(found).all()), "embed gave a number that is not finite")
    alone = np.concatenate([plugin.embed([image]) for image in subject.images])
    demand(_agree(found, alone), "a vector depends on what else is in the batch: no running statistics, no padding")
    demand(plugin.embed([]).shape == (0, found.shape[1]), "embed([]) must give shape (0, D)")


@_of_representing
def check_vectors_say_what_images_say(subject: Subject, plugin: Representing) -> None:
    """`score_embedded(embed(images))` gives what `score(images)` gives."""
    pairs = zip(plugin.score_embedded(plugin.embed(subject.images)), plugin.score(subject.images), strict=True)
    demand(
        all(
            same(one.prediction, other.prediction, tolerance=1e-4)
            and abs(one.relevance - other.relevance) <= 1e-4 * max(1.0, other.relevance)
            for one, other in pairs
        ),
        "score_embedded differs from score: let score embed and call score_embedded",
    )


@_of_representing
def check_a_head_leaves_the_representation(subject: Subject, plugin: Representing) -> None:
    """`fit_head` changes neither vectors nor the representation's name, and forgets earlier heads."""
    copy, examples = _copy(subject, plugin), subject.examples()
    before, name = copy.embed(subject.images), copy.representation
    vectors, answers = _embedded(copy, examples), []
    for place in (slice(0, 3), slice(1, 4), slice(0, 3)):
        copy.fit_head(vectors[place], vectors[place][:1], Silent())
        answers.append(copy.predict(subject.images))
    demand(
        copy.representation == name and _agree(copy.embed(subject.images), before),
        "fit_head changed the representation: vectors that are kept would no longer fit; freeze the encoder",
    )
    demand(
        all(same(one, other, tolerance=1e-3) for one, other in zip(answers[0], answers[2], strict=True)),
        "an earlier head leaves a trace: build it anew in fit_head",
    )


@_of_representing
def check_a_cancelled_head_leaves_the_old_one(subject: Subject, plugin: Representing) -> None:
    """A cancelled `fit_head` raises Cancelled and leaves the head that was there."""
    copy = _copy(subject, plugin)
    expected, vectors = copy.predict(subject.images[:1])[0], _embedded(copy, subject.examples())
    try:
        copy.fit_head(vectors, vectors[:1], CancelAfter(1))
    except Cancelled:
        demand(
            copy.fitted and same(copy.predict(subject.images[:1])[0], expected),
            "a cancelled fit_head must leave the head as it was: swap the new one in at the end",
        )
        return
    raise LawBroken("fit_head ended although Progress.report raised Cancelled: report each epoch")


@_of_representing
def check_a_head_needs_examples(subject: Subject, plugin: Representing) -> None:
    """A head of nothing is a DatasetError; without a representation, NotFitted."""
    try:
        _copy(subject, plugin).fit_head([], [], Silent())
    except DatasetError:
        pass
    else:
        raise LawBroken("fit_head([]) must raise DatasetError that says what is needed")
    fresh: Any = subject.build()
    for ask in ("embed", "representation"):
        try:
            fresh.embed(subject.images) if ask == "embed" else fresh.representation
        except NotFitted:
            continue
        raise LawBroken(f"{ask} must raise NotFitted before learn, fit or a load")


@_of_representing
def check_a_representation_needs_no_label(subject: Subject, plugin: Representing) -> None:
    """`learn` takes images alone, gives the same for the same seed, leaves no head, and has a name of its own."""
    first, second = subject.build(), subject.build()
    for one in (first, second):
        one.learn(subject.images, Silent())  # type: ignore[attr-defined]
    fresh, again = first, second
    if not isinstance(fresh, Representing) or not isinstance(again, Representing):
        return
    demand(not fresh.fitted, "after learn there is no head: fitted must be False")
    demand(
        _agree(fresh.embed(subject.images), again.embed(subject.images)), "the same seed gave another representation"
    )
    demand(fresh.representation == again.representation, "the same weights must have the same name")
    demand(
        fresh.representation != plugin.representation
        or _agree(fresh.embed(subject.images), plugin.embed(subject.images)),
        "two representations share a name: hash the weights, or their vectors would be mixed",
    )
    demand(
        bool(re.fullmatch(r"[A-Za-z0-9-]{1,64}", fresh.representation)),
        f"representation {fresh.representation!r}: expected up to 64 letters, digits and hyphens",
    )


@_of_representing
def check_a_representation_outlives_labels(subject: Subject, plugin: Representing) -> None:
    """What `save` wrote can be taken as a representation by a plugin of other labels, and be given a head."""
    other: Any = subject.build(labels=tuple(f"other {label}" for label in subject.labels))
    with tempfile.TemporaryDirectory() as name:
        plugin.save(Path(name))
        other.load_representation(Path(name))
    demand(
        other.representation == plugin.representation
        and _agree(other.embed(subject.images), plugin.embed(subject.images)),
        "load_representation gave another representation than was saved",
    )
    demand(not other.fitted, "load_representation leaves no head: fitted must be False")
    other.fit_head(_embedded(other, subject.examples()), [], Silent())
    with tempfile.TemporaryDirectory() as name:
        other.save(Path(name))
        last = subject.build(labels=other.labels)
        last.load(Path(name))
    demand(
        all(same(a, b) for a, b in zip(other.predict(subject.images), last.predict(subject.images), strict=True)),
        "a head on a loaded representation is not saved with it",
    )
