"""One cell through all three members of the ensemble, with the light backbone and with the paper's."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from benchmarks.rows import row
from hemaloop import registry
from hemaloop.plugin import Classification, Example, Image, Silent
from hemaloop.synthetic import render_smear

LABELS = ("ALL", "HEM")
LIGHT_MS, PAPER_MS = 60.0, 700.0
LOOKS = 20


def measure() -> list[dict[str, Any]]:
    """Median over `LOOKS` of one image of 360 px, preparation included; weights do not matter, so a few steps do."""
    paper = {"backbone": "inception_resnet_v2", "image_size": 299, "augment": "copies"}
    return [
        row("one cell, three members, resnet18 at 96 px", LIGHT_MS, _milliseconds({}), "ms"),
        row("one cell, three members, inception_resnet_v2 at 299 px", PAPER_MS, _milliseconds(paper), "ms"),
    ]


def _milliseconds(options: dict[str, Any]) -> float:
    import torch

    torch.set_num_threads(1)
    images = [render_smear(seed, width=360, height=360).image for seed in range(4)]
    plugin = registry.find("leukemia_ensemble")(LABELS, {"epochs": 1, "batch_size": 4, **options})
    shares = np.eye(2, dtype=np.float32)
    plugin.fit([Example(one, Classification(shares[i % 2]), str(i)) for i, one in enumerate(images)], [], Silent())
    plugin.predict(images[:1])
    return 1000 * statistics.median(_seconds(plugin, images[0]) for _ in range(LOOKS))


def _seconds(plugin: Any, image: Image) -> float:
    began = time.perf_counter()
    plugin.predict([image])
    return time.perf_counter() - began
