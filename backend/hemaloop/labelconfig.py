"""A labelling config's XML read as what it binds: controls, their labels, and the model families behind them.

    <RectangleLabels name="cells" toName="image" model_family="faster_rcnn" model_preset="cbc"
                     model_option_nms_iou="0.45" model_min_new_annotations="20">
      <Label value="Red cell" model_label="RBC"/>
      <Label value="Dirt" model_label=""/>
      <Label value="Uncategorised" model_ignore="true"/>
    </RectangleLabels>
    <Taxonomy name="look" toName="image" perRegion="true" model_review="cells">
      <Choice value="Uncertain class" color="red"/>
      <Choice value="Look again" color="red" model_label=""/>
    </Taxonomy>

A control with `model_family` is bound; `binding` knows what else its attributes say. `model_label` gives a label the
name that the model knows it by; the empty name keeps a label away from the model: what it marks is background to it.
What a label with `model_ignore` marks is neither an object nor background. Several labels may share one model label:
truth of either counts, and a prediction is shown with the first.

Choices with `perRegion` are bound to a family of classes by naming, in `model_regions`, the bound control whose regions
they are about: those boxes, cut out, are what the family is asked about and learns from. Label Studio's own
`whenLabelValue` says which labels of it the choice is for.

    <Choices name="diagnosis" toName="image" perRegion="true" whenLabelValue="White cell"
             model_family="leukemia_ensemble" model_regions="cells"> … </Choices>

A taxonomy with `model_review` marks the regions of the bound control that it names, where the model asks for a second
look: with the choice whose `model_label`, or own name, is how the reason begins, and with the one whose `model_label`
is empty for any other reason. A marked region takes the choice's colour; its marks are never truth.

    <TextArea name="measured" toName="image" editable="false" model_measurements="cells"/>

A text area with `model_measurements` shows what the model of the control that it names measured on the image, such as
the number of cells. It is never truth.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from hemaloop.binding import Binding, read_binding
from hemaloop.errors import LabelConfigError
from hemaloop.heat import EXPLAINS, HeatControl, heat_faults
from hemaloop.regions import regions_faults
from hemaloop.review import ReviewControl

__all__ = ["KINDS", "Binding", "Control", "LabelConfig", "parse_label_config"]

KINDS: Mapping[str, str] = MappingProxyType(
    {"RectangleLabels": "rectanglelabels", "BrushLabels": "brushlabels", "Choices": "choices"}
)
"""Tags that can be bound to a family, and the `type` of the regions that they hold."""

MAX_BYTES = 2**20
_LABEL_TAGS = frozenset({"Label", "Choice"})
_REVIEW = "model_review"
_MEASUREMENTS = "model_measurements"
_IGNORE = "model_ignore"
_IN_THE_IMAGE = frozenset({"rectanglelabels", "brushlabels"})


@dataclass(frozen=True, slots=True)
class Control:
    """One control tag.

    kind: type of its regions, such as "rectanglelabels". data_key: field of the task that holds the image.
    labels: names that people see, in order. label_map: model label of each label that the model learns.
    per_region: a choice made about each region, not about the image. ignored: labels of regions that are neither an
    object nor background. review: the control that marks its regions, None where there is none. about: labels of the
    regions that a choice about each region is for, all if empty. heat: the control that shows where its class was seen.
    measured: the name of the text area that shows what its model measured, None where there is none.
    """

    name: str
    kind: str
    to_name: str
    data_key: str
    labels: tuple[str, ...]
    label_map: Mapping[str, str]
    binding: Binding | None = None
    per_region: bool = False
    ignored: tuple[str, ...] = ()
    review: ReviewControl | None = None
    about: tuple[str, ...] = ()
    heat: HeatControl | None = None
    measured: str | None = None

    @property
    def regions(self) -> str | None:
        """The control whose regions this one says something about, None where it is about the image as a whole."""
        return self.binding.regions if self.binding is not None else None

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

    fingerprint: hash of all that a model depends on; colours, hotkeys and layout leave it as it is. smart: some control
    has smart="true", so annotators can ask the model about a place.
    """

    xml: str
    controls: tuple[Control, ...]
    objects: Mapping[str, str]
    fingerprint: str
    smart: bool = False

    @property
    def bound(self) -> tuple[Control, ...]:
        """The controls that a model family serves, in order."""
        return tuple(control for control in self.controls if control.binding is not None)

    @property
    def spreads(self) -> bool:
        """Whether images are spread over the pool: some bound control asks for it."""
        return any(control.binding.spread for control in self.bound if control.binding is not None)

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
    tags = [tag for tag in root.iter() if _is_control(tag)]
    controls = _with_reviews(tags, [_control(tag, objects, faults) for tag in tags], faults)
    controls = _with_heat(tags, controls, faults)
    for control in controls:
        faults += [f"control {control.name!r} {fault}" for fault in regions_faults(control, controls)]
    controls = _with_measurements(tags, controls, faults)
    names = [control.name for control in controls]
    faults += [f"control name {name!r} occurs more than once" for name in _repeated(names)]
    if faults:
        raise LabelConfigError("labelling config:\n" + "\n".join(f"  {fault}" for fault in faults))
    fields = {name: _field(tag) for name, tag in objects.items()}
    smart = any(tag.attrib.get("smart") == "true" for tag in tags)
    return LabelConfig(xml, controls, fields, _fingerprint(controls), smart)


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
    of_a_label = ("model_label", _IGNORE)
    return "toName" in tag.attrib or any(name.startswith("model_") for name in tag.attrib if name not in of_a_label)


