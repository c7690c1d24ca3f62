"""Where on an image the model saw what it says, as people see it in Label Studio: one brush region, the hottest part.

    <BrushLabels name="seen" toName="image" model_explains="diagnosis">
      <Label value="Where the model looked"/>
    </BrushLabels>

Nothing learns from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hemaloop.labelconfig import Control

EXPLAINS = "model_explains"
HOT = 0.5
"""Part of the largest heat from which a place is shown."""


@dataclass(frozen=True, slots=True)
class HeatControl:
    """The control that shows where another one's class was seen: its name, and its one label."""

    name: str
    label: str


def hottest(heat: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which pixels (H, W) are shown of a heat map (H, W) in [0, 1]."""
    return np.asarray((heat >= HOT) & (heat > 0))


def heat_faults(tag: str, attributes: Mapping[str, str], control: Control, controls: Sequence[Control]) -> list[str]:
    """What is wrong with a control that is to explain another one, in words for people."""
    found = []
    bound = {one.name: one for one in controls if one.binding is not None and one.kind == "choices"}
    explained = bound.get(attributes[EXPLAINS].strip())
    if explained is None:
        known = ", ".join(map(repr, bound)) or "none"
        found.append(f"has {EXPLAINS}={attributes[EXPLAINS]!r}: expected the name of bound <Choices>; bound: {known}")
    elif explained.regions is not None:
        found.append(f"explains {explained.name!r}, a choice about each region: expected one about the image")
    elif explained.to_name != control.to_name:
        found.append(f"explains {explained.name!r}: expected its toName={explained.to_name!r}")
    if tag != "BrushLabels" or len(control.labels) != 1:
        found.append(f"has {EXPLAINS}: expected <BrushLabels> with one label")
    others = [name for name in attributes if name.startswith("model_") and name != EXPLAINS]
    if others:
        found.append(f"explains another control and cannot have {', '.join(others)}")
    return found
