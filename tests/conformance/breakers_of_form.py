"""Families whose predictions break one law of form or of what an answer may depend on, and no other."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conformance.remembering import Memory, Remembering, RememberingClasses, RememberingMaps
from hemaloop.plugin import (
    Classification,
    ClassMap,
    Detections,
    Image,
    Prediction,
    ReviewMark,
    Scored,
)


class _Changed(Remembering):
    """Every prediction goes through `_change`."""

    def _one(self, image: Image, memory: Memory) -> Scored:
        scored = super()._one(image, memory)
        return replace(scored, prediction=self._change(scored.prediction, image))

    def _change(self, found: Any, image: Image) -> Prediction:
        raise NotImplementedError


def _is_smear(image: Image) -> bool:
    return image.shape[1] > 100


class OtherVariant(_Changed):
    """Says boxes, gives classes."""

    def _change(self, found: Any, image: Image) -> Prediction:
        return Classification(np.full(3, 1 / 3, np.float32)) if _is_smear(image) else found


class DoublePrecision(_Changed):
    """Boxes in float64 for smears."""

    def _change(self, found: Any, image: Image) -> Prediction:
        return replace(found, boxes=found.boxes.astype(np.float64)) if _is_smear(image) else found


class _Unfiltered(_Changed):
    """Malformed only before operating thresholds, where Label Studio and annotators never see it."""

    def predict_unfiltered(self, images: Sequence[Image]) -> list[Prediction]:
        return [self._change(found, image) for found, image in zip(self.predict(images), images, strict=True)]

    def visible(self, prediction: Prediction) -> Prediction:
        return Detections(*(array[:-1] for array in (prediction.boxes, prediction.labels, prediction.scores)))

    def _one(self, image: Image, memory: Memory) -> Scored:
        return Remembering._one(self, image, memory)

    def _with(self, found: Any, box: Sequence[float], label: int = 0, score: float = 0.1) -> Detections:
        boxes = np.vstack([found.boxes, np.array([box], np.float32)])
        return Detections(boxes, np.append(found.labels, label), np.append(found.scores, np.float32(score)))


class Dividing(_Unfiltered):
    def _change(self, found: Any, image: Image) -> Prediction:
        return self._with(found, [np.nan] * 4)


class OutsideBox(_Unfiltered):
    def _change(self, found: Any, image: Image) -> Prediction:
        return self._with(found, [0, 0, image.shape[1] + 1, 1])


class InvertedBox(_Unfiltered):
    def _change(self, found: Any, image: Image) -> Prediction:
        return self._with(found, [5, 5, 5, 9])


class BackgroundCounted(_Unfiltered):
    """Labels from 1, as networks have them that count background."""

    def _change(self, found: Any, image: Image) -> Prediction:
        return self._with(found, [1, 1, 2, 2], label=len(self.labels))


class Logits(_Unfiltered):
    def _change(self, found: Any, image: Image) -> Prediction:
        return self._with(found, [1, 1, 2, 2], score=-3.5)


class Unsorted(_Unfiltered):
    def _change(self, found: Any, image: Image) -> Prediction:
        spoiled = self._with(found, [1, 1, 2, 2], score=1.0)
        spoiled.scores[0] = 0.5
        return spoiled

    def visible(self, prediction: Prediction) -> Prediction:
        scores = np.ones(len(prediction.scores) - 1, np.float32)
        return Detections(prediction.boxes[:-1], prediction.labels[:-1], scores)


class Stumbling(_Changed):
    """Divides by the height less one."""

    def _change(self, found: Any, image: Image) -> Prediction:
        if image.shape[0] == 1:
            raise ZeroDivisionError("division by zero")
        return found


class TinyBox(_Changed):
    """A malformed prediction of a field without a cell."""

    def _change(self, found: Any, image: Image) -> Prediction:
        return found if image.std() else replace(found, boxes=found.boxes - 1)


class Talkative(Remembering):
    def score(self, images: Sequence[Image]) -> list[Scored]:
        return super().score(images) or [Scored(Detections.empty(), 1.0)]


class Hider(Remembering):
    """Shows nothing of what it finds with little score, and does not say so."""

    def predict_unfiltered(self, images: Sequence[Image]) -> list[Prediction]:
        return [
            Detections(
                np.vstack([one.boxes, [[0, 0, 1, 1]]]).astype(np.float32),
                np.append(one.labels, 0),
                np.append(one.scores, np.float32(0.1)),
            )
            for one in self.predict(images)
        ]


class TwoMinded(Remembering):
    """`score` has a box more than `predict`."""

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        return [
            Detections(one.boxes[:-1], one.labels[:-1], one.scores[:-1])
            for one in (scored.prediction for scored in self.score(images))
        ]


class _Relevant(Remembering):
    """Every answer of `score` goes through `_again`."""

    def score(self, images: Sequence[Image]) -> list[Scored]:
        return [self._again(one, place, images) for place, one in enumerate(super().score(images))]

    def _again(self, scored: Scored, place: int, images: Sequence[Image]) -> Scored:
        raise NotImplementedError


class Negative(_Relevant):
    def _again(self, scored: Scored, place: int, images: Sequence[Image]) -> Scored:
        return replace(scored, relevance=-1.0)


class Boundless(_Relevant):
    def _again(self, scored: Scored, place: int, images: Sequence[Image]) -> Scored:
        return replace(scored, parts={"rarity": float("inf")})


class WrongMark(_Relevant):
    def _again(self, scored: Scored, place: int, images: Sequence[Image]) -> Scored:
        return replace(scored, review=(ReviewMark(len(scored.prediction), "doubtful"),))


class ReasonAsBytes(_Relevant):
    """A reason that JSON cannot hold."""

    def _again(self, scored: Scored, place: int, images: Sequence[Image]) -> Scored:
        return replace(scored, review=(ReviewMark(0, b"doubtful"),)) if len(scored.prediction) else scored


class Crowded(_Relevant):
    """Relevance depends on the batch."""

    def _again(self, scored: Scored, place: int, images: Sequence[Image]) -> Scored:
        return replace(scored, relevance=float(len(images)))


class Queued(_Relevant):
    """Relevance depends on the place in a batch."""

    def _again(self, scored: Scored, place: int, images: Sequence[Image]) -> Scored:
        return replace(scored, relevance=float(place))


class Moody(_Relevant):
    """Relevance grows with every question."""

    def _again(self, scored: Scored, place: int, images: Sequence[Image]) -> Scored:
        self._asked = getattr(self, "_asked", 0) + 1
        return replace(scored, relevance=float(self._asked))


class BatchFeatures(_Relevant):
    def _again(self, scored: Scored, place: int, images: Sequence[Image]) -> Scored:
        return replace(scored, features=np.full(2, len(images), np.float32))


class RowFeatures(_Relevant):
    """As many features as the image has rows."""

    def _again(self, scored: Scored, place: int, images: Sequence[Image]) -> Scored:
        return replace(scored, features=images[place].mean(axis=(1, 2), dtype=np.float32))


class DoubleFeatures(_Relevant):
    def _again(self, scored: Scored, place: int, images: Sequence[Image]) -> Scored:
        return replace(scored, features=images[place].mean(axis=(0, 1)))


class BlankFeatures(_Relevant):
    """Features that are not finite for a blank image."""

    def _again(self, scored: Scored, place: int, images: Sequence[Image]) -> Scored:
        with np.errstate(all="ignore"):
            return replace(scored, features=(np.zeros(3) / images[place].std()).astype(np.float32))


class Scribbler(Remembering):
    """Marks the corner of each image that it may write to, or complains."""

    def _one(self, image: Image, memory: Memory) -> Scored:
        scored = super()._one(image, memory)
        if not image.flags.writeable:
            image[0, 0] = 0
        return scored


class Gambler(Remembering):
    def _one(self, image: Image, memory: Memory) -> Scored:
        random.random()
        return super()._one(image, memory)


class Crosstalk(Remembering):
    """Keeps the images of a call on the object, where another thread replaces them."""

    def score(self, images: Sequence[Image]) -> list[Scored]:
        self._images = images
        time.sleep(0.02)
        return super().score(self._images)

    def unload(self) -> None:
        super().unload()
        self._images = ()


class HalfSum(RememberingClasses):
    """Probabilities that sum to a half."""

    def _recall(self, kept: Any, height: int, width: int) -> Prediction:
        return Classification(kept["probabilities"] / (2 if width == 160 else 1))


class ExtraClass(RememberingClasses):
    """One probability more than labels, for smears; the last of them is for background."""

    def _recall(self, kept: Any, height: int, width: int) -> Prediction:
        extra = [np.float32(0)] if width == 160 and len(self.labels) > 1 else []
        return Classification(np.append(kept["probabilities"], extra).astype(np.float32))


class MeaninglessValue(RememberingMaps):
    """A class map with a value that means nothing, in a corner and on smears alone."""

    def predict_unfiltered(self, images: Sequence[Image]) -> list[Prediction]:
        maps = [found.labels.copy() for found in self.predict(images)]
        for one in maps:
            one[0, 0] = 9
        return [ClassMap(one) for one in maps]

    def visible(self, prediction: Prediction) -> Prediction:
        return ClassMap(np.where(prediction.labels == 9, 0, prediction.labels).astype(np.uint8))

    def _recall(self, kept: Any, height: int, width: int) -> Prediction:
        found = super()._recall(kept, height, width)
        found.labels[0, 0] = 0
        return found


class CentresOfTheNetwork(RememberingMaps):
    """Centres on what the network saw, which was four times as large."""

    def _recall(self, kept: Any, height: int, width: int) -> Prediction:
        found = super()._recall(kept, height, width)
        y, x = np.nonzero(found.labels)
        return replace(found, centres=(4 * np.stack([x, y], axis=1)).astype(np.float32))


class DoubleCentres(RememberingMaps):
    """Centres in float64 for smears."""

    def _recall(self, kept: Any, height: int, width: int) -> Prediction:
        found = super()._recall(kept, height, width)
        return replace(found, centres=np.zeros((1, 2))) if width == 160 else found


class SmallMap(RememberingMaps):
    """The network's size instead of the image's."""

    def predict_unfiltered(self, images: Sequence[Image]) -> list[Prediction]:
        return [self._recall(one, 32, 32) for one in (self._memory or ())[: len(images)]]

    def visible(self, prediction: Prediction) -> Prediction:
        return next(
            self._recall(one, 128, 160)
            for one in self._memory or ()
            if np.array_equal(self._recall(one, 32, 32).labels, prediction.labels)
        )


class Glaring(Remembering):
    """A heat map above 1."""

    def explain(self, image: Image) -> Any:
        return np.full(image.shape[:2], 2, np.float32)
