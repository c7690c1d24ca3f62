"""A picture of a latent space: a plane of images coloured by label and by relevance, with reconstructions."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure, FigureBase
from numpy.typing import ArrayLike, NDArray
from rich.console import Console
from safetensors.numpy import save_file

from hemaloop.cli.watching import Watch
from hemaloop.drawing import PALETTE
from hemaloop.errors import DatasetError, OptionError, PluginError
from hemaloop.formats.classes import detect_layout, read_classes
from hemaloop.formats.items import load_picture, pictures_in
from hemaloop.model_folder import open_model
from hemaloop.plane import far_apart, principal_plane
from hemaloop.plugin import Classification, Image, Progress, Representing, Scored

BATCH = 64
METHODS = ("pca", "umap")
UNKNOWN = "unlabelled"


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """vectors: float32 (N, D). places: float64 (N, 2) of the plane. labels: of each image. relevances: (N,), 0 where
    there is no head. share: of the variance that each axis of the plane shows, () where it has no meaning.
    """

    vectors: NDArray[np.float32]
    places: NDArray[np.float64]
    labels: tuple[str, ...]
    relevances: NDArray[np.float64]
    share: tuple[float, ...]


def plane(vectors: ArrayLike, method: str) -> tuple[NDArray[np.float64], tuple[float, ...]]:
    """Places (N, 2). Raises `OptionError` for an unknown method, or UMAP where it is not installed."""
    if method not in METHODS:
        raise OptionError(f"--method: found {method!r}, expected one of {', '.join(METHODS)}")
    if method == "pca":
        return principal_plane(vectors)
    if find_spec("umap") is None:
        raise OptionError("--method umap: umap-learn is not installed; pip install umap-learn, or use --method pca")
    umap = import_module("umap")
    return np.asarray(umap.UMAP(random_state=0).fit_transform(np.asarray(vectors)), np.float64), ()


def look(model: str, images: Path, out: Path, *, method: str, device: str) -> Space:
    """Embed a folder, write vectors and picture. Raises `PluginError` for a family without a representation."""
    if method not in METHODS:
        plane([[0.0]], method)
    opened = open_model(model, device)
    plugin = opened.plugin
    if not isinstance(plugin, Representing):
        raise PluginError(f"model {model}: family {plugin.family!r} has no representation to look at")
    files = _files(images)
    if len(files) < 3:
        raise DatasetError(f"{images}: found {len(files)} images, expected three or more")
    with Watch("embedding") as watch:
        vectors, scored = _embed(plugin, [path for path, _ in files], watch)
    places, share = plane(vectors, method)
    relevances = np.array([one.relevance for one in scored]) if scored else np.zeros(len(files))
    space = Space(vectors, places, tuple(label for _, label in files), relevances, share)
    out.mkdir(parents=True, exist_ok=True)
    _write(space, files, scored, plugin.labels, out)
    picture(space, *_examples(plugin, files, space)).savefig(out / "latent.png", dpi=120)
    Console().print(f"vectors and picture: {out}", markup=False, highlight=False, soft_wrap=True)
    return space


def _files(folder: Path) -> list[tuple[Path, str]]:
    """Images with their class, where the folder has classes."""
    try:
        detect_layout(folder)
    except DatasetError:
        return [(path, UNKNOWN) for path in pictures_in(folder)] if folder.is_dir() else []
    return [(item.path, item.label) for item in read_classes(folder).items]


def _embed(plugin: Representing, paths: Sequence[Path], progress: Progress) -> tuple[NDArray[np.float32], list[Scored]]:
    rows, scored = [], list[Scored]()
    for start in range(0, len(paths), BATCH):
        progress.report(start, len(paths), "embedding")
        part = plugin.embed([load_picture(path).pixels for path in paths[start : start + BATCH]])
        rows.append(part)
        if plugin.fitted:
            scored += plugin.score_embedded(part)
    return np.concatenate(rows), scored


def _write(
    space: Space, files: Sequence[tuple[Path, str]], scored: Sequence[Scored], labels: Sequence[str], out: Path
) -> None:
    save_file(
        {"vectors": space.vectors}, out / "vectors.safetensors", {"images": "\n".join(str(path) for path, _ in files)}
    )
    with (out / "vectors.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "label", "said", "relevance", "x", "y"])
        for index, (path, label) in enumerate(files):
            said = scored[index].prediction if scored else None
            name = labels[int(said.probabilities.argmax())] if isinstance(said, Classification) else ""
            writer.writerow(
                [path, label, name, f"{space.relevances[index]:.6f}", *(f"{one:.6f}" for one in space.places[index])]
            )


def _examples(
    plugin: Representing, files: Sequence[tuple[Path, str]], space: Space
) -> tuple[list[int], list[Image], list[Image]]:
    """Images far apart in the plane, and what is made of their vectors; none where the family makes none."""
    chosen = far_apart(space.places)
    try:
        made = plugin.reconstruct(space.vectors[chosen])
    except PluginError:
        return [], [], []
    return chosen, [load_picture(files[one][0]).pixels for one in chosen], made


def picture(
    space: Space, chosen: Sequence[int] = (), images: Sequence[Image] = (), made: Sequence[Image] = ()
) -> Figure:
    """The plane by label and by relevance; below, images (numbered in the plane) over their reconstructions."""
    figure = Figure(figsize=(13, 6 + (3.4 if len(chosen) else 0)), layout="constrained")
    top: FigureBase = figure
    below: FigureBase | None = None
    if len(chosen):
        parts: Any = figure.subfigures(2, 1, height_ratios=(6, 3.4))
        top, below = parts
    left, right = top.subplots(1, 2)
    names = sorted(set(space.labels))
    for number, name in enumerate(names):
        mine = np.array([label == name for label in space.labels])
        marker = "o^sDv"[number // len(PALETTE) % 5]
        left.scatter(*space.places[mine].T, s=9, color=PALETTE[number % len(PALETTE)], marker=marker, label=name)
    left.legend(frameon=False, fontsize=8, markerscale=2, loc="best")
    left.set_title("by label")
    shown = right.scatter(*space.places.T, s=9, c=space.relevances, cmap="viridis")
    top.colorbar(shown, ax=right, label="relevance; more is more worth labelling")
    right.set_title("by relevance")
    for axes in (left, right):
        if space.share:
            axes.set(xlabel=f"first component, {space.share[0]:.0%}", ylabel=f"second, {space.share[1]:.0%}")
        for number, one in enumerate(chosen):
            axes.annotate(str(number + 1), space.places[one], fontsize=10, fontweight="bold")
        axes.spines[["top", "right"]].set_visible(False)
    if below is not None:
        panels = below.subplots(2, len(chosen), squeeze=False)
        for number in range(len(chosen)):
            panels[0][number].imshow(images[number])
            panels[1][number].imshow(made[number])
            panels[0][number].set_title(str(number + 1), fontsize=10)
        for panel in panels.ravel():
            panel.set_axis_off()
    return figure
