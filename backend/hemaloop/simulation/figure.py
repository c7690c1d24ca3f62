"""Learning curves like Fig. 4 of the paper: a figure over labelled cells, mean and standard deviation over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hemaloop.drawing import PALETTE
from hemaloop.simulation.statistics import Curves
from hemaloop.simulation.strategies import RANDOM

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_CHANCE = "#555555"


def curves_figure(curves: Sequence[Curves], figures: Sequence[str]) -> Figure:
    """One panel a figure, one line a strategy, chance dashed; the band is one standard deviation.

    figures: names such as ``"weighted_precision"`` and ``"ap/Teardrop"``.
    """
    columns = 2 if len(figures) == 4 else min(3, len(figures))
    rows = math.ceil(len(figures) / columns)
    figure = Figure(figsize=(4.9 * columns, 4.0 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    others = [one for one in curves if one.strategy != RANDOM]
    for panel, name in zip(panels, figures, strict=False):
        for position, one in enumerate(others):
            colour, marker = PALETTE[position % len(PALETTE)], _MARKERS[position % len(_MARKERS)]
            _curve(panel, one, name, colour, "-", marker)
        for one in curves:
            if one.strategy == RANDOM:
                _curve(panel, one, name, _CHANCE, "--", "x")
        panel.set(title=title(name), xlabel="newly labelled cells")
        panel.set_ylim(bottom=max(0.0, panel.get_ylim()[0]))
        panel.grid(color="#DDDDDD", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(figures) :]:
        panel.remove()
    panels[0].legend(frameon=False, loc="lower right")
    return figure


def title(name: str) -> str:
    """A figure in words."""
    if name.startswith("ap/"):
        return f"average precision: {name.removeprefix('ap/')}"
    return {"weighted_precision": "weighted precision of all classes (eq. 9)"}.get(name, name.replace("_", " "))


def _curve(axes: Axes, curves: Curves, name: str, colour: str, dashes: str, marker: str) -> None:
    cells = curves.new_cells.mean(axis=0)  # (R + 1,)
    values = curves.values[name]  # (S, R + 1)
    mean = values.mean(axis=0)
    count = len(curves.seeds)
    label = f"{curves.strategy} ({count} seed{'' if count == 1 else 's'})"
    axes.plot(cells, mean, dashes, color=colour, marker=marker, markersize=5, linewidth=2, label=label)
    if count > 1:
        spread = values.std(axis=0, ddof=1)
        axes.fill_between(cells, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
