"""Pictures for people: boxes on a smear, precision-recall curves, a data set at a glance.

Colours are those of Okabe and Ito, which stay apart for colour-blind readers, in an order that stands out from the
pink of a smear. Figures are made without matplotlib's global state, so that any thread may draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from hemaloop.evaluation.detection import Curve, DetectionReport
from hemaloop.plugin import Detections, Image

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ("-", "--", "-.", ":")


def colour_of(position: int) -> str:
    """The colour of the class at a position; colours repeat after eight."""
    return PALETTE[position % len(PALETTE)]


def _marker(position: int) -> str:
    return _MARKERS[position % len(_MARKERS)]


def draw_detections(
    image: Image, detections: Detections, labels: Sequence[str], *, marked: Sequence[int] = ()
) -> Pillow.Image:
    """A copy of a picture with its boxes, and a legend with the number of each class below it.

    A box carries its score in percent unless it is truth. marked: positions of boxes worth a second look, drawn dashed.
    """
    height, width = image.shape[:2]
    unit = max(1, round(min(width, height) / 320))
    font = ImageFont.load_default(size=max(10, 9 * unit))
    picture = Pillow.fromarray(image).convert("RGB")
    canvas = ImageDraw.Draw(picture)
    is_truth = bool(len(detections)) and bool((detections.scores == 1).all())
    for position in range(len(detections) - 1, -1, -1):  # the surest on top
        x1, y1, x2, y2 = (float(value) for value in detections.boxes[position])
        colour = colour_of(int(detections.labels[position]))
        corners = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1))
        if position in marked:
            _dashed(canvas, corners, colour, unit)
        else:
            canvas.rectangle(corners, outline=colour, width=unit + 1)
        if not is_truth:
            _tag(canvas, (x1, y1), f"{100 * float(detections.scores[position]):.0f}", colour, font)
    return _with_legend(picture, detections, labels, font)


def _dashed(canvas: ImageDraw.ImageDraw, corners: tuple[float, float, float, float], colour: str, unit: int) -> None:
    x1, y1, x2, y2 = corners
    dash = 5 * unit
    for start, end in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
        steps = max(1, math.ceil(math.dist(start, end) / dash))
        points = np.linspace(start, end, steps + 1)
        for step in range(0, steps, 2):
            canvas.line((*points[step], *points[step + 1]), fill=colour, width=unit + 1)


def _tag(
    canvas: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    colour: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    left, top, right, bottom = canvas.textbbox(at, text, font=font)
    canvas.rectangle((left - 1, top - 1, right + 2, bottom + 1), fill=colour)
    canvas.text(at, text, fill=_ink(colour), font=font)


def _ink(colour: str) -> str:
    """Black or white, whichever is legible on a colour (Rec. 709 luminance)."""
    red, green, blue = (int(colour[index : index + 2], 16) for index in (1, 3, 5))
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 110 else "#FFFFFF"


def _with_legend(
    picture: Pillow.Image,
    detections: Detections,
    labels: Sequence[str],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> Pillow.Image:
    line = int(font.getbbox("Ag")[3]) + 8
    entries = [f"{label}  {int((detections.labels == index).sum())}" for index, label in enumerate(labels)]
    widths = [int(font.getlength(entry)) + line + 14 for entry in entries]
    rows: list[list[int]] = [[]]
    for index, wide in enumerate(widths):
        if rows[-1] and sum(widths[other] for other in rows[-1]) + wide > picture.width - 8:
            rows.append([])
        rows[-1].append(index)
    sheet = Pillow.new("RGB", (picture.width, picture.height + line * len(rows) + 6), "#FFFFFF")
    sheet.paste(picture)
    canvas = ImageDraw.Draw(sheet)
    for row, members in enumerate(rows):
        x, y = 8, picture.height + 4 + row * line
        for index in members:
            canvas.rectangle((x, y + 4, x + line - 10, y + line - 6), fill=colour_of(index))
            canvas.text((x + line - 4, y + 1), entries[index], fill="#000000", font=font)
            x += widths[index]
    return sheet


def curves_figure(report: DetectionReport) -> Figure:
    """Precision over recall of every class, with its AP and the point where its operating threshold lies."""
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    axes = figure.add_subplot()
    for index, (label, curve) in enumerate(report.curves.items()):
        if curve.truths:
            _curve(axes, index, label, curve, report.thresholds.get(label, 0.0))
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall: share of the cells that are found")
    axes.set_ylabel("precision: share of the boxes that are cells")
    axes.set_title(f"{report.images} images, IoU ≥ 0.5, mAP {report.map50:.3f}", loc="left")
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if any(curve.truths for curve in report.curves.values()):
        axes.legend(loc="lower left", frameon=False)
    return figure


def _curve(axes: Axes, index: int, label: str, curve: Curve, threshold: float) -> None:
    name = f"{label}: AP {curve.ap:.3f} ({curve.truths:,} cells)"
    style = _DASHES[index % len(_DASHES)]
    axes.plot(curve.recall, curve.precision, style, color=colour_of(index), linewidth=2, label=name)
    kept = int((curve.scores >= np.float32(threshold)).sum())
    if threshold > 0 and kept:
        at = curve.recall[kept - 1], curve.precision[kept - 1]
        axes.plot(*at, _marker(index), color=colour_of(index), markersize=8, markeredgecolor="white")
        note = f"score ≥ {threshold:.2f}"
        axes.annotate(note, at, xytext=(-8, -14), textcoords="offset points", ha="right", fontsize=8)


def dataset_figure(
    counts: Mapping[str, NDArray[np.int64]], sizes: Mapping[str, NDArray[np.float32]], title: str
) -> Figure:
    """A data set at a glance: boxes of each class, boxes on each image, width and height of each box.

    counts: boxes on every image (images,) by class; sizes: width and height in px (boxes, 2) by class.
    """
    figure = Figure(figsize=(14, 4.8), layout="constrained")
    total, each, scatter = figure.subplots(1, 3, width_ratios=(0.8, 1.0, 1.1))
    figure.suptitle(title, x=0.01, ha="left")
    _totals(total, counts)
    _per_image(each, counts)
    _sizes(scatter, sizes)
    for axes in (total, each, scatter):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _totals(axes: Axes, counts: Mapping[str, NDArray[np.int64]]) -> None:
    totals = [int(values.sum()) for values in counts.values()]
    bars = axes.bar(list(counts), totals, color=[colour_of(index) for index in range(len(counts))], width=0.65)
    axes.bar_label(bars, [f"{value:,}" for value in totals], padding=2)
    axes.set(ylabel="boxes", title="boxes of each class")
    axes.margins(y=0.12)
    _slant(axes, len(counts))


def _per_image(axes: Axes, counts: Mapping[str, NDArray[np.int64]]) -> None:
    spread = np.random.default_rng(0)
    for index, values in enumerate(counts.values()):
        x = index + spread.uniform(-0.28, 0.28, len(values))
        # counts are whole: unspread, points hide one another
        y = values + spread.uniform(-0.2, 0.2, len(values))
        axes.scatter(x, y, s=9, alpha=0.45, color=colour_of(index), linewidths=0, marker=_marker(index))
        if len(values):
            axes.hlines(float(np.median(values)), index - 0.38, index + 0.38, color="black", linewidth=1.6)
    axes.set_xticks(range(len(counts)), list(counts))
    axes.set(ylabel="boxes on one image", title="each point an image, line: median")
    axes.set_ylim(bottom=-0.6)
    _slant(axes, len(counts))


def _sizes(axes: Axes, sizes: Mapping[str, NDArray[np.float32]]) -> None:
    for index, (label, values) in enumerate(sizes.items()):
        width, height = values[:, 0], values[:, 1]
        axes.scatter(
            width, height, s=12, alpha=0.4, color=colour_of(index), linewidths=0, marker=_marker(index), label=label
        )
    axes.set(xlabel="width of the box, px", ylabel="height of the box, px", title="size of each box")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    if sizes:
        legend = axes.legend(loc="upper left", frameon=False)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1.0)


def _slant(axes: Axes, classes: int) -> None:
    if classes > 5:
        axes.tick_params(axis="x", labelrotation=40)
        for text in axes.get_xticklabels():
            text.set_horizontalalignment("right")


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, 150 dots an inch, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, format="png")
    return path
