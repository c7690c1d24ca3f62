"""Interactive calls: what the model sees where the annotator just drew (`hemaloop.asking`).

The answer is always a dict with a `result`: Label Studio breaks on `[]` here.
"""

from __future__ import annotations

import json

from hemaloop.inference.wire import TaskAnswer


def nothing(version: str) -> bytes:
    """No region, and no claim about the image: interactive answers are not stored."""
    return json.dumps({"result": [], "score": 0.0, "model_version": version}).encode()


def entry(answer: TaskAnswer | None, version: str) -> bytes:
    """The answer, or nothing where there is none."""
    return nothing(version) if answer is None or answer.body is None else answer.body
