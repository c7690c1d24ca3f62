"""Pictures of how well classes are told apart: ROC, reliability, confusion; and a heat map on its image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as Pillow

from hemaloop.drawing import colour_of, save_figure
from hemaloop.evaluation.classification import BINS, ClassificationReport
from hemaloop.plugin import Image

HEAT = 0.55
"""Largest opacity of a heat map."""


def save_figures(report: ClassificationReport, folder: Path) -> list[Path]:
    """roc.png, reliability.png and confusion.png in a folder."""
    drawn = {"roc": roc_figure, "reliability": reliability_figure, "confusion": confusion_figure}
    return [save_figure(draw(report), folder / f"{name}.png") for name, draw in drawn.items()]


def roc_figure(report: ClassificationReport) -> Figure:
    """A curve a class against all others, with its area."""
    figure = Figure(figsize=(5.6, 5.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=1)
    for index, (label, curve) in enumerate(report.roc.items()):
        name = f"{label}: area {report.classes[label].auc:.3f} ({report.classes[label].support:,} images)"
        rates = curve.false_positive_rate, curve.true_positive_rate
        axes.plot(*rates, "-" if index % 2 == 0 else "--", color=colour_of(index), linewidth=2, label=name)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set(xlabel="false positive rate (1 - specificity)", ylabel="true positive rate (sensitivity)")
    axes.set_title(f"{report.images} images", loc="left")
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if report.roc:
        axes.legend(loc="lower right", frameon=False)
    return figure


def reliability_figure(report: ClassificationReport) -> Figure:
    """How often what is said with some confidence is right, and below it how many images say so."""
    figure = Figure(figsize=(5.6, 5.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    edges = np.linspace(0, 1, BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    seen = report.reliability
    filled = seen.counts > 0
    upper.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=1)
    upper.bar(middles[filled], seen.accuracy[filled], width=0.9 / BINS, color=colour_of(0), alpha=0.5)
    upper.plot(seen.confidence[filled], seen.accuracy[filled], "o", color=colour_of(4), markersize=6)
    upper.set(ylim=(0, 1.02), ylabel="share that is right")
    upper.set_title(f"expected calibration error {seen.error:.3f}, {report.images} images", loc="left")
    lower.bar(middles, seen.counts, width=0.9 / BINS, color="#888888")
    lower.set(xlim=(0, 1), xlabel="probability of the class that is said", ylabel="images")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def confusion_figure(report: ClassificationReport) -> Figure:
    """Images of each class (rows) by what was said of them (columns); a row's colours are shares of the class."""
    classes = len(report.labels)
    figure = Figure(figsize=(2.6 + 0.9 * classes, 2.2 + 0.8 * classes), layout="constrained")
    axes = figure.add_subplot()
    shares = report.confusion / np.maximum(report.confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(report.confusion):
        ink = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, f"{count:,}\n{shares[row, column]:.1%}", ha="center", va="center", color=ink)
    axes.set_xticks(range(classes), report.labels, rotation=40 if classes > 4 else 0)
    axes.set_yticks(range(classes), report.labels)
    axes.set(xlabel="said", ylabel="truth")
    axes.set_title(f"accuracy {report.accuracy:.3f}, {report.images} images", loc="left")
    return figure


def heat_on(image: Image, heat: NDArray[np.float32]) -> Pillow.Image:
    """The image beside itself with a heat map (H, W) in [0, 1] on it."""
    colours = colormaps["inferno"](heat)[..., :3] * 255  # (H, W, 3)
    opacity = (HEAT * np.sqrt(heat))[..., None]
    mixed = (image * (1 - opacity) + colours * opacity).round().clip(0, 255).astype(np.uint8)
    return Pillow.fromarray(np.concatenate([image, mixed], axis=1))
