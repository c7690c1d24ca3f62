"""What Label Studio 1.23.2 was recorded to send, and what its code takes as an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CAPTURES = Path(__file__).parent / "contract" / "captures"


def exchanges(content: Any) -> Iterator[dict[str, Any]]:
    """Every request in a capture."""
    if isinstance(content, dict):
        if {"method", "path", "body"} <= set(content):
            yield content
        else:
            for inner in content.values():
                yield from exchanges(inner)
    elif isinstance(content, list):
        for inner in content:
            yield from exchanges(inner)


RECORDED = [
    pytest.param(exchange, id=f"{path.stem}-{number}")
    for path in sorted(CAPTURES.glob("*.json"))
    for number, exchange in enumerate(exchanges(json.loads(path.read_text())))
]


def bound(body: Any) -> Any:
    """The same body with its rectangles bound to the stub."""
    if body is None:
        return None
    text = json.dumps(body).replace(
        '<RectangleLabels name=\\"box\\"',
        '<RectangleLabels name=\\"box\\" model_family=\\"stub\\" model_preset=\\"blobs\\"',
    )
    for recorded, known in (("RBC", "red"), ("WBC", "green"), ("PLT", "blue")):
        text = text.replace(
            f'<Label value=\\"{recorded}\\"/>', f'<Label value=\\"{recorded}\\" model_label=\\"{known}\\"/>'
        )
    return json.loads(text)


def storable(reply: dict[str, Any], body: dict[str, Any]) -> bool:
    """What Label Studio's own code takes: as many entries as tasks, each a dict with result and a number as score."""
    labels = {"RBC", "WBC", "PLT"}
    for entry in reply["results"]:
        assert isinstance(entry["result"], list)
        assert isinstance(entry["score"], float)
        assert 0 <= entry["score"] <= 1
        for region in entry["result"]:
            assert region["from_name"] == "box"
            assert set(region["value"]["rectanglelabels"]) <= labels
    return len(reply["results"]) == len(body["tasks"])
