"""Both rounds of the loop without a person, with a family that trains in a second."""

from __future__ import annotations

import io
import secrets

import numpy as np
import pytest
from rich.console import Console

import stub_plugin
from hemaloop.demo.loop import Loop
from hemaloop.demo.report import Report
from hemaloop.demo.smears import Collection, Smear
from hemaloop.demo.stack import Stack
from hemaloop.formats import Item
from hemaloop.images import image_key
from running import HEIGHT, WIDTH, write_images

pytestmark = pytest.mark.label_studio


def _collection(stack: Stack, count: int) -> Collection:
    folder = stack.images / f"loop-{secrets.token_hex(4)}"
    smears = []
    for index, cells in enumerate(write_images(folder, count, seed=5)):
        path = folder / f"{index:03d}.png"
        boxes = np.asarray([cell[:4] for cell in cells], np.float32)
        item = Item(path, boxes, tuple(cell[4] for cell in cells), image_key(path.read_bytes()), WIDTH, HEIGHT)
        smears.append(Smear(path.name, item))
    return Collection("stub", folder, tuple(smears))


def test_two_rounds_are_seen_in_label_studio_from_the_first_annotation_to_the_next_task(stack: Stack) -> None:
    console = Console(file=io.StringIO(), width=150)
    report = Report(console)
    xml = stub_plugin.config("bare").replace("model_preset", 'model_min_new_annotations="10" model_preset')
    Loop(stack, _collection(stack, 25), report, xml=xml, train_seconds=300.0).run()
    assert report.ok
    assert len(report.steps) == 11
    seen = "\n".join(line for step in report.steps for line in step.seen)
    assert "each of the 10 was the most relevant one left when it was handed out" in seen
    assert "promoted: mAP" in seen


def test_a_round_without_gate_images_goes_on_until_there_are_some(stack: Stack) -> None:
    """Few tasks a round, so that chance alone does not bring the gate images that a first model needs."""
    report = Report(Console(file=io.StringIO()))
    xml = stub_plugin.config("bare").replace("model_preset", 'model_min_new_annotations="2" model_preset')
    loop = Loop(stack, _collection(stack, 20), report, xml=xml, train_seconds=300.0)
    loop.size = 2
    loop.run()
    assert report.ok