def _control(tag: Element, objects: Mapping[str, Element], faults: list[str]) -> Control:
    attributes = tag.attrib
    name = attributes.get("name", "")
    where = f"<{tag.tag} name={name!r}>"
    found: list[str] = []
    if not name:
        found.append("has no name attribute")
    labels, label_map, ignored = _labels(tag, found)
    serves_another = any(name in attributes for name in (_REVIEW, EXPLAINS, _MEASUREMENTS))
    binding = None if serves_another else read_binding(attributes, found)
    to_name = attributes.get("toName", "").strip()
    data_key = _field(objects[to_name]) if to_name in objects else ""
    if binding is not None:
        found += _bound_faults(tag, labels, label_map, objects)
    faults += [f"{where} {fault}" for fault in found]
    per_region = attributes.get("perRegion") == "true"
    kind = KINDS.get(tag.tag, tag.tag.lower())
    about = tuple(filter(None, (label.strip() for label in attributes.get("whenLabelValue", "").split(","))))
    return Control(name, kind, to_name, data_key, labels, label_map, binding, per_region, ignored, about=about)


def _with_reviews(tags: list[Element], controls: list[Control], faults: list[str]) -> tuple[Control, ...]:
    """The controls, each with the control that marks its regions."""
    reviews: dict[str, ReviewControl] = {}
    for tag, control in zip(tags, controls, strict=True):
        if _REVIEW not in tag.attrib:
            continue
        marked = tag.attrib[_REVIEW].strip()
        found = list(_review_faults(tag, control, {one.name: one for one in controls if one.binding is not None}))
        if marked in reviews:
            found.append(f"marks {marked!r}, which {reviews[marked].name!r} marks already")
        faults += [f"<{tag.tag} name={control.name!r}> {fault}" for fault in found]
        reviews[marked] = ReviewControl(control.name, {one: control.label_map.get(one, "") for one in control.labels})
    return tuple(replace(control, review=reviews.get(control.name)) for control in controls)


def _with_heat(tags: list[Element], controls: tuple[Control, ...], faults: list[str]) -> tuple[Control, ...]:
    """The controls, each with the control that shows where its class was seen."""
    shown: dict[str, HeatControl] = {}
    for tag, control in zip(tags, controls, strict=True):
        if EXPLAINS not in tag.attrib:
            continue
        found = heat_faults(tag.tag, tag.attrib, control, controls)
        faults += [f"<{tag.tag} name={control.name!r}> {fault}" for fault in found]
        if not found:
            shown[tag.attrib[EXPLAINS].strip()] = HeatControl(control.name, control.labels[0])
    return tuple(replace(control, heat=shown.get(control.name)) for control in controls)


def _with_measurements(tags: list[Element], controls: tuple[Control, ...], faults: list[str]) -> tuple[Control, ...]:
    """The controls, each with the text area that shows what its model measured."""
    measured: dict[str, str] = {}
    bound = [control.name for control in controls if control.binding is not None]
    for tag, control in zip(tags, controls, strict=True):
        if _MEASUREMENTS not in tag.attrib:
            continue
        where, named = f"<{tag.tag} name={control.name!r}>", tag.attrib[_MEASUREMENTS].strip()
        if named not in bound:
            known = ", ".join(map(repr, bound)) or "none"
            faults.append(
                f"{where} has {_MEASUREMENTS}={named!r}: expected the name of a bound control; bound: {known}"
            )
        if tag.tag != "TextArea" or control.per_region:
            faults.append(f"{where} has {_MEASUREMENTS}: expected a <TextArea> about the image, without perRegion")
        if named in measured:
            faults.append(f"{where} shows what {measured[named]!r} shows already")
        measured[named] = control.name
    return tuple(replace(control, measured=measured.get(control.name)) for control in controls)


