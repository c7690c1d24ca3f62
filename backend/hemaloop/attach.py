"""An existing project's labelling config bound to a model family, everything else in it left as it is.

Only attributes are added, in the text itself, so that comments, order and spacing stay: `model_family` and its
companions on the control, `model_label` on labels that the model knows by another name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from hemaloop import projects, registry
from hemaloop.binding import POLICY
from hemaloop.errors import LabelConfigError
from hemaloop.labelconfig import Control, LabelConfig, parse_label_config
from hemaloop.plugin import Preset
from hemaloop.results import KIND_OF

_LABEL_TAGS = frozenset({"Label", "Choice"})


@dataclass(frozen=True, slots=True)
class Wish:
    """What to bind. control: its name, or None for the only one of the family's kind.

    labels: model label by the name that people see, for those that differ; "" keeps a label away from the model.
    options: plugin options by name. starter: whether shipped weights may serve until the first training.
    regions: for a choice about each region, the control whose boxes it is about, or None for the only bound one.
    """

    family: str
    preset: str | None = None
    control: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    starter: bool = True
    regions: str | None = None


@dataclass(frozen=True, slots=True)
class Bound:
    """The config before and after, and what a person should know. The same text where it was bound so already."""

    before: str
    after: str
    control: Control
    notes: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether anything has to be written."""
        return self.before != self.after

    def difference(self) -> list[str]:
        """Lines as `diff -u` shows them."""
        lines = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), "labelling config", "with the model", lineterm="", n=1
        )
        return list(lines)


def bind(xml: str, wish: Wish) -> Bound:
    """The config with the attributes that bind it.

    Raises `LabelConfigError` where no control fits, where an attribute is there already with another value, or where
    the result could not be served; `PluginNotFound` for an unknown family.
    """
    config = parse_label_config(xml)
    control = _chosen(config, wish)
    preset = _preset(wish)
    unknown = [name for name in wish.labels if name not in control.labels]
    if unknown:
        raise LabelConfigError(
            f"control {control.name!r}: has no label {', '.join(map(repr, unknown))}; "
            f"labels: {', '.join(map(repr, control.labels))}"
        )
    mapping = {**_alike(control, preset), **wish.labels}
    after = _with_attributes(xml, control, _attributes(wish, _regions(config, control, wish)), mapping)
    bound = parse_label_config(after)
    found = projects.faults(bound)
    if found:
        raise LabelConfigError("\n".join(found))
    return Bound(xml, after, bound.control(control.name), tuple(projects.notes(bound)))


def _chosen(config: LabelConfig, wish: Wish) -> Control:
    if wish.control is not None:
        return config.control(wish.control)
    kind = KIND_OF[registry.find(wish.family).produces]
    of_regions = [one for one in config.controls if one.kind == kind and one.per_region]
    of_images = [one for one in config.controls if one.kind == kind and not one.per_region]
    fitting = of_regions if wish.regions is not None else of_images or of_regions
    if len(fitting) != 1:
        names = ", ".join(repr(control.name) for control in fitting) or "none"
        raise LabelConfigError(
            f"family {wish.family!r} needs a control that holds {kind}; found {names}"
            + ("; choose one with --control" if fitting else "; add one to the labelling config")
        )
    return fitting[0]


def _regions(config: LabelConfig, control: Control, wish: Wish) -> str | None:
    """Whose boxes a choice about each region is about, None for any other control."""
    if not control.per_region or wish.regions is not None:
        return wish.regions
    boxes = [one.name for one in config.bound if one.kind == "rectanglelabels" and one.to_name == control.to_name]
    if len(boxes) != 1:
        names = ", ".join(map(repr, boxes)) or "none, so bind one first"
        raise LabelConfigError(
            f"control {control.name!r} is a choice about each region and needs a bound control of boxes; found {names}"
            + ("; choose one with --regions" if boxes else "")
        )
    return boxes[0]


def _preset(wish: Wish) -> Preset | None:
    if wish.preset is None:
        return None
    presets = registry.find(wish.family).presets
    if wish.preset not in presets:
        known = ", ".join(map(repr, presets)) or "none"
        raise LabelConfigError(f"family {wish.family!r}: preset {wish.preset!r} is unknown; presets: {known}")
    return presets[wish.preset]


def _alike(control: Control, preset: Preset | None) -> dict[str, str]:
    """Labels that differ from a preset's only in case, spaces or a plural, such as "Platelet" and "Platelets"."""
    if preset is None:
        return {}
    known = {_plain(label): label for label in preset.labels}
    return {
        shown: known[_plain(shown)]
        for shown in control.labels
        if shown not in preset.labels and control.label_map.get(shown) == shown and _plain(shown) in known
    }


def _plain(label: str) -> str:
    return re.sub(r"[^a-z0-9]", "", label.lower()).removesuffix("s")


def _attributes(wish: Wish, about: str | None) -> dict[str, str]:
    wanted = {"model_family": wish.family}
    if about is not None:
        wanted["model_regions"] = about
    if wish.preset is not None:
        wanted["model_preset"] = wish.preset
    if not wish.starter:
        wanted["model_starter"] = "none"
    return {**wanted, **{f"model_option_{name}": value for name, value in wish.options.items()}}


@dataclass(frozen=True, slots=True)
class _Tag:
    """A start tag in the text. end: byte position behind its name, where attributes can go."""

    name: str
    attributes: Mapping[str, str]
    end: int
    depth: int


def _with_attributes(xml: str, control: Control, wanted: Mapping[str, str], labels: Mapping[str, str]) -> str:
    source = xml.encode()
    insertions: list[tuple[int, str]] = []
    inside: int | None = None
    for tag in _tags(source):
        if inside is not None and tag.depth <= inside:
            inside = None
        if tag.attributes.get("name") == control.name and "toName" in tag.attributes:
            inside = tag.depth
            insertions.append((tag.end, _missing(tag, wanted, f"control {control.name!r}")))
        elif inside is not None and tag.name in _LABEL_TAGS:
            shown = tag.attributes.get("alias") or tag.attributes.get("value", "")
            if shown in labels:
                insertions.append((tag.end, _missing(tag, {"model_label": labels[shown]}, f"label {shown!r}")))
    for position, text in reversed(insertions):
        source = source[:position] + text.encode() + source[position:]
    return source.decode()


def _missing(tag: _Tag, wanted: Mapping[str, str], where: str) -> str:
    """The attributes that are not there yet. Raises `LabelConfigError` rather than overwrite one."""
    present = {name: value for name, value in tag.attributes.items() if name.startswith("model_")}
    differing = [
        f"{name}={present[name]!r}, not {value!r}"
        for name, value in wanted.items()
        if present.get(name, value) != value
    ]
    if "model_family" in wanted:
        differing += [
            f"{name}={value!r}" for name, value in present.items() if name not in wanted and name not in POLICY
        ]
    if differing:
        raise LabelConfigError(
            f"{where}: is bound already ({'; '.join(differing)}) and nothing is overwritten; change or remove that in "
            "the labelling config first"
        )
    return "".join(f" {name}={quoteattr(value)}" for name, value in wanted.items() if name not in present)


def _tags(source: bytes) -> Iterator[_Tag]:
    """Start tags in the order of the text, which was parsed safely before."""
    found: list[_Tag] = []
    depth = 0
    parser = expat.ParserCreate("UTF-8")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        found.append(_Tag(name, attributes, parser.CurrentByteIndex + 1 + len(name.encode()), depth))

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.Parse(source, True)
    return iter(found)
