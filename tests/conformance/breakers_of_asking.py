"""Families that answer what annotators draw in a wrong way, one for each law."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from conformance.remembering import Remembering
from hemaloop.plugin import Detections, Image, Prediction, Prompt


class Rambling(Remembering):
    """All boxes, whatever rectangle was drawn."""

    def prompt(self, prepared: Any, prompt: Prompt) -> Prediction:
        return self.visible(prepared) if len(prompt.boxes) else super().prompt(prepared, prompt)


class Stubborn(Remembering):
    """Negative points change nothing."""

    def prompt(self, prepared: Any, prompt: Prompt) -> Prediction:
        kept = replace(prompt, points=prompt.points[prompt.positive], positive=np.ones(prompt.positive.sum(), bool))
        return super().prompt(prepared, kept)


class Tiring(Remembering):
    """One answer a look."""

    def prepare(self, image: Image) -> list[Prediction]:
        return [super().prepare(image)]

    def prompt(self, prepared: list[Prediction], prompt: Prompt) -> Prediction:
        return super().prompt(prepared.pop(), prompt) if prepared else Detections.empty()
