"""A project that people have worked in for long: bound without a change to their labels or annotations."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import tostring

import pytest
from defusedxml import ElementTree

from hemaloop.demo.stack import Stack
from running import Project, hemaloop, regions, wait_for

pytestmark = pytest.mark.label_studio

CONFIG = """<View>
  <!-- agreed on in spring -->
  <Image name="scan" value="$picture"/>
  <Choices name="quality" toName="scan"><Choice value="good"/><Choice value="blurred"/></Choices>
  <RectangleLabels name="zellen" toName="scan" strokeWidth="3">
    <Label value="Rot" background="#f00"/><Label value="Green"/>
    <Label value="Blau &amp; blass"/>
  </RectangleLabels>
</View>"""
SHOWN = {"red": "Rot", "green": "Green", "blue": "Blau & blass"}


@pytest.fixture
def old(stack: Stack, project: Callable[..., Project]) -> Project:
    """Ten tasks, six of them annotated under the project's own names."""
    bound = CONFIG.replace('name="zellen"', 'name="zellen" model_family="stub"')
    made = Project.create(stack, 10, seed=3, xml=bound, data_key="picture")
    made.studio.update_project(made.id, label_config=CONFIG, sampling="Sequential sampling")
    for task_id in list(made.cells)[:6]:
        named = [(x1, y1, x2, y2, SHOWN[colour]) for x1, y1, x2, y2, colour in made.cells[task_id]]
        made.studio.submit_annotation(task_id, regions(named, "zellen", "scan"))
    return made


ATTACH = ("--family", "stub", "--preset", "blobs", "--label", "Rot=red", "--label", "Blau & blass=blue")


def test_without_write_nothing_changes_and_the_plan_is_shown(stack: Stack, old: Project) -> None:
    done = hemaloop(stack, "attach", str(old.id), *ATTACH)
    assert done.returncode == 0, done.stderr
    assert 'model_label="red"' in done.stdout
    assert "6 with annotations" in done.stdout
    assert old.studio.project(old.id).label_config == CONFIG
    assert old.studio.backend(old.id) is None


def test_attach_adds_only_attributes_and_learns_from_what_is_there(stack: Stack, old: Project) -> None:
    annotations = _annotations(old)
    done = hemaloop(stack, "attach", str(old.id), *ATTACH, "--write")
    assert done.returncode == 0, done.stderr
    written = old.studio.project(old.id).label_config
    assert _without_model(written) == _without_model(CONFIG)
    assert "<!-- agreed on in spring -->" in written
    wait_for(lambda: old.store.versions(old.key, "zellen"), "a training from the annotations that were there")
    old.idle()
    manifest = old.store.manifest(old.key, "zellen", old.store.versions(old.key, "zellen")[0])
    assert len(manifest.annotations) == 6
    assert _annotations(old) == annotations

    open_task = next(iter(old.studio.tasks(old.id, only="unannotated")))
    shown = {region["value"]["rectanglelabels"][0] for region in open_task["predictions"][0]["result"]}
    assert shown <= set(SHOWN.values())

    again = hemaloop(stack, "attach", str(old.id), *ATTACH, "--write")
    assert "bound so already" in again.stdout
    assert old.studio.project(old.id).label_config == written


def test_another_binding_is_not_overwritten(stack: Stack, old: Project) -> None:
    assert hemaloop(stack, "attach", str(old.id), *ATTACH, "--write").returncode == 0
    other = hemaloop(stack, "attach", str(old.id), "--family", "stub", "--preset", "bare", "--write")
    assert other.returncode == 1
    assert "nothing is overwritten" in other.stderr
    old.idle()


def _annotations(made: Project) -> list[dict[str, object]]:
    found = [annotation for task in made.studio.tasks(made.id) for annotation in task["annotations"]]
    return [{key: value for key, value in annotation.items() if key != "created_ago"} for annotation in found]


def _without_model(xml: str) -> str:
    root = ElementTree.fromstring(xml)
    for tag in root.iter():
        for name in [name for name in tag.attrib if name.startswith("model_")]:
            del tag.attrib[name]
    return tostring(root, encoding="unicode")
