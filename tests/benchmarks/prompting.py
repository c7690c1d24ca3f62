"""What an annotator waits for who asks about a place: the first question about an image, and those after it."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image

import web_stage
from benchmarks.predicting import AUTH
from benchmarks.rows import percentile, row
from hemaloop.project_setup import shipped_config
from hemaloop.synthetic import render_smear

QUESTIONS = 40
PICTURES = {"cbc": (640, 480), "rbc_overlap": (2024, 1512)}
"""Size of the picture that is asked about, px, by labelling config."""
SIDE = 90
"""Of a drawn rectangle, px."""


def measure() -> list[dict[str, Any]]:
    """Through the real backend, with the weights that ship."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="hemaloop-bench-") as name:
        folder = Path(name)
        with web_stage.serving(folder, HEMALOOP_LOG_LEVEL="WARNING") as (address, _, _log):
            for config, (width, height) in PICTURES.items():
                path = folder / f"{config}.png"
                Image.fromarray(render_smear(0, width=width, height=height).image).save(path)
                rows += _questions(address, config, path, width, height)
    return rows


def _questions(address: str, config: str, path: Path, width: int, height: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    task = {"id": 1, "data": {"image": str(path)}}
    project = f"{len(config)}.1790000000"
    waits: list[float] = []
    found = 0
    for number in range(QUESTIONS + 1):
        x, y = rng.uniform(0, width - SIDE), rng.uniform(0, height - SIDE)
        size = {"width": 100 * SIDE / width, "height": 100 * SIDE / height, "rotation": 0}
        value = {"x": 100 * x / width, "y": 100 * y / height, **size}
        region = {"id": f"q{number}", "to_name": "image", "type": "rectanglelabels", "value": value}
        if number % 2:
            point = {"x": value["x"], "y": value["y"], "width": 0.2, "labels": []}
            region = {**region, "type": "keypointlabels", "is_positive": True, "value": point}
        body = web_stage.predict_body([task], shipped_config(config), {"result": [region]}, project)
        began = time.perf_counter()
        reply = requests.post(f"{address}/predict", json=body, auth=AUTH, timeout=100)
        waits.append(time.perf_counter() - began)
        reply.raise_for_status()
        found += len(reply.json()["results"][0]["result"])
    if not found:
        raise RuntimeError(f"{config}: found no region in {QUESTIONS} answers, expected some")
    title = f"{config}, {width}x{height}"
    return [
        row(f"first question about an image, {title}", 20, waits[0], "s"),
        row(f"questions after it, {title}, p95 of {QUESTIONS}", 1, percentile(waits[1:], 0.95), "s"),
    ]
