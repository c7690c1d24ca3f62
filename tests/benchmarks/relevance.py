"""Relevance by stochastic passes: what it adds to one prediction, and what it saves against full passes."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.rows import row
from hemaloop import registry
from hemaloop.plugin import Example, Image, Silent
from hemaloop.synthetic import render_smear

LABELS = ("RBC", "WBC", "Platelets")
PASSES = 20
IMAGE_SIZE = 320
MOST_TIMES = 1.5
MOST_SHARE = 0.1


def measure() -> list[dict[str, Any]]:
    """Of one image: seconds of `score` with N passes, over one `predict`, and over N passes through everything."""
    return [one for backbone in ("resnet18_fpn", "vgg16") for one in _measure(_fitted(backbone), backbone)]


def _measure(plugin: Any, backbone: str) -> list[dict[str, Any]]:
    images = [render_smear(9).image]
    cells = int(plugin.score(images)[0].parts["cells"])
    if not cells:
        raise RuntimeError(f"{backbone}: found no cell, expected some to follow through the passes")
    full_pass = _full_pass(plugin, images[0])
    plain, relevance, full = [], [], []
    for _ in range(PASSES):  # one after the other, so that other work on the machine slows all three
        plain.append(_seconds(lambda: plugin.predict(images)))
        relevance.append(_seconds(lambda: plugin.score(images)))
        full.append(_seconds(full_pass))
    scored = statistics.median(relevance)
    title = f"relevance of {cells} cells, N = {PASSES}, {backbone}"
    return [
        row(f"{title}: of one plain prediction", MOST_TIMES, scored / statistics.median(plain), "×"),
        row(f"{title}: of {PASSES} full passes", MOST_SHARE, scored / sum(full), "×"),
    ]


def _full_pass(plugin: Any, image: Image) -> Callable[[], object]:
    """One pass through all of the network with dropout on."""
    from hemaloop_faster_rcnn.look import look
    from hemaloop_faster_rcnn.resampling import to_network

    network = copy.deepcopy(plugin._model._finder._network)
    network.roi_heads.box_head.dropout.train()
    pixels, _ = to_network(image, IMAGE_SIZE)
    return lambda: look(network, pixels)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _fitted(backbone: str) -> Any:
    """A detector after one step of training, which shows whatever reaches the score floor: more than a smear has."""
    options = {
        "backbone": backbone,
        "recipe": "quick",
        "epochs": 1,
        "image_size": IMAGE_SIZE,
        "dropout": 0.5,
        "relevance": "paper",
        "passes": PASSES,
        "thresholds": "none",
        "magnification": "fixed",
    }
    plugin = registry.find("faster_rcnn")(LABELS, options)
    smears = [render_smear(seed) for seed in range(4)]
    plugin.fit([Example(one.image, one.detections, str(seed)) for seed, one in enumerate(smears)], [], Silent())
    return plugin
