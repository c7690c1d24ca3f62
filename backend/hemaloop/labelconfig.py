"""A labelling config's XML read as what it binds: controls, their labels, and the model families behind them.

    <RectangleLabels name="cells" toName="image" model_family="faster_rcnn" model_preset="cbc"
                     model_option_nms_iou="0.45" model_min_new_annotations="20">
      <Label value="Red cell" model_label="RBC"/>
      <Label value="Dirt" model_label=""/>
    </RectangleLabels>

A control with `model_family` is bound. `model_label` gives a label the name that the model knows it by; the empty
name keeps a label away from the model. Several labels may share one model label: truth of either counts, and a
prediction is shown with the first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from hemaloop.errors import LabelConfigError

KINDS: Mapping[str, str] = MappingProxyType(
    {"RectangleLabels": "rectanglelabels", "BrushLabels": "brushlabels", "Choices": "choices"}
)
"""Tags that can be bound to a family, and the `type` of the regions that they hold."""

MAX_BYTES = 2**20
_LABEL_TAGS = frozenset({"Label", "Choice"})
_OPTION = "model_option_"
_ATTRIBUTES = (
    "model_family",
    "model_preset",
    "model_starter",
    "model_train",
    "model_min_new_annotations",
    "model_min_interval_seconds",
)


@dataclass(frozen=True, slots=True)
class Binding:
    """What a control's `model_…` attributes say.

    options: text by option name, validated by the family. starter: whether shipped weights may serve until the
    first training. min_new_annotations, min_interval_seconds: None where the server's settings count.
    """

    family: str
    preset: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    starter: bool = True
    train: bool = True
    min_new_annotations: int | None = None
    min_interval_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """One control tag.

    kind: type of its regions, such as "rectanglelabels". data_key: field of the task that holds the image.
    labels: names that people see, in order. label_map: model label of each label that the model learns.
    per_region: a choice made about each region, not about the image.
    """

    name: str
    kind: str
    to_name: str
    data_key: str
    labels: tuple[str, ...]
    label_map: Mapping[str, str]
    binding: Binding | None = None
    per_region: bool = False

    @property
    def model_labels(self) -> tuple[str, ...]:
        """The labels that the model knows, each once, in the order of the config."""
        return tuple(dict.fromkeys(self.label_map.values()))

    def shown_label(self, model_label: str) -> str | None:
        """The name that people see for a model label: the first that maps to it, or None."""
        return next((shown for shown, known in self.label_map.items() if known == model_label), None)


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """A labelling config: the XML, its control tags in order, its object tags with their data fields.

    fingerprint: hash of all that a model depends on; colours, hotkeys and layout leave it as it is.
    """

    xml: str
    controls: tuple[Control, ...]
    objects: Mapping[str, str]
    fingerprint: str

    @property
    def bound(self) -> tuple[Control, ...]:
        """The controls that a model family serves, in order."""
        return tuple(control for control in self.controls if control.binding is not None)

    def require_bound(self) -> tuple[Control, ...]:
        """`bound`, or `LabelConfigError` that says how to bind a control."""
        if not self.bound:
            names = ", ".join(repr(control.name) for control in self.controls) or "none"
            raise LabelConfigError(
                f"labelling config: no control is bound to a model (controls: {names}); add model_family, for example "
                '<RectangleLabels name="cells" toName="image" model_family="faster_rcnn" model_preset="cbc">'
            )
        return self.bound

    def control(self, name: str) -> Control:
        """The control of that name. Raises `LabelConfigError` that lists the names there are."""
        for control in self.controls:
            if control.name == name:
                return control
        known = ", ".join(repr(control.name) for control in self.controls) or "none"
        raise LabelConfigError(f"labelling config: no control is named {name!r}; controls: {known}")


def parse_label_config(xml: str) -> LabelConfig:
    """Read a labelling config. Raises `LabelConfigError` that lists every fault; entities and DTDs are refused."""
    if not isinstance(xml, str) or not xml.strip():
        found = "nothing" if xml is None or isinstance(xml, str) else type(xml).__name__
        raise LabelConfigError(f"labelling config: found {found}, expected XML such as <View>…</View>")
    return _read(xml)


@lru_cache(maxsize=128)
def _read(xml: str) -> LabelConfig:
    root = _parse(xml)
    faults: list[str] = []
    objects = {tag.attrib["name"]: tag for tag in root.iter() if "name" in tag.attrib and "toName" not in tag.attrib}
    controls = tuple(_control(tag, objects, faults) for tag in root.iter() if _is_control(tag))
    names = [control.name for control in controls]
    faults += [f"control name {name!r} occurs more than once" for name in _repeated(names)]
    if faults:
        raise LabelConfigError("labelling config:\n" + "\n".join(f"  {fault}" for fault in faults))
    fields = {name: _field(tag) for name, tag in objects.items()}
    return LabelConfig(xml, controls, fields, _fingerprint(controls))


def _parse(xml: str) -> Element:
    if len(xml.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise LabelConfigError(f"labelling config: found {len(xml)} characters, expected at most {MAX_BYTES} bytes")
    try:
        root: Element = ElementTree.fromstring(xml, forbid_dtd=True)
    except DefusedXmlException as error:
        raise LabelConfigError(
            f"labelling config: found a document type or entity ({type(error).__name__}), which is refused; "
            "write the text itself instead"
        ) from None
    except (ParseError, ValueError) as error:
        raise LabelConfigError(f"labelling config: not well-formed XML: {error}") from None
    return root


def _is_control(tag: Element) -> bool:
    return "toName" in tag.attrib or any(name.startswith("model_") for name in tag.attrib if name != "model_label")


def _control(tag: Element, objects: Mapping[str, Element], faults: list[str]) -> Control:
    attributes = tag.attrib
    name = attributes.get("name", "")
    where = f"<{tag.tag} name={name!r}>"
    found: list[str] = []
    if not name:
        found.append("has no name attribute")
    labels, label_map = _labels(tag, found)
    binding = _binding(attributes, found)
    to_name = attributes.get("toName", "").strip()
    data_key = _field(objects[to_name]) if to_name in objects else ""
    if binding is not None:
        found += _bound_faults(tag, labels, label_map, objects)
    faults += [f"{where} {fault}" for fault in found]
    per_region = attributes.get("perRegion") == "true"
    return Control(name, KINDS.get(tag.tag, tag.tag.lower()), to_name, data_key, labels, label_map, binding, per_region)


def _labels(tag: Element, found: list[str]) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Labels of a control and their model labels. Label Studio stores a label's alias where it has one."""
    mapping: dict[str, str] = {}
    names: list[str] = []
    for child in tag.iter():
        if child.tag not in _LABEL_TAGS:
            continue
        name = child.attrib.get("alias") or child.attrib.get("value", "")
        if not name:
            found.append(f"has a <{child.tag}> without a value")
            continue
        names.append(name)
        model_label = child.attrib.get("model_label", name).strip()
        if model_label:
            mapping[name] = model_label
    found += [f"has the label {name!r} more than once" for name in _repeated(names)]
    return tuple(dict.fromkeys(names)), mapping


