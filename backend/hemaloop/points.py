"""A point on a cell becomes a box round the cell, by segmentation; stained cells without a point become ignore regions.

    image -> what is stained -> candidate cells -> the points' cells -> boxes; the other cells -> ignore regions

Cells are told from the background by their stain, and from one another where the stained area has a waist. A point
round which no sound cell is found gets a square of usual size. A cell that nobody pointed at has not been labelled: it
becomes an ignore region, so that it is taught neither as a cell nor as background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

from hemaloop.plugin import Image
from hemaloop.stain import Cells, candidate_cells, stained

FloatArray = NDArray[np.float64]

USUAL_SIDE = 39.0
"""px, of a red cell on a picture 480 px high: measured on chula_rbc12."""
_USUAL_HEIGHT = 480
_WORKING_SIDE = 39.0
"""px. A picture with larger cells is made smaller until they have this side: more pixels would only cost time."""
_SOUND = (0.5, 1.8)
"""Sides of a cell that are believed, in usual sides."""
_CUT_OFF_SIDE = 0.15
"""The shortest side believed of a cell that the edge of the picture cuts off, in usual sides."""
_BESIDE = 0.3
"""How far beside its cell a point may lie, in usual sides."""
_HALF = 0.55
"""Half a cell, in usual sides: how far a cell reaches from its point where it cannot be told from its neighbours."""
_OVERLAP = 0.2
"""How far such cells may lie on one another, in usual sides."""
_UNLABELLED = 0.25
"""Area from which something stained is a cell, of a usual cell's: platelets and dirt are smaller."""
_CUT_OFF_AREA = 0.1
"""The same at the edge of the picture."""
_ENOUGH = 5
"""Cells from which the usual size is measured on the picture itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Outlined:
    """Boxes round points. boxes: float32 (N, 4) px inside the image, one a point, in their order.

    guessed: bool (N,), whether a box is only a square of usual size. ignore: float32 (K, 4) px, cells without a point.
    """

    boxes: NDArray[np.float32]
    guessed: NDArray[np.bool_]
    ignore: NDArray[np.float32]


def usual_side(height: int, width: int) -> float:
    """Side in px of a cell on a picture of this size, where nothing else is known of it."""
    return USUAL_SIDE * min(height, width) / _USUAL_HEIGHT


def outline(image: Image, points: FloatArray, side: float | None = None) -> Outlined:
    """Boxes round points (N, 2), x and y in px inside the image, and the cells that no point marks.

    side: of a usual cell in px; `usual_side` if None. It may be wrong by half where the picture has some cells alone,
    on which it is measured.
    """
    height, width = image.shape[:2]
    side = usual_side(height, width) if side is None else side
    zoom = min(1.0, _WORKING_SIDE / side)
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    small = image if zoom == 1.0 else np.asarray(Pillow.fromarray(image).resize(size, Pillow.Resampling.BOX))
    scale = np.array([size[0] / width, size[1] / height] * 2)  # from px of the image to px of `small`
    boxes, guessed, ignore = _outline(small, points.reshape(-1, 2) * scale[:2], side * zoom)
    corners = np.array([width, height] * 2)
    full = [np.asarray((each / scale).clip(0, corners), np.float32) for each in (boxes, ignore)]
    return Outlined(full[0], guessed, full[1])


def _outline(image: Image, points: FloatArray, side: float) -> tuple[FloatArray, NDArray[np.bool_], FloatArray]:
    """Boxes (N, 4), which of them are guessed (N,), and ignore regions (K, 4), in px of `image`."""
    cells = candidate_cells(stained(image, side), side)
    owner = np.array([_cell_at(cells, x, y, _BESIDE * side) for x, y in points], np.int64)  # (N,), 0: no cell
    usual = _usual_here(cells, owner, side)
    half = np.array([-usual, -usual, usual, usual]) / 2
    boxes = np.tile(points, 2) + half  # (N, 4)
    guessed = np.ones(len(points), bool)
    left = cells.copy()
    windows = ndimage.find_objects(cells)
    for number in np.unique(owner[owner > 0]):
        members = np.flatnonzero(owner == number)
        rows, columns = _pixels(cells, number, windows[number - 1])
        shares = _shares(rows, columns, points[members], usual, cells.shape)
        left[rows[shares.any(axis=0)], columns[shares.any(axis=0)]] = 0
        _drop_slivers(left[windows[number - 1]], int(number), usual)
        for member, share in zip(members, shares, strict=True):
            box = _extent(rows[share], columns[share])
            if _sound(box, usual, cells.shape):
                boxes[member], guessed[member] = box, False
    return boxes, guessed, _unlabelled(left, usual)


def _pixels(cells: Cells, number: int, window: tuple[slice, slice]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows (n,) and columns (n,) of a candidate cell; window: where it lies."""
    rows, columns = np.nonzero(cells[window] == number)
    return rows + window[0].start, columns + window[1].start