def _review_faults(tag: Element, control: Control, bound: Mapping[str, Control]) -> Iterator[str]:
    marked = bound.get(tag.attrib[_REVIEW].strip())
    if marked is None:
        known = ", ".join(map(repr, bound)) or "none"
        yield f"has {_REVIEW}={tag.attrib[_REVIEW]!r}: expected the name of a bound control; bound: {known}"
    elif marked.kind not in _IN_THE_IMAGE:
        yield f"marks {marked.name!r}, which holds {marked.kind}: expected a control that draws regions"
    elif control.to_name != marked.to_name:
        yield f"marks {marked.name!r}: expected its toName={marked.to_name!r}"
    if tag.tag != "Taxonomy" or not control.per_region:
        yield f'has {_REVIEW}: expected <Taxonomy perRegion="true">, which colours a region and is not drawn with'
    if not control.labels:
        yield "has no choices: add <Choice value=… color=…/>, one for each reason to look again"
    others = [name for name in tag.attrib if name.startswith("model_") and name != _REVIEW]
    if others:
        yield f"marks the regions of another control and cannot have {', '.join(others)}"


def _labels(tag: Element, found: list[str]) -> tuple[tuple[str, ...], Mapping[str, str], tuple[str, ...]]:
    """Labels of a control, the model labels of those that are learned, and those whose regions are left out of both
    objects and background. Label Studio stores a label's alias where it has one."""
    mapping: dict[str, str] = {}
    names: list[str] = []
    ignored: list[str] = []
    for child in tag.iter():
        if child.tag not in _LABEL_TAGS:
            continue
        name = child.attrib.get("alias") or child.attrib.get("value", "")
        if not name:
            found.append(f"has a <{child.tag}> without a value")
            continue
        names.append(name)
        if _IGNORE in child.attrib:
            found += _ignore_faults(tag, child, name)
            ignored.append(name)
            continue
        model_label = child.attrib.get("model_label", name).strip()
        if model_label:
            mapping[name] = model_label
    found += [f"has the label {name!r} more than once" for name in _repeated(names)]
    return tuple(dict.fromkeys(names)), mapping, tuple(dict.fromkeys(ignored))


def _ignore_faults(tag: Element, label: Element, name: str) -> Iterator[str]:
    if label.attrib[_IGNORE] != "true":
        yield f"has the label {name!r} with {_IGNORE}={label.attrib[_IGNORE]!r}: expected 'true', or no {_IGNORE}"
    if label.attrib.get("model_label"):
        yield f"has the label {name!r} with both model_label and {_IGNORE}: it is learned or left out, not both"
    if tag.tag != "RectangleLabels":
        yield f"has the label {name!r} with {_IGNORE}: found <{tag.tag}>, expected <RectangleLabels>"


def _bound_faults(
    tag: Element, labels: tuple[str, ...], label_map: Mapping[str, str], objects: Mapping[str, Element]
) -> Iterator[str]:
    if tag.tag not in KINDS:
        yield f"cannot be bound to a model: found <{tag.tag}>, expected one of {', '.join(KINDS)}"
    if tag.attrib.get("perRegion") == "true" and not tag.attrib.get("model_regions"):
        yield (
            'cannot be bound to a model with perRegion="true" alone: name the bound control that draws the regions, '
            'such as model_regions="cells"'
        )
    if tag.attrib.get("value", "").startswith("$"):
        yield f"takes its labels from the task ({tag.attrib['value']}): a model needs them written in the config"
    if not labels:
        yield "has no labels: add <Label value=…/> (or <Choice value=…/>)"
    elif not label_map:
        yield 'has no label that the model may learn: each has model_label="" or model_ignore'
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
            **({"ignored": control.ignored} if control.ignored else {}),
            **({"regions": control.regions, "about": control.about} if control.regions else {}),
        }
        for control in controls
        if control.binding is not None
    ]
    return hashlib.sha256(json.dumps(bound, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:16]