def _bound_faults(
    tag: Element, labels: tuple[str, ...], label_map: Mapping[str, str], objects: Mapping[str, Element]
) -> Iterator[str]:
    if tag.tag not in KINDS:
        yield f"cannot be bound to a model: found <{tag.tag}>, expected one of {', '.join(KINDS)}"
    if tag.attrib.get("perRegion") == "true":
        yield 'cannot be bound to a model with perRegion="true": bind the control that draws the regions'
    if tag.attrib.get("value", "").startswith("$"):
        yield f"takes its labels from the task ({tag.attrib['value']}): a model needs them written in the config"
    if not labels:
        yield "has no labels: add <Label value=…/> (or <Choice value=…/>)"
    elif not label_map:
        yield 'has no label that the model may learn: each has model_label=""'
    yield from _object_faults(tag.attrib.get("toName", "").strip(), objects)


def _object_faults(to_name: str, objects: Mapping[str, Element]) -> Iterator[str]:
    if not to_name:
        yield 'has no toName: expected the name of an <Image>, such as toName="image"'
    elif "," in to_name:
        yield f"names several objects in toName={to_name!r}: a model needs exactly one"
    elif to_name not in objects:
        known = ", ".join(repr(name) for name in objects) or "none"
        yield f"has toName={to_name!r}, but no tag has that name; names: {known}"
    elif objects[to_name].tag != "Image":
        yield f"has toName={to_name!r}, which is <{objects[to_name].tag}>: expected <Image>"
    elif not _field(objects[to_name]):
        found = objects[to_name].attrib.get("value", "")
        yield f'labels <Image name={to_name!r} value={found!r}>: expected the task\'s field, such as value="$image"'


def _field(tag: Element) -> str:
    """The task's field in value="$field", or nothing."""
    value = tag.attrib.get("value", "").strip()
    return value[1:] if value.startswith("$") else ""


def _binding(attributes: Mapping[str, str], found: list[str]) -> Binding | None:
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
        found.append(f"has {name}={text!r}: expected {'a whole number' if kind is int else 'seconds'} >= {least}")
        return None
    return number


def _repeated(names: list[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def _fingerprint(controls: tuple[Control, ...]) -> str:
    """Of what a model learns: family, preset, options, labels and where the image is; not of the training policy."""
    bound = [
        {
            "name": control.name,
            "kind": control.kind,
            "data_key": control.data_key,
            "label_map": list(control.label_map.items()),
            "family": control.binding.family,
            "preset": control.binding.preset,
            "options": sorted(control.binding.options.items()),
        }
        for control in controls
        if control.binding is not None
    ]
    return hashlib.sha256(json.dumps(bound, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:16]
