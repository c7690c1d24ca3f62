"""Tasks in, scored predictions out: fetch the image, run the model, write Label Studio's regions.

The inference children and the worker's score jobs both use this, so that a task has the same prediction and the same
score however it got them. A task that fails has an `error` and no result; the others are not touched by it.
"""

from __future__ import annotations

import functools
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemaloop import asking, regions, results
from hemaloop.config import Settings
from hemaloop.errors import HemaloopError, ImageError, InferenceError
from hemaloop.images import ImageLoader, LoadedImage
from hemaloop.labelconfig import Control, LabelConfig
from hemaloop.memory import give_back_memory
from hemaloop.plugin import Detections, Image, Plugin, Representing, Scored
from hemaloop.projects import LiveModel, Part, load_part
from hemaloop.quick.vectors import Vector

_FETCHERS = 4
"""Images fetched and decoded at a time."""


@dataclass(frozen=True, slots=True)
class TaskRef:
    """A task, as far as a model needs it: its number, if it has one, and its `data`."""

    id: int | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TaskScore:
    """What came of one task.

    result: Label Studio regions, or None where `error` says why there are none. score: for Label Studio, in [0, 1],
    lowest served first. relevance: of the task, >= 0. key: hash of the image's content, None if it could not be had.
    seconds: its share of the wall time of each stage, "image" (fetch and decode), "model", "result".
    features: float32 (F,), those of each control whose images are spread, one after the other; None where there is no
    such control, or its family has none.
    """

    task_id: int | None
    model_version: str
    result: list[dict[str, Any]] | None = None
    score: float | None = None
    relevance: float | None = None
    error: str | None = None
    key: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    features: NDArray[np.float32] | None = field(default=None, compare=False)

    @property
    def prediction(self) -> dict[str, Any] | None:
        """As `/predict` and `import_predictions` take it, or None."""
        if self.result is None:
            return None
        return {"result": self.result, "score": self.score, "model_version": self.model_version}


@dataclass(slots=True)
class _Work:
    """A task on its way. answers: of each control so far. images, vectors: by address, each had once."""

    task: TaskRef
    answers: list[results.Answer] = field(default_factory=list)
    images: dict[str, LoadedImage] = field(default_factory=dict)
    vectors: dict[str, Vector] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    error: str | None = None
    seconds: dict[str, float] = field(default_factory=lambda: {"image": 0.0, "model": 0.0, "result": 0.0})


class Scorer:
    """Scores tasks; keeps the models used last. One thread at a time."""

    def __init__(
        self,
        settings: Settings,
        *,
        auth: Callable[[], Mapping[str, str]] | None = None,
        vectors: Callable[[str, str, str], Mapping[str, Vector]] | None = None,
    ) -> None:
        """auth: headers that open Label Studio's images; from the settings if None. vectors: those known of the images
        of a project and control under a representation, by address, so that they are not opened; none if None.
        """
        self._vectors = functools.cache(vectors) if vectors else None
        self._device = settings.device
        self.images = ImageLoader(settings, auth or label_studio_auth(settings))
        self._fetchers = ThreadPoolExecutor(_FETCHERS, thread_name_prefix="fetch")
        self._models = _Models(settings.models_in_memory)
        self._seen = asking.Seen()

    def warm(self, project: str, label_config: LabelConfig, live: LiveModel) -> None:
        """Load the models that `score` will need. Raises `InferenceError` where one cannot be loaded."""
        for control, part in _servable(label_config, live):
            self._models.get(project, label_config, control, part, self._device)

    def score(
        self, project: str, label_config: LabelConfig, live: LiveModel, tasks: Sequence[TaskRef]
    ) -> list[TaskScore]:
        """One score a task, in order. Raises `InferenceError` where a model cannot be loaded, naming it."""
        works = [_Work(task) for task in tasks]
        parts = _servable(label_config, live)
        if not parts:
            for work in works:
                work.error = f"{live.version}: no model was trained yet, and no starter weights fit these labels"
        for control, part in parts:
            plugin = self._models.get(project, label_config, control, part, self._device)
            self._recall(project, control, plugin, works)
            self._fetch(project, control, works)
            if control.regions is None:
                _run(plugin, control, part, works)
            else:
                _run_on_regions(plugin, control, part, works)
        return [_finish(work, live.version, label_config) for work in works]

    def _recall(self, project: str, control: Control, plugin: Plugin, works: Sequence[_Work]) -> None:
        """Vectors in place of images, where they are known and all that is needed."""
        for work in works:
            work.vectors = {}
        if self._vectors is None or not isinstance(plugin, Representing) or control.regions or control.heat:
            return
        known = self._vectors(project, control.name, plugin.representation)
        for work in works:
            uri = work.task.data.get(control.data_key)
            if isinstance(uri, str) and uri in known:
                work.vectors = {uri: known[uri]}

    def prompt(
        self,
        project: str,
        label_config: LabelConfig,
        live: LiveModel,
        task: TaskRef,
        drawn: Sequence[Mapping[str, Any]],
    ) -> TaskScore:
        """What is where an annotator drew these regions of Label Studio, as regions that are valid for the config."""
        work = _Work(task)
        for control, part in _servable(label_config, live):
            question = asking.asked(label_config, control, drawn)
            if question and not work.error:
                self._ask(project, label_config, control, part, work, question)
        if work.error is None:
            prediction = asking.entry(work.answers, live.version, drawn)
            faults = results.validate(prediction, label_config)
            if not faults:
                return TaskScore(task.id, live.version, prediction["result"], prediction["score"], seconds=work.seconds)
            work.error = f"answer about {_name(task)} is not valid for its labelling config: {faults[0]}"
        return TaskScore(task.id, live.version, error=work.error, seconds=work.seconds)

    def _ask(
        self,
        project: str,
        label_config: LabelConfig,
        control: Control,
        part: Part,
        work: _Work,
        drawn: Sequence[Mapping[str, Any]],
    ) -> None:
        plugin = self._models.get(project, label_config, control, part, self._device)
        self._fetch(project, control, [work])
        if work.error:
            return
        began = time.perf_counter()
        try:
            image = work.images[image_address(work.task, control)]
            said = asking.answer(plugin, control, part, image, self._seen, drawn)
        except Exception as error:  # noqa: BLE001 - foreign code, and the annotator goes on without an answer
            work.error = f"model {plugin.family} failed on what was drawn: {type(error).__name__}: {error}"
            return
        work.answers += [said] if said is not None else []
        work.seconds["model"] += time.perf_counter() - began

    def _fetch(self, project: str, control: Control, works: Sequence[_Work]) -> None:
        """The image of each task for this control; an address that another control fetched is not fetched again."""
        began = time.perf_counter()
        if len(works) == 1:
            self._fetch_one(project, control, works[0])
        else:
            list(self._fetchers.map(lambda work: self._fetch_one(project, control, work), works))
        for work in works:
            work.seconds["image"] += (time.perf_counter() - began) / len(works)

    def _fetch_one(self, project: str, control: Control, work: _Work) -> None:
        if work.error or work.vectors:
            return
        try:
            uri = image_address(work.task, control)
            if uri not in work.images:
                work.images[uri] = self.images.load(uri, work.task.id, project=project)
        except HemaloopError as error:
            work.error = str(error)
        except Exception as error:  # noqa: BLE001 - one image, whatever is wrong with it, takes no other task along
            # Its text may hold an address with a password or signature.
            work.error = f"image of {_name(work.task)} cannot be read: {type(error).__name__}"


