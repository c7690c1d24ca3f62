"""The contract of a model family: numpy in, numpy out.

A family is one class that derives from `Plugin` and one line in its distribution's metadata:

    [project.entry-points."hemaloop.plugins"]
    faster_rcnn = "hemaloop_faster_rcnn:FasterRCNN"

Nothing in this file knows torch, Flask, RQ or Label Studio, and nothing in a plugin needs to know more
than this file.

Conventions
-----------
image   uint8 (H, W, 3), RGB, EXIF orientation applied, origin top-left.
boxes   float32 (N, 4), ``[x1 y1 x2 y2]`` px, half-open, ``0 <= x1 < x2 <= W`` and ``0 <= y1 < y2 <= H``.
scores  float32 (N,), in [0, 1].
labels  int64 (N,), index into the plugin's ``labels``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pydantic
from numpy.typing import NDArray

from hemaloop.errors import OptionError, PluginError

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Boxes of one image, by falling score.

    boxes: float32 (N, 4) px; labels: int64 (N,); scores: float32 (N,) in [0, 1], all 1 where it is truth.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def empty(cls) -> Detections:
        """No object at all: a statement, not a missing value."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))

    @classmethod
    def truth(cls, boxes: Any, labels: Any) -> Detections:
        """Boxes that a person drew, each with score 1. Accepts anything numpy can turn into (N, 4) and (N,)."""
        box_array = np.asarray(boxes, np.float32).reshape(-1, 4)
        label_array = np.asarray(labels, np.int64).reshape(-1)
        return cls(box_array, label_array, np.ones(len(box_array), np.float32))


UNKNOWN = 255
"""Value of pixels of which a truth says nothing (`ClassMap`)."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassMap:
    """One value a pixel: uint8 (H, W). 0 is background; value k > 0 means ``labels[k - 1]`` of the plugin.

    In a truth, `UNKNOWN` is what nobody looked at: neither learned nor counted. A prediction has none.
    centres: float32 (N, 2), x and y in px, of the objects that the map shows, where a model knows them: what touches or
    lies on one another is one area of a map. None in what people draw.
    """

    labels: NDArray[np.uint8]
    centres: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """One image as a whole: float32 (C,), in [0, 1], sums to 1, in the order of the plugin's ``labels``."""

    probabilities: NDArray[np.float32]


Prediction = Detections | ClassMap | Classification


@dataclass(frozen=True, slots=True)
class ReviewMark:
    """An object of a prediction that a person should look at.

    index: position in `Detections` (or of a class in the other variants). reason: a short phrase, shown to people;
    several are joined by "; ". A labelling config picks its colour by how a reason begins (see `review`).
    """

    index: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class FoundCell:
    """One cell of a prediction that is not made of boxes.

    outline: float32 (P, 2), x and y in px, a closed polygon. measures: finite numbers by name; the name ends in its
    unit (`area_px`), a share has none. Cells may lie on one another.
    """

    outline: NDArray[np.float32]
    measures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Scored:
    """A prediction and how much its image is worth labelling.

    relevance: finite, >= 0, unbounded, larger is more worth labelling, in the unit of the family's paper.
    review: the objects that a person should look at. parts: what the relevance is made of, by name.
    features: float32 (F,), finite, what the image looks like to the model, so that images which look alike lie close
    (Euclidean); None where a family has none. Whoever spreads over a pool needs them.
    measurements: finite numbers about the image that an annotator should see, by name with unit, such as `cells`.
    """

    prediction: Prediction
    relevance: float
    review: tuple[ReviewMark, ...] = ()
    parts: Mapping[str, float] = field(default_factory=dict)
    features: NDArray[np.float32] | None = None
    measurements: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Example:
    """An image and its truth. key: hash of the image's content; the same picture has the same key everywhere.

    ignore: float32 (K, 4) px, regions of which the truth says nothing, such as clumps that nobody labelled: what lies
    in them is neither an object to learn nor background, and a detection there is neither right nor wrong.
    """

    image: Image
    truth: Prediction
    key: str
    ignore: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What an annotator drew on an image to ask for what is there.

    boxes: float32 (K, 4) px: all that lies in one of them is asked for. points: float32 (P, 2), x and y in px.
    positive: bool (P,), a positive point asks for the cell under it, a negative one takes that cell out of the answer.
    """

    boxes: NDArray[np.float32]
    points: NDArray[np.float32]
    positive: NDArray[np.bool_]


class Progress(Protocol):
    """Where a family tells how far it is, and hears that it should stop."""

    def report(self, done: float, total: float, message: str, figures: Mapping[str, float] | None = None) -> None:
        """`done` of `total` steps; `figures` are named numbers such as losses.

        Raises `hemaloop.errors.Cancelled` when somebody asked to stop; a family lets it pass through.
        """


class Silent:
    """A `Progress` that nobody watches."""

    def report(self, done: float, total: float, message: str, figures: Mapping[str, float] | None = None) -> None:
        """Does nothing."""


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a training did.

    epochs: named numbers of each epoch, losses among them. figures: what was measured on `tune`.
    notes: sentences that a person should read, such as a class without an example. seconds: wall time.
    inherited: keys of images that the starting weights had learned from; these do not judge the model either.
    """

    epochs: tuple[Mapping[str, float], ...]
    figures: Mapping[str, float]
    notes: tuple[str, ...]
    seconds: float
    inherited: tuple[str, ...] = ()


