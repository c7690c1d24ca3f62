"""Binding a labelling config: attributes are added, and nothing else changes."""

from __future__ import annotations

import pytest

import stub_plugin
from hemaloop.attach import Wish, bind
from hemaloop.errors import LabelConfigError
from hemaloop.labelconfig import parse_label_config

CONFIG = """<View>
  <!-- <RectangleLabels name="cells"> in a comment is not a tag -->
  <Image name='img'   value="$scan"/>
  <Choices name="ok" toName="img"><Choice value="red"/></Choices>
  <RectangleLabels name="cells" toName="img"
                   strokeWidth="3">
    <Label value="Reds" background="é"/><Label value="green"/>
    <Label value="a &lt; b"/>
  </RectangleLabels>
</View>"""


@pytest.fixture(autouse=True)
def _stub(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_plugin.install(monkeypatch)


def test_only_attributes_are_added() -> None:
    after = bind(CONFIG, Wish("stub", "blobs", labels={"a < b": "blue"})).after
    for added in (' model_family="stub"', ' model_preset="blobs"', ' model_label="red"', ' model_label="blue"'):
        assert after.count(added) == 1
        after = after.replace(added, "")
    assert after == CONFIG


def test_labels_that_differ_in_case_or_plural_are_recognised_and_others_are_named() -> None:
    bound = bind(CONFIG, Wish("stub", "blobs"))
    assert bound.control.label_map == {"Reds": "red", "green": "green", "a < b": "a < b"}
    assert any("a < b" in note for note in bound.notes)


def test_binding_again_changes_nothing() -> None:
    wish = Wish("stub", "blobs", options={"epochs": "3"}, starter=False)
    once = bind(CONFIG, wish)
    assert once.changed
    assert not bind(once.after, wish).changed
    assert once.control.binding is not None
    assert once.control.binding.options == {"epochs": "3"}
    assert not once.control.binding.starter


def test_what_is_there_is_never_overwritten() -> None:
    bound = bind(CONFIG, Wish("stub", "blobs")).after
    with pytest.raises(LabelConfigError, match="nothing is overwritten"):
        bind(bound, Wish("stub", "bare"))
    with pytest.raises(LabelConfigError, match="nothing is overwritten"):
        bind(bound, Wish("stub"))
    with pytest.raises(LabelConfigError, match="nothing is overwritten"):
        bind(bound, Wish("stub", "blobs", labels={"Reds": "green"}))


def test_the_training_policy_of_a_config_stays() -> None:
    xml = CONFIG.replace("strokeWidth", 'model_family="stub" model_train="off" strokeWidth')
    assert parse_label_config(bind(xml, Wish("stub")).after).control("cells").binding is not None


def test_an_empty_model_label_keeps_a_label_from_the_model() -> None:
    bound = bind(CONFIG, Wish("stub", "blobs", labels={"a < b": ""}))
    assert bound.control.label_map == {"Reds": "red", "green": "green"}


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        (Wish("stub", control="ok"), "ok"),
        (Wish("stub", control="none"), "no control is named 'none'"),
        (Wish("stub", "unknown"), "presets: 'blobs', 'bare'"),
        (Wish("stub", labels={"Purple": "red"}), "'Purple'"),
        (Wish("stub", options={"epochs": "many"}), "epochs"),
    ],
)
def test_a_wish_that_does_not_fit_is_named(wish: Wish, named: str) -> None:
    with pytest.raises(LabelConfigError, match=named):
        bind(CONFIG, wish)


def test_a_choice_among_several_controls_is_left_to_people() -> None:
    second = CONFIG.replace(
        "</View>", '<RectangleLabels name="more" toName="img"><Label value="x"/></RectangleLabels></View>'
    )
    with pytest.raises(LabelConfigError, match=r"'cells', 'more'.*--control"):
        bind(second, Wish("stub"))
