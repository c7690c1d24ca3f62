"""The demo's project in Label Studio: made once per folder of images, found again afterwards."""

from __future__ import annotations

import time
from urllib.parse import quote
from xml.etree.ElementTree import tostring as write

from defusedxml import ElementTree

from hemaloop import results
from hemaloop.client import Json, LabelStudio, ProjectInfo
from hemaloop.client.transport import SLOW
from hemaloop.demo.smears import Collection, Smear
from hemaloop.demo.stack import Stack
from hemaloop.labelconfig import Control
from hemaloop.project_setup import add_local_storage, create_project, shipped_config

CONFIG = "cbc"
LOOP = "Loop of "


def label_config(**changes: str) -> str:
    """The shipped config with other attributes on the control that it binds; an empty text removes one."""
    root = ElementTree.fromstring(shipped_config(CONFIG))
    bound = next(tag for tag in root.iter() if "model_family" in tag.attrib)
    for name, value in changes.items():
        bound.attrib.pop(name, None)
        if value:
            bound.set(name, value)
    return write(root, encoding="unicode")


def loop_title(collection: Collection) -> str:
    """Of a project that nobody works in."""
    return f"{LOOP}{time.strftime('%Y-%m-%d %H:%M:%S')} ({collection.title})"


def remove_loops(studio: LabelStudio) -> None:
    """Delete what earlier runs without a person left: a worker would go on training their models."""
    for project in studio.projects():
        if project.title.startswith(LOOP):
            studio.request("DELETE", f"/api/projects/{project.id}", timeout=SLOW)


def find_or_create(stack: Stack, collection: Collection, xml: str, title: str) -> tuple[ProjectInfo, dict[int, Smear]]:
    """The project of that title with a task for each image; the image of each task."""
    known = [project for project in stack.studio.projects() if project.title == title]
    project = known[0] if known else create_project(stack.studio, title, xml)
    add_local_storage(stack.studio, project.id, collection.folder, collection.title)
    by_address = {address(stack, collection, smear): smear for smear in collection.smears}
    there = {task["data"]["image"]: task["id"] for task in stack.studio.tasks(project.id, with_annotations=False)}
    missing = [image for image in by_address if image not in there]
    if missing:
        ids = stack.studio.import_tasks(project.id, [{"data": {"image": image}} for image in missing])
        there.update(zip(missing, ids, strict=True))
    return stack.studio.project(project.id), {there[image]: smear for image, smear in by_address.items()}


def address(stack: Stack, collection: Collection, smear: Smear) -> str:
    """Where Label Studio serves the image."""
    path = (collection.folder / smear.name).relative_to(stack.images).as_posix()
    return f"/data/local-files/?d={quote(path)}"


def drawn(smear: Smear, control: Control) -> list[Json]:
    """The smear's true boxes as a person would have drawn them in Label Studio."""
    if smear.truth is None:
        return []
    truth = smear.truth.truth(control.model_labels)
    found = results.regions(truth, control, smear.truth.width, smear.truth.height)
    return [{**{key: value for key, value in region.items() if key != "score"}, "origin": "manual"} for region in found]
