"""The law of the way to Label Studio and back: what annotators accept unchanged is learned unchanged."""

from __future__ import annotations

import json
from xml.sax.saxutils import quoteattr

import numpy as np

from hemaloop import results
from hemaloop.annotations import read_result
from hemaloop.labelconfig import LabelConfig, parse_label_config
from hemaloop.plugin import Classification, ClassMap, Detections, Image, Prediction, Scored
from hemaloop.testing.subject import LawBroken, Subject, demand

PIXELS = 1e-3
"""How far a side of a box may be from where it was: per cent and back, in float64."""

_TAGS = {"rectanglelabels": "RectangleLabels", "brushlabels": "BrushLabels", "choices": "Choices"}


def _config(subject: Subject) -> LabelConfig:
    tag = _TAGS[results.KIND_OF[subject.plugin.produces]]
    kind = "Choice" if tag == "Choices" else "Label"
    labels = "".join(f"<{kind} value={quoteattr(label)}/>" for label in subject.labels)
    return parse_label_config(
        f'<View><Image name="image" value="$image"/><{tag} name="found" toName="image">{labels}</{tag}></View>'
    )


def _agree(sent: Prediction, back: Prediction) -> bool:
    if isinstance(sent, Detections) and isinstance(back, Detections):
        # Annotators see no order: regions with a mark come first.
        if len(sent) != len(back):
            return False
        first, second = (np.column_stack([one.boxes, one.labels]) for one in (sent, back))
        first, second = (rows[np.lexsort(rows.round(2).T)] for rows in (first, second))
        return bool(np.allclose(first, second, rtol=0, atol=PIXELS))
    if isinstance(sent, Classification) and isinstance(back, Classification):
        return int(sent.probabilities.argmax()) == int(back.probabilities.argmax())
    if isinstance(sent, ClassMap) and isinstance(back, ClassMap):
        # centres stay behind: people draw masks
        return np.array_equal(sent.labels, back.labels)
    return False


def check_label_studio_gives_it_back(subject: Subject) -> None:
    """Prediction -> Label Studio's JSON -> truth is the same within rounding, and its notes are the reasons."""
    config = _config(subject)
    for image, scored in zip(subject.images, subject.fitted.score(subject.images), strict=False):
        if type(scored.prediction) is subject.plugin.produces and 0 <= scored.relevance < np.inf:
            _check_one(config, image, scored)


def _check_one(config: LabelConfig, image: Image, scored: Scored) -> None:
    height, width = image.shape[:2]
    control = config.controls[0]
    answer = results.Answer(control, scored, control.labels, width, height)
    remedy = "give numpy arrays as the contract says, and str as a mark's reason"
    try:
        sent = results.task_prediction([answer], "1")
        received = json.loads(json.dumps(sent))
    except (TypeError, ValueError, IndexError) as error:
        raise LawBroken(f"a prediction cannot be written as JSON ({error}): {remedy}") from error
    faults = results.validate(received, config)
    demand(not faults, f"Label Studio would refuse a prediction ({'; '.join(faults[:2])}): {remedy}")
    back, left_out = read_result(received["result"], control, width, height)
    demand(
        not left_out and _agree(scored.prediction, back),
        f"an accepted prediction comes back as another truth {left_out[:1]}: boxes must have an area that per cent can "
        f"hold, and no box may be there twice; {remedy}",
    )