class PluginOptions(pydantic.BaseModel):
    """Base of a family's options: frozen, validated, unknown names refused.

    Declare each with `option`, so that its unit and source can be shown. Values may arrive as text (from a
    labelling config or the command line); pydantic turns "0.45" into a float.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", validate_default=True)


def option(default: Any, description: str, *, unit: str = "", source: str = "", **bounds: Any) -> Any:
    """Declare one option of a `PluginOptions`, with its unit and source; `bounds` are pydantic's `ge`, `le`…"""
    return pydantic.Field(
        default=default, description=description, json_schema_extra={"unit": unit, "source": source}, **bounds
    )


@dataclass(frozen=True, slots=True)
class Preset:
    """A named starting point of a family: what it is for, the labels it knows and the options it sets.

    starter: a directory that `Plugin.load` reads, shipped with the family, or None.
    """

    description: str
    labels: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    starter: Path | None = None


class Plugin(ABC):
    """A model family.

    ::

        plugin = FasterRCNN(labels=("RBC", "WBC"), options={"backbone": "resnet18_fpn"}, device="cpu", seed=0)
        report = plugin.fit(train, tune, Silent())
        predictions = plugin.predict([image])          # [Detections(...)]
        plugin.save(Path("model")); FasterRCNN(labels=("RBC", "WBC")).load(Path("model"))

    A family imports torch inside methods or in modules that its `__init__.py` does not import, so that asking
    for its name and options costs milliseconds.
    """

    family: ClassVar[str]
    """The name that labelling configs use: ``model_family="faster_rcnn"``."""
    version: ClassVar[str]
    """Of the family's code; part of every artifact."""
    description: ClassVar[str]
    """One line for people who choose a family."""
    produces: ClassVar[type[Detections] | type[ClassMap] | type[Classification]]
    """The one variant of `Prediction` that comes back, and that truths must have."""
    Options: ClassVar[type[PluginOptions]]
    presets: ClassVar[Mapping[str, Preset]] = {}
    quick_options: ClassVar[Mapping[str, Any]] = {}
    """Options with which a fit on a handful of small images takes seconds; the conformance kit fits with them."""
    overfit_options: ClassVar[Mapping[str, Any]] = {}
    """What must differ from `quick_options` so that a fit learns four small smears by heart, within a minute or so."""

    def __init__(
        self,
        labels: Sequence[str],
        options: Mapping[str, Any] | PluginOptions | None = None,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        """Cheap: no model is built, no file is read.

        Raises `OptionError` naming each wrong option, what was found and what is allowed; also for repeated or no
        labels.
        """
        if not labels or len(set(labels)) != len(labels):
            raise OptionError(f"labels of {self.family!r}: found {list(labels)}, expected one or more, each once")
        self.labels = tuple(labels)
        self.options = self.parse_options(options)
        self.device = device
        self.seed = seed

    @classmethod
    def parse_options(cls, options: Mapping[str, Any] | PluginOptions | None) -> PluginOptions:
        """Options from names and values (or text). Raises `OptionError` that lists every fault and what is known."""
        if isinstance(options, PluginOptions):
            return options
        try:
            return cls.Options.model_validate(dict(options or {}))
        except pydantic.ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: found {fault['input']!r}, {fault['msg']}"
                for fault in error.errors()
            )
            known = ", ".join(cls.Options.model_fields)
            raise OptionError(f"options of {cls.family!r}: {faults}. Known options: {known}") from None

    @property
    @abstractmethod
    def fitted(self) -> bool:
        """Whether `predict` can answer: after `fit` or `load`."""

    @abstractmethod
    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """One prediction an image, in order, independent of what else is in the batch.

        Raises `NotFitted` with the remedy. Leaves images and the global random state untouched. Thread-safe.
        """

    def predict_unfiltered(self, images: Sequence[Image]) -> list[Prediction]:
        """`predict` before operating thresholds: all that a precision-recall curve is drawn from.

        A family without thresholds has nothing to add: it is `predict`.
        """
        return self.predict(images)

    def visible(self, prediction: Prediction) -> Prediction:
        """What people get to see of a prediction from `predict_unfiltered`, so that `predict` gives the same.

        Whoever needs both asks the model once. A family that overrides `predict_unfiltered` overrides this too.
        """
        return prediction

    def cells(self, prediction: Prediction) -> tuple[FoundCell, ...] | None:  # noqa: ARG002 - for those that have cells
        """The individual cells of a prediction or a truth of this family, for counts and sizes.

        None where a family's predictions have no cells but boxes, or none at all.
        """
        return None

    def prepare(self, image: Image) -> Any:
        """All that `prompt` needs to know of an image, so that each question about it is answered in milliseconds.

        Whoever asks keeps it for a while, in memory, and never looks inside. Here: what `predict_unfiltered` gives.
        """
        return self.predict_unfiltered([image])[0]

    def prompt(self, prepared: Any, prompt: Prompt) -> Prediction:
        """What lies in the boxes and under the points that an annotator drew, and nothing else.

        Detections have their centre in a drawn box or hold a positive point, a class map is 0 outside of the drawn
        boxes and of what positive points touch; nothing lies under a negative point. Here: what is `visible` there and,
        where nothing is, the best of what is not (see `hemaloop.prompts`). `prepared` is left untouched. Thread-safe.

        Raises `PluginError` from families whose predictions are about the image as a whole.
        """
        from hemaloop.prompts import chosen

        return chosen(self.visible(prepared), prepared, prompt)

    @abstractmethod
    def score(self, images: Sequence[Image]) -> list[Scored]:
        """`predict` with the relevance of each image; anything stochastic is seeded from the image's content."""

    def explain(self, image: Image) -> NDArray[np.float32]:  # noqa: ARG002 - for families that can tell
        """Where on an image the family saw what it says: float32 (H, W) in [0, 1], the most telling place 1.

        All 0 where nothing speaks for it. Raises `NotFitted`, and `PluginError` from families that cannot tell.
        """
        raise PluginError(f"model family {self.family!r} does not say where it looked")

    @abstractmethod
    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        """Learn from `train`; choose epochs, thresholds and calibration on `tune`.

        Starts from its starting weights and forgets earlier fits: the same seed and data give the same model.
        The sequences may decode images when indexed, so index each item once an epoch. A failed or cancelled fit
        leaves the plugin as it was before.

        Raises `DatasetError` where nothing can be learned, `TrainingDiverged` for a loss that is not finite,
        `Cancelled` from `progress`.
        """

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write the fitted model into an existing empty directory: safetensors and JSON only.

        Of a `Representing` family, also a representation without a head.
        """

    @abstractmethod
    def load(self, directory: Path) -> None:
        """Read what `save` wrote, for the same labels in the same order.

        Raises `StoreError` naming what is missing or does not fit.
        """

    @abstractmethod
    def unload(self) -> None:
        """Give memory back; the plugin is then not fitted."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """What `Example` is for an image that was represented before: its vector in place of its pixels.

    embedding: float32 (D,). key: as in `Example`. ignore: always empty; there for whoever compares truths.
    """

    embedding: NDArray[np.float32]
    truth: Prediction
    key: str
    ignore: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))


class Representing(Plugin):
    """A family of two parts: a representation, learned from images without labels, and a head, learned in seconds.

    ::

        plugin.learn(images, Silent())                # once, from all images of a project
        vectors = plugin.embed(images)                # kept, under plugin.representation
        plugin.fit_head([Embedded(vector, truth, key), ...], [], Silent())
        plugin.score_embedded(vectors)                # what `score(images)` gives, without an image

    `fit` does both on its examples, for whoever has nothing else. A backend keeps the vectors of a project's images, so
    that a new head and a new order cost no image. Vectors of different representations are never mixed.
    """

    @property
    @abstractmethod
    def representation(self) -> str:
        """Names the representation that `embed` uses: the same for the same weights and options, else another.

        A text of letters, digits and hyphens. Raises `NotFitted` where there is none.
        """

    @abstractmethod
    def learn(self, images: Sequence[Image], progress: Progress) -> FitReport:
        """Learn the representation, from nothing; the head that was there is gone.

        Images are indexed once each. The same seed and images give the same representation. A failed or cancelled one
        leaves the plugin as it was. Raises as `fit` does.
        """

    @abstractmethod
    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """float32 (N, D), finite, one row an image whatever else is in the batch. Needs a representation, no head."""

    @abstractmethod
    def fit_head(self, train: Sequence[Embedded], tune: Sequence[Embedded], progress: Progress) -> FitReport:
        """Learn a head on vectors of this representation, which stays as it is; earlier heads are forgotten.

        Raises as `fit` does, and `NotFitted` without a representation.
        """

    @abstractmethod
    def score_embedded(self, embeddings: NDArray[np.float32]) -> list[Scored]:
        """What `score` gives for the images that these vectors, (N, D), are of."""

    @abstractmethod
    def load_representation(self, directory: Path) -> None:
        """Take the representation, without a head, from what `save` wrote, whatever labels that was for.

        Raises `StoreError` as `load` does.
        """

    def reconstruct(self, embeddings: NDArray[np.float32]) -> list[Image]:  # noqa: ARG002 - for families that can
        """Images that vectors stand for, to look at. Raises `PluginError` from families that cannot tell."""
        raise PluginError(f"model family {self.family!r} makes no images of vectors")
