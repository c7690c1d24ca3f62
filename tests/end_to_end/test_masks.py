"""A project of masks without a label: red cells are masked, with what was measured beside them."""

from __future__ import annotations

import pytest

from hemaloop.annotations import read_result
from hemaloop.demo.stack import Stack
from hemaloop.labelconfig import parse_label_config
from hemaloop.plugin import ClassMap
from hemaloop.project_setup import shipped_config
from hemaloop_overlap_unet import OverlapUNet
from running import Project

pytestmark = pytest.mark.label_studio

VERSION = f"overlap_unet-rbc_overlap_classical-starter-{OverlapUNet.version}"


def test_tasks_have_masks_and_a_cell_count_before_anybody_labelled(stack: Stack) -> None:
    xml = shipped_config("rbc_overlap").replace('"rbc_overlap"', '"rbc_overlap_classical"')
    made = Project.create(stack, 3, seed=0, xml=xml)
    made.connect()
    made.wait_until_scored(VERSION)
    found = [one for task in made.studio.tasks(made.id) for one in task["predictions"]]
    assert found
    result = found[0]["result"]
    assert {region["type"] for region in result} >= {"brushlabels", "textarea"}
    (control,) = parse_label_config(xml).bound
    mask = next(region for region in result if region["type"] == "brushlabels")
    truth, faults = read_result(result, control, mask["original_width"], mask["original_height"])
    assert isinstance(truth, ClassMap)
    assert not faults
    assert truth.labels.any()
