"""What annotators ask by drawing, answered by a loaded model; what it saw of an image is kept for the next question."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from hemaloop import results
from hemaloop.images import LoadedImage
from hemaloop.labelconfig import Control, LabelConfig
from hemaloop.plugin import Plugin, Scored
from hemaloop.projects import Part
from hemaloop.prompts import read_prompt

IMAGES = 8
"""Images that are remembered: an annotator asks about one at a time."""
_DRAWN_ON = frozenset({"rectanglelabels", "brushlabels"})


class Seen:
    """What models have made of the images asked about last (`Plugin.prepare`). One thread at a time."""

    def __init__(self, limit: int = IMAGES) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[str, ...], tuple[Plugin, Any]] = OrderedDict()

    def of(self, plugin: Plugin, image: LoadedImage) -> Any:
        """Prepared once while the same loaded model is in use."""
        key = (str(id(plugin)), image.key)
        known = self._kept.pop(key, None)
        prepared = known[1] if known is not None and known[0] is plugin else plugin.prepare(image.pixels)
        self._kept[key] = (plugin, prepared)
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return prepared


def asked(config: LabelConfig, control: Control, drawn: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The drawn regions that a bound control answers: the last of its own, and those of controls without a model.

    With a box that was drawn with a label, Label Studio sends along every other one of that label; with a point or a
    rectangle without a label, those since the last answer was taken or refused.
    """
    if control.kind not in _DRAWN_ON or control.regions is not None:
        return []
    others = {one.name for one in config.bound} - {control.name}
    found = [
        region
        for region in drawn
        if region.get("from_name") not in others and not str(region.get("origin", "")).startswith("prediction")
    ]
    own = [region for region in found if region.get("from_name") == control.name]
    return [region for region in found if region not in own[:-1]]


def answer(
    plugin: Plugin, control: Control, part: Part, image: LoadedImage, seen: Seen, drawn: Sequence[Mapping[str, Any]]
) -> results.Answer | None:
    """What a model says to drawn regions; None where nothing was asked. Raises what the family raises."""
    prompt = read_prompt(drawn, image.width, image.height, control.to_name)
    if not len(prompt.boxes) and not prompt.positive.any():
        return None
    found = plugin.prompt(seen.of(plugin, image), prompt)
    return results.Answer(control, Scored(found, 0.0), part.labels, image.width, image.height)


def entry(answers: Sequence[results.Answer], version: str, drawn: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The reply to a question. Its regions have ids of their own: they stand beside those of the stored prediction."""
    if not answers:
        return {"result": [], "score": 0.0, "model_version": version}
    found = results.task_prediction(answers, version)
    question = json.dumps([[region.get("id"), region.get("value")] for region in drawn], sort_keys=True, default=str)
    return {**found, "result": [{**region, "id": _own_id(question, region["id"])} for region in found["result"]]}


def _own_id(question: str, region: str) -> str:
    return hashlib.sha256(f"{question} {region}".encode("utf-8", "surrogatepass")).hexdigest()[:10]
