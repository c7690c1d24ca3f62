"""What a laboratory may set, with units and sources."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from hemaloop.plugin import PluginOptions, option

VERSION = "1.0"
"""Of the family's code; part of every artifact."""

PAPER_THRESHOLDS = {"Platelets": 0.55, "RBC": 0.70, "WBC": 0.80}
"""Operating thresholds of the paper, section "Filtered results"."""

BackboneName = Literal["resnet18_fpn", "resnet50_fpn", "mobilenet_v3_large_fpn", "vgg16"]


def parse_thresholds(text: str) -> dict[str, float]:
    """``"Platelets=0.55,RBC=0.70"`` as names and scores. Raises `ValueError` naming the part that cannot be read."""
    values: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, separator, number = (piece.strip() for piece in part.rpartition("="))
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not separator or not name or not 0 <= value <= 1:
            raise ValueError(f"found {part!r}, expected a label and a score in [0, 1] such as 'RBC=0.70'")
        values[name] = value
    return values


class FasterRCNNOptions(PluginOptions):
    """Options of the Faster R-CNN family; those that are empty take what the recipe says."""

    backbone: BackboneName = option("resnet18_fpn", "feature extractor", source="paper: resnet50_fpn")
    weights: str = option(
        "none",
        "what a training starts from: none (random), imagenet (backbone), coco (resnet50_fpn only), starter (the "
        "weights shipped with the family), or the path of a .safetensors or .pth file",
        source="paper: coco",
    )
    frozen_backbone: bool = option(False, "keep the backbone as it is and train only what is on top of it")
    recipe: Literal["default", "quick", "refine", "paper"] = option(
        "default",
        "how to train: default (AdamW, stain and scale augmentation), quick (a few minutes, for demonstrations), "
        "refine (a few gentle epochs for weights that know cells already), "
        "paper (SGD, momentum 0.9, no augmentation)",
    )
    epochs: int | None = option(None, "passes over the training images", ge=1, le=10_000, source="paper: 5")
    max_minutes: float | None = option(
        None,
        "time in which a training is finished: its schedule is shortened to fit, so the result depends on the machine",
        unit="minutes",
        gt=0,
    )
    image_size: int | None = option(
        None, "shorter side that an image is resized to", unit="px", ge=64, le=2048, source="torchvision: 800"
    )
    batch_size: int | None = option(None, "images a step", ge=1, le=256, source="paper: 4")
    learning_rate: float | None = option(None, "largest learning rate", gt=0, le=1, source="paper: 0.001")
    thresholds: str = option(
        "paper",
        "score from which a box is shown: paper, fit (best F1 of each class on the tune images), none (score_floor), "
        "or text such as 'Platelets=0.55,RBC=0.70,WBC=0.80'; labels that are not named: 0.5",
        source="paper: Platelets 0.55, RBC 0.70, WBC 0.80",
    )
    nms: float = option(
        0.45, "overlap (IoU) above which the weaker of two boxes of a class goes", gt=0, le=1, source="paper"
    )
    score_floor: float = option(
        0.05, "score below which a box is not considered at all", ge=0, lt=1, source="torchvision"
    )
    magnification: Literal["auto", "fixed"] = option(
        "auto",
        "auto looks again at an image whose cells are much smaller or larger than those learned from; fixed does not",
    )
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "arithmetic of the convolutions: auto uses bfloat16 where the processor has it"
    )

    @field_validator("thresholds")
    @classmethod
    def _readable(cls, text: str) -> str:
        if text not in ("paper", "fit", "none") and not parse_thresholds(text):
            raise ValueError("expected paper, fit, none, or text such as 'Platelets=0.55,RBC=0.70'")
        return text

    @model_validator(mode="after")
    def _weights_fit(self) -> FasterRCNNOptions:
        only = {"coco": "resnet50_fpn", "starter": "resnet18_fpn"}.get(self.weights, self.backbone)
        if self.backbone != only:
            raise ValueError(f"weights {self.weights!r} exist for backbone {only} only, found backbone {self.backbone}")
        return self
