"""How long 1,000 predictions take to reach a real Label Studio."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from hemaloop.client import Json, LabelStudio
from hemaloop.label_studio_server import LabelStudioServer
from hemaloop.project_setup import create_project, shipped_config

COUNT = 1000
TARGETS = {2: 3.0, 15: 6.0}
"""Seconds, by boxes a prediction."""


def measure() -> list[dict[str, Any]]:
    """One row a size: name, target, measured, unit, ok."""
    with tempfile.TemporaryDirectory(prefix="hemaloop-bench-") as name:
        root = Path(name)
        (root / "images").mkdir()
        with LabelStudioServer(root / "label-studio", images=root / "images", port=0) as server:
            studio = LabelStudio(server.url, server.account.token)
            project = create_project(studio, "bench", shipped_config("cbc"))
            tasks = studio.import_tasks(project.id, [{"data": {"image": f"/data/{i}.png"}} for i in range(COUNT)])
            return [_row(studio, project.id, tasks, boxes, target) for boxes, target in TARGETS.items()]


def _row(studio: LabelStudio, project: int, tasks: list[int], boxes: int, target: float) -> dict[str, Any]:
    predictions = [_prediction(task, boxes) for task in tasks]
    began = time.perf_counter()
    studio.import_predictions(project, predictions)
    seconds = time.perf_counter() - began
    return {
        "name": f"push {COUNT:,} predictions of {boxes} boxes",
        "target": target,
        "measured": round(seconds, 2),
        "unit": "s",
        "ok": seconds < target,
    }


def _prediction(task: int, boxes: int) -> Json:
    regions = [
        {
            "id": f"r{number}",
            "from_name": "cells",
            "to_name": "image",
            "type": "rectanglelabels",
            "original_width": 640,
            "original_height": 480,
            "image_rotation": 0,
            "score": 0.5,
            "value": {
                "x": 5.0 * number,
                "y": 20.0,
                "width": 4.5,
                "height": 6.0,
                "rotation": 0,
                "rectanglelabels": ["RBC"],
            },
        }
        for number in range(boxes)
    ]
    return {"task": task, "result": regions, "score": 1 / (1 + task), "model_version": f"bench-{boxes}"}
