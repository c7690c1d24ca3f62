"""Pascal VOC: one XML file an image, boxes as xmin ymin xmax ymax in px.

The corners are taken as they stand: the tools that write such files today (LabelImg among them) mean edges, not the
inclusive pixel indices counted from 1 of the original challenge. An object named "Uncategorised" is neither an object
nor background, as in Label Studio's exports.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from hemaloop.formats.items import Corners, Fault, Raw, Source, index_by_name, pictures_in

IGNORED = "Uncategorised"
"""Name of objects that nobody could name: an ignore region."""
_IMAGE_FOLDERS = ("Images", "JPEGImages", "images", ".")


def recognises(path: Path) -> bool:
    """Whether it is a folder with Annotations/*.xml or with *.xml in it."""
    return path.is_dir() and (any((path / "Annotations").glob("*.xml")) or any(path.glob("*.xml")))


def read(path: Path, images: Path | None) -> Source:
    """Every XML file with the image of the same name (or the name it gives); images without an XML file are faults."""
    nested = path / "Annotations"
    annotations = sorted(nested.glob("*.xml")) or sorted(path.glob("*.xml"))
    folders = [images] if images else [path / name for name in _IMAGE_FOLDERS]
    by_name = index_by_name(folders)
    by_stem = {Path(name).stem: found for name, found in by_name.items()}
    raws, faults = [], []
    for annotation in annotations:
        try:
            root = fromstring(annotation.read_bytes())
        except DefusedXmlException:
            faults.append(Fault(annotation, "declares XML entities, which are refused; image left out"))
            continue
        except (ParseError, UnicodeError, OSError, ValueError) as error:
            faults.append(Fault(annotation, f"is not readable XML ({error}); image left out"))
            continue
        wanted = Path((root.findtext("filename") or "").strip().replace("\\", "/")).name
        image = by_stem.get(annotation.stem) or by_name.get(wanted)
        boxes, ignore = [], []
        for position, found in enumerate(root.findall("object")):
            box, complaint = _box(found)
            if box is None:
                faults.append(Fault(annotation, f"object {position} {complaint}; left out"))
            elif box[0] == IGNORED:
                ignore.append(box[1])
            else:
                boxes.append(box)
        named = wanted or f"{annotation.stem}.jpg"
        raws.append(Raw(annotation, image, boxes, size=_size(root), wanted=named, ignore=ignore))
    faults += list(_without_annotation(folders, raws, {annotation.stem for annotation in annotations}))
    labels = sorted({name for raw in raws for name, _ in raw.boxes})
    return Source(labels, raws, faults)


def _without_annotation(folders: list[Path], raws: list[Raw], annotated: set[str]) -> Iterator[Fault]:
    used = {raw.image for raw in raws}
    for folder in folders:
        for picture in pictures_in(folder):
            if picture not in used and picture.stem not in annotated:
                yield Fault(picture, "has no annotation file; image left out")


def _box(found: Element) -> tuple[tuple[str, Corners] | None, str]:
    name = (found.findtext("name") or "").strip()
    if not name:
        return None, "has no name"
    texts = [found.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x1, y1, x2, y2 = (float(text or "") for text in texts)
    except ValueError:
        return None, f"({name}) has the corners {texts}, expected four numbers"
    return (name, (x1, y1, x2, y2)), ""


def _size(root: Element) -> tuple[int, int] | None:
    try:
        return int(float(root.findtext("size/width") or "")), int(float(root.findtext("size/height") or ""))
    except (ValueError, OverflowError):
        return None