def _cell_at(cells: Cells, x: float, y: float, reach: float) -> int:
    """Number of the candidate cell at a point, or of the nearest one within `reach` px; 0 where there is none."""
    top, left = max(0, int(y - reach)), max(0, int(x - reach))
    window = cells[top : int(y + reach) + 1, left : int(x + reach) + 1]
    rows, columns = np.nonzero(window)
    if not len(rows):
        return 0
    away = np.hypot(rows + top + 0.5 - y, columns + left + 0.5 - x)
    nearest = int(away.argmin())
    return int(window[rows[nearest], columns[nearest]]) if away[nearest] <= reach + 0.5 else 0


def _usual_here(cells: Cells, owner: NDArray[np.int64], side: float) -> float:
    """Median side in px of the cells with one point on this picture; `side` where they are few or of odd sizes."""
    numbers, counts = np.unique(owner[owner > 0], return_counts=True)
    areas = np.bincount(cells.ravel())[numbers[counts == 1]]
    sides = np.sqrt(areas * 4 / np.pi)  # a disc of this area is as wide
    likely = sides[(sides > side / 2) & (sides < side * 1.5)]
    return float(np.median(likely)) if len(likely) >= _ENOUGH else side


def _shares(
    rows: NDArray[np.intp], columns: NDArray[np.intp], points: FloatArray, usual: float, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Which pixels (n,) of one stained area belong to each of the P points on it: (P, n).

    One point has all of it, if it is no larger than a cell. Otherwise each has what lies within half a cell of it, and
    not much nearer to another.
    """
    if len(points) == 1 and _sound(_extent(rows, columns), usual, shape):
        return np.ones((1, len(rows)), bool)
    away = np.hypot(rows + 0.5 - points[:, 1:], columns + 0.5 - points[:, :1])  # (P, n)
    return np.asarray((away <= _HALF * usual) & (away <= away.min(axis=0) + _OVERLAP * usual))


def _extent(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> FloatArray:
    """The box round pixels; of no pixel, a box without area."""
    if not len(rows):
        return np.zeros(4)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float64)


def _sound(box: FloatArray, usual: float, shape: tuple[int, ...]) -> bool:
    """Whether a box may be that of one cell."""
    at_edge = box[0] <= 0 or box[1] <= 0 or box[2] >= shape[1] or box[3] >= shape[0]
    sides = np.array([box[2] - box[0], box[3] - box[1]]) / usual
    least = _CUT_OFF_SIDE if at_edge else _SOUND[0]
    return bool(sides.min() >= least and sides.max() <= _SOUND[1])


def _drop_slivers(left: Cells, number: int, usual: float) -> None:
    """Take from `left` what lies between and round labelled cells of one stained area, and is too small for a cell."""
    parts, count = ndimage.label(left == number)
    sliver = np.bincount(parts.ravel(), minlength=count + 1) < _UNLABELLED * np.pi / 4 * usual**2
    left[sliver[parts] & (parts > 0)] = 0


def _unlabelled(left: Cells, usual: float) -> FloatArray:
    """Boxes (K, 4) of what is left of the candidate cells and large enough to be a cell."""
    height, width = left.shape
    areas = np.bincount(left.ravel()) / (np.pi / 4 * usual**2)  # in usual cells
    boxes = []
    for number, window in enumerate(ndimage.find_objects(left), 1):
        if window is None:
            continue
        (top, bottom), (start, end) = ((each.start, each.stop) for each in window)
        at_edge = top == 0 or start == 0 or bottom == height or end == width
        if areas[number] >= (_CUT_OFF_AREA if at_edge else _UNLABELLED):
            boxes.append((start, top, end, bottom))
    return np.array(boxes, np.float64).reshape(-1, 4)
