"""Drawings of the page as SVG: no script, no foreign host, colours by class so that they follow the theme."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

COLOURS = 8
Points = Sequence[tuple[float, float]]


def learning_curve(models: Sequence[tuple[float, float, str]], line: Points, unit: str, figure: str) -> Markup:
    """Each model's figure over what it learned from, and the curve through them.

    models: (cells or images, figure, state), state "live", "promoted" or "" as in `content.Model`. No
    figure that decides on the gate exceeds 1, and neither does the axis.
    """
    width, height, left, bottom = 640, 260, 58, 34
    if not models:
        return Markup("")
    most = max([x for x, _, _ in models] + [x for x, _ in line]) * 1.04 or 1.0
    low, high = _span([y for _, y, _ in models] + [y for _, y in line])
    high = min(high, 1.0)

    def place(x: float, y: float) -> tuple[float, float]:
        across = left + (width - left - 12) * x / most
        down = 10 + (height - bottom - 10) * (1 - (y - low) / (high - low))
        return round(across, 1), round(down, 1)

    parts = []
    for tick in _ticks(low, high, 4):
        y = place(0, tick)[1]
        parts.append(f'<line class="grid" x1="{left}" y1="{y}" x2="{width - 12}" y2="{y}"/>')
        parts.append(f'<text class="axis" x="{left - 8}" y="{y + 4}" text-anchor="end">{tick:.2f}</text>')
    for tick in _ticks(0, most, 5):
        x = place(tick, low)[0]
        parts.append(f'<text class="axis" x="{x}" y="{height - bottom + 20}" text-anchor="middle">{tick:,.0f}</text>')
    if line:
        parts.append(f'<polyline class="curve" points="{_path([place(x, y) for x, y in line])}"/>')
    for x, y, state in sorted(models, key=lambda model: model[2] == "live"):
        across, down = place(x, y)
        kind = "live" if state == "live" else "kept"
        parts.append(f'<circle class="model {kind}" cx="{across}" cy="{down}" r="{6 if kind == "live" else 4}"/>')
        if kind == "live":
            anchor = "end" if across > width - 90 else "start"
            aside = -11 if anchor == "end" else 11
            parts.append(
                f'<text class="mark" x="{across + aside}" y="{down + 16}" text-anchor="{anchor}">live {y:.3f}</text>'
            )
    best = max(y for _, y, _ in models)
    said = f"{figure} of {len(models)} models over {unit} they learned from, {best:.3f} at best"
    return _svg(width, height, said, parts, "chart")


def histogram(counts: Sequence[int], high: float, median: float) -> Markup:
    """How many images have which relevance."""
    width, height, above, bottom = 640, 170, 22, 26
    if not any(counts):
        return Markup("")
    step, most = width / len(counts), max(counts)
    parts = [
        f'<rect class="bar" x="{index * step + 1:.1f}" y="{height - bottom - tall:.1f}" width="{step - 2:.1f}" '
        f'height="{tall:.1f}"/>'
        for index, tall in enumerate((height - bottom - above) * count / most for count in counts)
    ]
    x = min(width - 1.0, width * median / high)
    anchor = "start" if x < width / 2 else "end"
    parts.append(f'<line class="rule" x1="{x:.1f}" y1="4" x2="{x:.1f}" y2="{height - bottom}"/>')
    parts.append(
        f'<text class="mark" x="{x + (6 if anchor == "start" else -6):.1f}" y="14" text-anchor="{anchor}">'
        f"median {median:.3g}</text>"
    )
    parts.append(f'<line class="base" x1="0" y1="{height - bottom}" x2="{width}" y2="{height - bottom}"/>')
    parts.append(f'<text class="axis" x="0" y="{height - 6}">0</text>')
    parts.append(f'<text class="axis" x="{width}" y="{height - 6}" text-anchor="end">{high:.3g} and more</text>')
    return _svg(width, height, f"relevance of {sum(counts)} images, median {median:.3g}", parts, "chart")


def course(series: Mapping[str, Points]) -> Markup:
    """Losses over the steps of a training."""
    width, height = 320, 84
    known = {name: [point for point in points if math.isfinite(point[1])] for name, points in series.items()}
    points = [point for one in known.values() for point in one]
    if len(points) < 2:
        return Markup("")
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    low, high = _span([y for _, y in points])
    parts = []
    for index, one in enumerate(known.values()):
        placed = [
            (4 + (width - 8) * (x - first) / ((last - first) or 1), 4 + (height - 8) * (1 - (y - low) / (high - low)))
            for x, y in one
        ]
        parts.append(f'<polyline class="line c{index % COLOURS}" points="{_path(placed)}"/>')
    ends = ", ".join(f"{name} {one[-1][1]:.3g}" for name, one in known.items() if one)
    return _svg(width, height, f"course of {ends}", parts, "spark")


def plane(
    points: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    address: Callable[[int], str],
    by: str,
    numbered: Sequence[int] = (),
) -> Markup:
    """Images of a latent space as links to their tasks, coloured by "label" or by "relevance".

    points: as in `latent_portrait.plane_of`. Labels differ by colour and by shape. numbered: tasks, from 1 on.
    """
    width, room = 320, 12
    if not points:
        return Markup("")
    ordered = sorted(point["relevance"] or 0.0 for point in points)
    most = ordered[int(0.99 * (len(ordered) - 1))] or 1.0  # one image far from all others would fade these
    parts = []
    for point in sorted(points, key=lambda one: (by == "label" and one["label"] is not None, one["relevance"] or 0.0)):
        x, y = room + (width - 2 * room) * point["x"], room + (width - 2 * room) * (1 - point["y"])
        label, relevance = point["label"], point["relevance"]
        shape, faint = 0, ""
        if by == "label":
            index = labels.index(label) if label in labels else None
            kind = "other" if index is None else f"fill c{index % COLOURS}"
            shape = 0 if index is None else index
        else:
            kind = "other" if relevance is None else "bar"
            faint = "" if relevance is None else f' fill-opacity="{0.1 + 0.9 * min(1, relevance / most):.2f}"'
        said = f"task {point['task']}, {label or 'not labelled'}"
        said += "" if relevance is None else f", relevance {relevance:.3g}"
        parts.append(
            f'<a href="{escape(address(point["task"]))}" tabindex="-1"><title>{escape(said)}</title>'
            f'<path class="{kind}" d="{_marker(shape, x, y)}"{faint}/></a>'
        )
    places = {point["task"]: point for point in points}
    for number, task in enumerate(numbered, 1):
        x, y = (room + (width - 2 * room) * one for one in (places[task]["x"], 1 - places[task]["y"]))
        parts.append(f'<text class="mark" x="{x + 5:.1f}" y="{y - 3:.1f}">{number}</text>')
    named = sum(point["label"] is not None for point in points)
    said = f"plane of {len(points)} images coloured by {by}, {named} of them labelled"
    return _svg(width, width, said, parts, "chart")


def _marker(index: int, x: float, y: float) -> str:
    """Another shape for each of four labels in turn: disc, square, triangle, diamond."""
    r = 4
    return (
        f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
        f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z",
        f"M{x:.1f} {y - r:.1f}l{r} {2 * r}h{-2 * r}z",
        f"M{x:.1f} {y - r - 1:.1f}l{r + 1} {r + 1}l{-r - 1} {r + 1}l{-r - 1} {-r - 1}z",
    )[(index + index // COLOURS) % 4]


def share(value: float, most: float, index: int | None = None) -> Markup:
    """A bar as long as a value's share of the most."""
    part = max(0.0, min(1.0, value / most)) if most > 0 else 0.0
    kind = "bar" if index is None else f"fill c{index % COLOURS}"
    body = f'<rect class="track" width="100" height="8"/><rect class="{kind}" width="{100 * part:.2f}" height="8"/>'
    return Markup(  # noqa: S704 - numbers and names of classes alone
        f'<svg class="share" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">{body}</svg>'
    )