class _Models:
    """Loaded models, the one used last kept longest. Two projects never share one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._loaded: OrderedDict[tuple[str, ...], Plugin] = OrderedDict()

    def get(self, project: str, label_config: LabelConfig, control: Control, part: Part, device: str) -> Plugin:
        key = (project, label_config.fingerprint, control.name, part.version, str(part.directory))
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key]
        while len(self._loaded) >= self._limit:
            _, oldest = self._loaded.popitem(last=False)
            oldest.unload()
        try:
            plugin = load_part(part, control, device)
        except Exception as error:
            raise InferenceError(
                f"project {project}, control {control.name!r}: model {part.version} cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error
        self._loaded[key] = plugin
        give_back_memory()
        return plugin


def label_studio_auth(settings: Settings) -> Callable[[], Mapping[str, str]]:
    """Headers that open Label Studio's images. The client is made when the first image needs it: it imports the SDK."""
    made: list[Callable[[], Mapping[str, str]]] = []

    def headers() -> Mapping[str, str]:
        if not made:
            from hemaloop.client import LabelStudio

            made.append(LabelStudio.from_settings(settings).auth_headers)
        return made[0]()

    return headers


def _servable(label_config: LabelConfig, live: LiveModel) -> list[tuple[Control, Part]]:
    """Controls that have a model to run, in the order of the config, those about regions after those that draw them."""
    in_order = sorted(label_config.bound, key=lambda control: control.regions is not None)
    parts = [(control, live.parts.get(control.name)) for control in in_order]
    return [(control, part) for control, part in parts if part is not None and part.directory is not None]


def image_address(task: TaskRef, control: Control) -> str:
    """Where a control's image of a task is. Raises `ImageError` where the task does not say."""
    uri = task.data.get(control.data_key)
    if not isinstance(uri, str) or not uri:
        raise ImageError(
            f"{_name(task)}: found {type(uri).__name__ if uri is not None else 'nothing'} in "
            f"data[{control.data_key!r}], expected the address of an image for control {control.name!r}"
        )
    return uri


def _name(task: TaskRef) -> str:
    return "a task without a number" if task.id is None else f"task {task.id}"


