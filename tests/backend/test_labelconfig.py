"""Laws of reading a labelling config."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from hemaloop.errors import LabelConfigError
from hemaloop.labelconfig import parse_label_config

CBC = Path(__file__).parents[2] / "labeling_configs" / "cbc.xml"


def config(control: str, image: str = '<Image name="image" value="$image"/>') -> str:
    return f"<View>{image}{control}</View>"


def bound(attributes: str = "", labels: str = '<Label value="RBC"/>', to_name: str = 'toName="image"') -> str:
    return config(f'<RectangleLabels name="box" {to_name} model_family="f" {attributes}>{labels}</RectangleLabels>')


def fault(xml: object) -> str:
    with pytest.raises(LabelConfigError) as caught:
        parse_label_config(xml)  # type: ignore[arg-type]
    return str(caught.value)


def test_the_cbc_config_binds_boxes_of_three_cells_to_the_detector() -> None:
    (control,) = parse_label_config(CBC.read_text()).require_bound()
    assert (control.kind, control.to_name, control.data_key) == ("rectanglelabels", "image", "image")
    assert control.model_labels == control.labels == ("RBC", "WBC", "Platelets")
    assert control.binding is not None
    assert (control.binding.family, control.binding.preset, control.binding.starter) == ("faster_rcnn", "cbc", True)


def test_every_attribute_of_a_binding_is_read() -> None:
    (control,) = parse_label_config(
        bound(
            'model_preset="p" model_starter="none" model_train="off" model_option_nms="0.4" model_option_a_b="x" '
            'model_min_new_annotations="7" model_min_interval_seconds="1.5" model_order="spread" '
            'model_stop_uncertain_cells="20" model_stop_performance="0.9" model_stop_figure="ap/Teardrop"'
        )
    ).bound
    binding = control.binding
    assert binding is not None
    assert (binding.family, binding.preset, binding.starter, binding.train) == ("f", "p", False, False)
    assert dict(binding.options) == {"nms": "0.4", "a_b": "x"}
    assert (binding.min_new_annotations, binding.min_interval_seconds) == (7, 1.5)
    assert binding.spread
    wishes = (binding.stop_uncertain_cells, binding.stop_performance, binding.stop_figure)
    assert wishes == (20, 0.9, "ap/Teardrop")


def test_a_label_is_known_to_the_model_by_its_model_label() -> None:
    labels = '<Label value="Red cell" model_label="RBC"/><Label value="Ghost" model_label="RBC"/><Label value="WBC"/>'
    (control,) = parse_label_config(bound(labels=labels)).bound
    assert control.labels == ("Red cell", "Ghost", "WBC")
    assert control.model_labels == ("RBC", "WBC")
    assert control.shown_label("RBC") == "Red cell"
    assert control.shown_label("Platelets") is None


def test_an_empty_model_label_keeps_a_label_from_the_model() -> None:
    (control,) = parse_label_config(bound(labels='<Label value="RBC"/><Label value="Dirt" model_label=""/>')).bound
    assert control.labels == ("RBC", "Dirt")
    assert control.model_labels == ("RBC",)


def test_an_alias_is_the_name_that_label_studio_stores() -> None:
    (control,) = parse_label_config(bound(labels='<Label value="Red cell" alias="RBC"/>')).bound
    assert control.labels == ("RBC",)


def test_nested_choices_and_unbound_controls_are_read_in_order() -> None:
    xml = config(
        '<Choices name="diag" toName="image" model_family="e"><View><Choice value="ALL"/></View><Choice value="HEM"/>'
        '</Choices><TextArea name="note" toName="image"/>'
        '<Choices name="kind" toName="image" perRegion="true"><Choice value="a"/></Choices>'
    )
    parsed = parse_label_config(xml)
    assert [(c.name, c.kind, c.per_region) for c in parsed.controls] == [
        ("diag", "choices", False),
        ("note", "textarea", False),
        ("kind", "choices", True),
    ]
    assert [c.name for c in parsed.bound] == ["diag"]
    assert parsed.control("diag").labels == ("ALL", "HEM")
    with pytest.raises(LabelConfigError, match=r"no control is named 'x'.*'diag', 'note', 'kind'"):
        parsed.control("x")


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ("", "found nothing"),
        (None, "found nothing"),
        (7, "found int"),
        ({}, "found dict"),
        ("   ", "found nothing"),
        ("<View>", "not well-formed XML"),
        ("hello", "not well-formed XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>', "document type or entity"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><View/>', "document type or entity"),
        ("<View>" + " " * 2**20 + "</View>", "expected at most"),
        (bound(to_name=""), "has no toName"),
        (bound(to_name='toName="picture"'), "toName='picture', but no tag has that name; names: 'image'"),
        (bound(to_name='toName="image,image2"'), "names several objects"),
        (bound(labels=""), "has no labels"),
        (bound(labels='<Label value="a"/><Label value="a"/>'), "has the label 'a' more than once"),
        (bound(labels="<Label/>"), "has a <Label> without a value"),
        (bound(labels='<Label value="a" model_label=""/>'), "has no label that the model may learn"),
        (bound('value="$labels"'), "takes its labels from the task ($labels)"),
        (bound('model_familly="x"'), "unknown attribute 'model_familly'; known: model_family, model_preset"),
        (bound('model_option_="x"'), "unknown attribute 'model_option_'"),
        (bound('model_train="no"'), "model_train='no': expected one of 'off', 'on'"),
        (bound('model_starter="no"'), "model_starter='no': expected one of 'none', 'preset'"),
        (bound('model_min_new_annotations="0"'), "expected a whole number >= 1"),
        (bound('model_min_new_annotations="many"'), "expected a whole number >= 1"),
        (bound('model_min_interval_seconds="-1"'), "expected seconds >= 0"),
        (bound('model_min_interval_seconds="nan"'), "expected seconds >= 0"),
        (bound('model_order="random"'), "model_order='random': expected one of 'relevance', 'spread'"),
        (bound('model_stop_uncertain_cells="-1"'), "expected a whole number >= 0"),
        (bound('model_stop_performance="90"'), "model_stop_performance='90': expected a number from 0 to 1"),
        (bound('model_stop_performance="nan"'), "expected a number from 0 to 1"),
        (config('<Choices name="c" toName="image" model_preset="p"><Choice value="a"/></Choices>'), "no model_family"),
        (config('<Polygon name="p" toName="image" model_family="f"/>'), "cannot be bound to a model: found <Polygon>"),
        (
            config('<Choices name="c" toName="image" perRegion="true" model_family="f"><Choice value="a"/></Choices>'),
            "name the bound control that draws the regions",
        ),
        (bound().replace('value="$image"', 'value="image"'), "value='image'>: expected the task's field"),
        (bound().replace("<Image", "<Text"), "which is <Text>: expected <Image>"),
        (
            config('<Choices name="a" toName="image"/><Choices name="a" toName="image"/>'),
            "control name 'a' occurs more than once",
        ),
        (config('<Choices toName="image"/>'), "has no name"),
    ],
)
def test_a_faulty_config_is_refused_with_what_was_found(xml: object, expected: str) -> None:
    assert expected in fault(xml)


def test_all_faults_are_told_at_once() -> None:
    message = fault(bound('model_train="no" model_x="1"', labels="", to_name=""))
    assert message.count("\n") == 4


def test_a_config_without_a_binding_can_be_read_and_says_how_to_bind() -> None:
    parsed = parse_label_config(
        config('<RectangleLabels name="box" toName="image"><Label value="a"/></RectangleLabels>')
    )
    assert parsed.bound == ()
    with pytest.raises(LabelConfigError, match=r"'box'.*add model_family"):
        parsed.require_bound()


def test_the_fingerprint_follows_what_a_model_learns_and_nothing_else() -> None:
    base = parse_label_config(bound()).fingerprint
    same = [
        bound('strokeWidth="9"'),
        bound('model_min_new_annotations="3"'),
        bound(labels='<Label value="RBC" background="red"/>'),
    ]
    other = [
        bound('model_option_a="1"'),
        bound('model_preset="p"'),
        bound(labels='<Label value="WBC"/>'),
        bound(labels='<Label value="RBC" model_label="WBC"/>'),
        bound().replace("$image", "$picture"),
    ]
    assert {parse_label_config(xml).fingerprint for xml in same} == {base}
    fingerprints = {parse_label_config(xml).fingerprint for xml in other}
    assert base not in fingerprints
    assert len(fingerprints) == len(other)


def test_a_config_survives_the_way_to_another_process() -> None:
    parsed = parse_label_config(CBC.read_text())
    assert pickle.loads(pickle.dumps(parsed)) == parsed  # noqa: S301
