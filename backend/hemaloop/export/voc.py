"""Pascal VOC: an XML file an image with its boxes; masks as ``masks/*.png`` beside ``images/`` and ``classes.txt``.

``ImageSets/Main/*.txt`` name the images of each split. A box that is neither an object nor background is an object
named as `formats.voc` knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from PIL import Image as Pillow

from hemaloop.export.collect import Exported
from hemaloop.formats.voc import IGNORED
from hemaloop.plugin import ClassMap, Detections

SPLITS = ("train", "tune", "gate")


class Voc:
    """Writes annotations and splits into a folder. masked: the truth is masks."""

    def __init__(self, folder: Path, labels: Sequence[str], source: str, *, masked: bool) -> None:
        self._folder = folder
        self._labels = labels
        self._source = source
        self._masked = masked
        self._splits: dict[str, list[str]] = {split: [] for split in SPLITS}
        (folder / ("masks" if masked else "Annotations")).mkdir()

    @property
    def images(self) -> str:
        """The folder of the image files."""
        return "images" if self._masked else "Images"

    def add(self, one: Exported) -> None:
        """Write what is labelled on one image."""
        self._splits[one.split].append(one.stem)
        found = one.truth.prediction if one.truth is not None else None
        if isinstance(found, ClassMap):
            Pillow.fromarray(found.labels).save(self._folder / "masks" / f"{one.stem}.png")
        elif isinstance(found, Detections):
            root = _annotation(one, found, self._labels, self._source)
            indent(root)
            (self._folder / "Annotations" / f"{one.stem}.xml").write_bytes(tostring(root, encoding="utf-8"))

    def finish(self, about: Mapping[str, Any]) -> None:
        """Write the splits and, for masks, the classes."""
        del about
        if self._masked:
            (self._folder / "classes.txt").write_text("\n".join(self._labels) + "\n", "utf-8")
        sets = self._folder / "ImageSets" / "Main"
        sets.mkdir(parents=True)
        for split, stems in self._splits.items():
            (sets / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems), "utf-8")


def _annotation(one: Exported, found: Detections, labels: Sequence[str], source: str) -> Element:
    root = Element("annotation")
    _say(root, folder="Images", filename=one.file)
    _say(SubElement(root, "source"), database=source)
    _say(SubElement(root, "size"), width=one.width, height=one.height, depth=3)
    _say(root, segmented=0, split=one.split, pre_labelled_by=one.pre_labelled_by or "")
    for box, label in zip(found.boxes.tolist(), found.labels.tolist(), strict=True):
        _object(root, labels[label], box)
    for box in one.truth.ignore.tolist() if one.truth is not None else ():
        _object(root, IGNORED, box)
    return root


def _object(root: Element, name: str, box: Sequence[float]) -> None:
    element = SubElement(root, "object")
    _say(element, name=name, difficult=int(name == IGNORED))
    corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), (round(value, 3) for value in box), strict=True))
    _say(SubElement(element, "bndbox"), **corners)


def _say(parent: Element, **fields: object) -> None:
    for name, value in fields.items():
        SubElement(parent, name).text = str(value)