def _run(plugin: Plugin, control: Control, part: Part, works: Sequence[_Work]) -> None:
    """Add this control's answer to each task that has no error yet."""
    remembered = [work for work in works if work.vectors and not work.error]
    if remembered and isinstance(plugin, Representing):
        _run_on_vectors(plugin, control, part, remembered)
    ready = [work for work in works if not work.error and not work.vectors]
    images = [work.images[image_address(work.task, control)] for work in ready]
    if not ready:
        return
    began = time.perf_counter()
    scored: list[Scored | None]
    try:
        scored = [*_scored(plugin, images)]
    except Exception:  # noqa: BLE001 - foreign code; find out which image it was
        scored = [_score_alone(plugin, image, work) for image, work in zip(images, ready, strict=True)]
    each = (time.perf_counter() - began) / len(ready)
    for work, image, one in zip(ready, images, scored, strict=True):
        work.seconds["model"] += each
        if one is not None:
            heat = _heat(plugin, image) if control.heat is not None else None
            work.answers.append(results.Answer(control, one, part.labels, image.width, image.height, heat=heat))


def _run_on_vectors(plugin: Representing, control: Control, part: Part, works: Sequence[_Work]) -> None:
    """As `_run`, of images that were embedded before."""
    vectors = [next(iter(work.vectors.values())) for work in works]
    began = time.perf_counter()
    scored = plugin.score_embedded(np.stack([one.embedding for one in vectors]))
    for work, vector, one in zip(works, vectors, scored, strict=True):
        work.seconds["model"] += (time.perf_counter() - began) / len(works)
        work.keys.append(vector.key)
        work.answers.append(results.Answer(control, one, part.labels, vector.width, vector.height))


def _heat(plugin: Plugin, image: LoadedImage) -> NDArray[np.float32] | None:
    """Where the class was seen; a family that cannot tell, or fails to, takes no prediction along."""
    try:
        return plugin.explain(image.pixels)
    except Exception:  # noqa: BLE001 - foreign code, and only a picture beside the answer
        return None


def _run_on_regions(plugin: Plugin, control: Control, part: Part, works: Sequence[_Work]) -> None:
    """Add to each task what this control's model says about the regions that another control's has just found."""
    for work in works:
        place = next((i for i, one in enumerate(work.answers) if one.control.name == control.regions), None)
        if work.error or place is None:
            continue
        began = time.perf_counter()
        source = work.answers[place]
        found = source.scored.prediction
        if not isinstance(found, Detections):
            continue
        image = work.images[image_address(work.task, control)].pixels
        chosen = regions.asked_about(found, source.labels, source.control, control)
        try:
            scored = _answers(plugin, [regions.cut(image, found.boxes[index]) for index in chosen])
        except Exception as error:  # noqa: BLE001 - foreign code; the other tasks get their predictions
            work.error = f"model {plugin.family} failed on {_name(work.task)}: {type(error).__name__}: {error}"
            continue
        said = results.RegionAnswer(control, dict(zip(chosen, scored, strict=True)), part.labels)
        work.answers[place] = replace(source, about=(*source.about, said))
        work.seconds["model"] += time.perf_counter() - began


def _scored(plugin: Plugin, images: Sequence[LoadedImage]) -> list[Scored]:
    return _answers(plugin, [image.pixels for image in images])


def _answers(plugin: Plugin, images: Sequence[Image]) -> list[Scored]:
    scored = plugin.score(images) if images else []
    if len(scored) != len(images):
        raise InferenceError(f"{plugin.family}: found {len(scored)} answers for {len(images)} images")
    return scored


def _score_alone(plugin: Plugin, image: LoadedImage, work: _Work) -> Scored | None:
    try:
        return _scored(plugin, [image])[0]
    except Exception as error:  # noqa: BLE001 - foreign code; the other images get their predictions
        work.error = f"model {plugin.family} failed on {_name(work.task)}: {type(error).__name__}: {error}"
        return None


def _finish(work: _Work, version: str, label_config: LabelConfig) -> TaskScore:
    """Write the regions and check them: what is not valid for the config never reaches Label Studio."""
    keys = [*work.keys, *(image.key for image in work.images.values())]
    key = keys[0] if keys else None
    if work.error is None:
        began = time.perf_counter()
        try:
            prediction = results.task_prediction(work.answers, version)
            faults = results.validate(prediction, label_config)
            if not faults:
                relevance = results.relevance_of(work.answers)
                work.seconds["result"] += time.perf_counter() - began
                return TaskScore(
                    work.task.id,
                    version,
                    prediction["result"],
                    prediction["score"],
                    relevance,
                    key=key,
                    seconds=work.seconds,
                    features=_features(work.answers),
                )
            work.error = f"prediction of {_name(work.task)} is not valid for its labelling config: {faults[0]}"
        except Exception as error:  # noqa: BLE001 - one prediction that cannot be written takes no other along
            work.error = f"prediction of {_name(work.task)}: {type(error).__name__}: {error}"
    return TaskScore(work.task.id, version, error=work.error, key=key, seconds=work.seconds)


def _features(answers: Sequence[results.Answer]) -> NDArray[np.float32] | None:
    bindings = [(answer.control.binding, answer.scored.features) for answer in answers]
    found = [features for binding, features in bindings if binding is not None and binding.spread]
    known = [features for features in found if features is not None]
    return np.concatenate(known) if known and len(known) == len(found) else None
