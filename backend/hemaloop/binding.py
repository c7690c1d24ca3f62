"""What a control tag's `model_…` attributes say: which family serves it, with which options, when it learns, in which
order people get its images, and when they have labelled enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_OPTION = "model_option_"
POLICY = (
    "model_train",
    "model_min_new_annotations",
    "model_min_interval_seconds",
    "model_pool_growth",
    "model_order",
    "model_stop_uncertain_cells",
    "model_stop_performance",
    "model_stop_figure",
)
"""Attributes that say when a model learns and in which order and how long people label, not what it is."""
_ATTRIBUTES = ("model_family", "model_preset", "model_starter", "model_regions", *POLICY)


@dataclass(frozen=True, slots=True)
class Binding:
    """What a control's `model_…` attributes say.

    options: text by option name, validated by the family. starter: whether shipped weights may serve until the
    first training. min_new_annotations, min_interval_seconds: None where the server's settings count.
    spread: whether images that look like those labelled, or before them in the queue, come later than relevance alone
    would have it. stop_uncertain_cells: as many may be left in the pool when labelling can stop. stop_performance: the
    figure, in [0, 1], at which it can; stop_figure: its name, None for the kind's usual one (`stopping`).
    pool_growth: times as many images as a representation was learned from that make it due anew, None for the usual.
    regions: name of the control whose regions it says something about, None where it is about the image as a whole.
    """

    family: str
    preset: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    starter: bool = True
    train: bool = True
    min_new_annotations: int | None = None
    min_interval_seconds: float | None = None
    pool_growth: float | None = None
    spread: bool = False
    stop_uncertain_cells: int | None = None
    stop_performance: float | None = None
    stop_figure: str | None = None
    regions: str | None = None


def read_binding(attributes: Mapping[str, str], found: list[str]) -> Binding | None:
    """The binding that a tag's attributes state, None where none of them is a model's; `found` takes the faults."""
    given = {name: value.strip() for name, value in attributes.items() if name.startswith("model_")}
    if not given:
        return None
    for name in given:
        if name not in _ATTRIBUTES and not (name.startswith(_OPTION) and len(name) > len(_OPTION)):
            known = ", ".join((*_ATTRIBUTES, f"{_OPTION}<name>"))
            found.append(f"has the unknown attribute {name!r}; known: {known}")
    if not given.get("model_family"):
        found.append('has model attributes but no model_family, such as model_family="faster_rcnn"')
    return Binding(
        family=given.get("model_family", ""),
        preset=given.get("model_preset") or None,
        options={k[len(_OPTION) :]: v for k, v in given.items() if k.startswith(_OPTION)},
        starter=_one_of(given, "model_starter", {"none": False, "preset": True}, True, found),
        train=_one_of(given, "model_train", {"off": False, "on": True}, True, found),
        min_new_annotations=_number(given, "model_min_new_annotations", int, 1, found),
        min_interval_seconds=_number(given, "model_min_interval_seconds", float, 0, found),
        pool_growth=_number(given, "model_pool_growth", float, 1, found),
        spread=_one_of(given, "model_order", {"relevance": False, "spread": True}, False, found),
        stop_uncertain_cells=_number(given, "model_stop_uncertain_cells", int, 0, found),
        stop_performance=_share(given, "model_stop_performance", found),
        stop_figure=given.get("model_stop_figure") or None,
        regions=given.get("model_regions") or None,
    )


def _one_of(given: Mapping[str, str], name: str, known: Mapping[str, bool], default: bool, found: list[str]) -> bool:
    text = given.get(name)
    if text is not None and text not in known:
        found.append(f"has {name}={text!r}: expected one of {', '.join(map(repr, known))}")
    return default if text is None else known.get(text, default)


def _number(given: Mapping[str, str], name: str, kind: type[Any], least: float, found: list[str]) -> Any:
    text = given.get(name)
    if text is None:
        return None
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or not least <= number < float("inf"):
        what = "a whole number" if kind is int else "seconds" if name.endswith("seconds") else "a number"
        found.append(f"has {name}={text!r}: expected {what} >= {least}")
        return None
    return number


def _share(given: Mapping[str, str], name: str, found: list[str]) -> float | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        found.append(f"has {name}={text!r}: expected a number from 0 to 1")
        return None
    return share
