"""What people have labelled in a project, as files that `hemaloop train` and other programs read.

collect        annotated tasks -> truth, split, the version that pre-labelled each, image files, one at a time
label_studio   Label Studio's own JSON, all controls       coco   boxes, or the regions of masks
voc            boxes as XML, masks as PNG                  folder written whole or not at all

Beside the annotations each format has the image files and ``tasks.csv``: task, file, split, version, annotators.
"""

from __future__ import annotations

from hemaloop.export.folder import Format, Order, Outcome, export

__all__ = ["Format", "Order", "Outcome", "export"]