def swatch(index: int) -> Markup:
    """The colour of a label, as on the thumbnails."""
    return Markup(  # noqa: S704 - a number alone
        f'<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true"><rect class="fill c{index % COLOURS}" '
        'width="10" height="10" rx="2"/></svg>'
    )


def marker(index: int) -> Markup:
    """The colour and the shape of a label in a plane."""
    return Markup(  # noqa: S704 - numbers alone
        f'<svg class="swatch" viewBox="0 0 12 12" aria-hidden="true"><path class="fill c{index % COLOURS}" '
        f'd="{_marker(index, 6, 6)}"/></svg>'
    )


def _svg(width: int, height: int, said: str, parts: Sequence[str], kind: str) -> Markup:
    body = "".join(parts)
    return Markup(  # noqa: S704 - numbers, names of classes, and an escaped sentence
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}">{body}</svg>'
    )


def _path(points: Points) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max(0.12 * (high - low), 0.05 - (high - low) / 2)  # a tenth at least: thousandths are no rise to look at
    return low - room, high + room


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between two others."""
    step = 10 ** math.floor(math.log10((high - low) / about))
    step *= min((1, 2, 5, 10), key=lambda factor: abs((high - low) / (step * factor) - about))
    first = math.ceil(low / step)
    return [round(number * step, 10) for number in range(first, math.floor(high / step) + 1)]
