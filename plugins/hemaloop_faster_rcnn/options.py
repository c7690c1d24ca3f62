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

RelevanceName = Literal["doubt", "paper", "paper_per_cell", "entropy", "margin", "bald", "bald_per_cell", "random"]
STOCHASTIC: frozenset[RelevanceName] = frozenset({"paper", "paper_per_cell", "bald", "bald_per_cell"})
"""Relevances that are measured by passes with dropout, so that a model trained without it has none."""

SUBTYPES = "Sadafi et al. 2019"
"""The paper on red-cell subtypes: "Multiclass deep active learning for detecting red blood cell subtypes"."""


def parse_thresholds(text: str) -> dict[str, float]:
    """``"Platelets=0.55,RBC=0.70"`` as names and scores. Raises `ValueError` naming the part that cannot be read."""
    values: dict[str, float] = {}
    for part in split_names(text):
        name, separator, number = (piece.strip() for piece in part.rpartition("="))
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not separator or not name or not 0 <= value <= 1:
            raise ValueError(f"found {part!r}, expected a label and a score in [0, 1] such as 'RBC=0.70'")
        values[name] = value
    return values


def split_names(text: str) -> tuple[str, ...]:
    """``"Teardrop, Microcyte"`` as names."""
    return tuple(filter(None, (piece.strip() for piece in text.split(","))))


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
    recipe: Literal["default", "quick", "head", "refine", "paper"] = option(
        "default",
        "how to train: default (AdamW, stain and scale augmentation), quick (a few minutes, for demonstrations), "
        "head (the box head alone, on weights that know cells: under a minute for a few dozen images), "
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
    balance: float | None = option(
        None,
        "share of the training pictures placed on a cell of a class drawn evenly, so that rare classes are met",
        ge=0,
        le=1,
    )
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

    dropout: float = option(
        0.0,
        "share of the box head's units that a training drops, and that stochastic passes drop again; 0 trains without, "
        "and such a model has no relevance paper or bald, summed or per cell",
        ge=0,
        le=0.9,
        source="Gal and Ghahramani 2016: 0.5",
    )
    relevance: RelevanceName = option(
        "doubt",
        "what makes an image worth labelling: doubt (expected number of boxes that a person would overturn), paper "
        "(uncertain and rare cells, counted), entropy, margin or bald (summed over cells), paper_per_cell or "
        "bald_per_cell (the same a cell), or random; paper and bald need a model trained with dropout",
        source=f"{SUBTYPES}: paper",
    )
    passes: int = option(20, "stochastic passes an image, two or more", unit="passes", le=200, source=SUBTYPES)
    alpha: float = option(
        0.80,
        "a cell's class is uncertain where at most this share of the passes agrees on it",
        ge=0,
        le=1,
        source=f"{SUBTYPES}, equation 8",
    )
    beta: float = option(
        0.90,
        "a cell's box is uncertain where the boxes of its passes overlap (mean IoU) by at most this",
        ge=0,
        le=1,
        source=f"{SUBTYPES}, equation 8",
    )
    gamma: float = option(
        10.0, "weight of a cell that may be rare", unit="uncertain cells", ge=0, source=f"{SUBTYPES}, equation 8"
    )
    rare_above: float = option(
        0.2,
        "probability of a rare class above which a cell may be rare",
        ge=0,
        le=1,
        source=f"{SUBTYPES}, equation 7",
    )
    rare_classes: str = option(
        "auto",
        "labels of rare cells, such as 'Teardrop,Microcyte'; auto: those with fewer than half of an even share of the "
        "training boxes; none",
    )

    @field_validator("passes")
    @classmethod
    def _enough_passes(cls, passes: int) -> int:
        if passes < 2:
            raise ValueError(
                f"the detection uncertainty U^d (equation 5) compares passes, so it is undefined for {passes}; "
                "expected 2 or more"
            )
        return passes

    @field_validator("rare_classes")
    @classmethod
    def _some_class(cls, text: str) -> str:
        if not split_names(text):
            raise ValueError("expected auto, none, or labels such as 'Teardrop,Microcyte'")
        return text

    @property
    def named_rare_classes(self) -> tuple[str, ...]:
        """The labels that `rare_classes` names; none for auto and none."""
        return () if self.rare_classes in ("auto", "none") else split_names(self.rare_classes)

    @property
    def named_thresholds(self) -> dict[str, float]:
        """The labels that `thresholds` names, and their scores."""
        return {} if self.thresholds in ("paper", "fit", "none") else parse_thresholds(self.thresholds)

    @field_validator("thresholds")
    @classmethod
    def _readable(cls, text: str) -> str:
        if text not in ("paper", "fit", "none") and not parse_thresholds(text):
            raise ValueError("expected paper, fit, none, or text such as 'Platelets=0.55,RBC=0.70'")
        return text

    @model_validator(mode="after")
    def _weights_fit(self) -> FasterRCNNOptions:
        if self.recipe == "head" and self.weights == "none":
            raise ValueError("recipe 'head' learns on what its weights see, found weights 'none'; expected some others")
        only = {"coco": "resnet50_fpn", "starter": "resnet18_fpn"}.get(self.weights, self.backbone)
        if self.backbone != only:
            raise ValueError(f"weights {self.weights!r} exist for backbone {only} only, found backbone {self.backbone}")
        return self
