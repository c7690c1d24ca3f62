"""What a laboratory may set, with units and sources."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from hemaloop.plugin import PluginOptions, option

VERSION = "1.0"
"""Of the family's code; part of every artifact."""

PAPER = "Liu and Long 2019"
"""The paper: "Acute lymphoblastic leukemia cells image analysis with deep bagging ensemble learning"."""

DISEASES = ("all", "blast", "leukemia", "leukaemia", "malignant")
"""Names, in small letters, of labels that mean the disease where the option `disease` is auto."""


class LeukemiaOptions(PluginOptions):
    """Options of the two-stage bagging ensemble."""

    backbone: str = option(
        "resnet18",
        "feature extractor of both models, a name of timm's; the light one is for machines without a GPU",
        source=f"{PAPER}, 2.4: inception_resnet_v2",
    )
    weights: str = option(
        "none",
        "what both extractors start from: none (random), imagenet (timm's published ones, fetched once), or the path "
        "of a .safetensors or .pth file",
        source=f"{PAPER}, 2.4: imagenet",
    )
    image_size: int = option(
        96, "side of the square that a cell is resized to", unit="px", ge=32, le=1024, source=f"{PAPER}, 2.2: 299"
    )
    patch: Literal["whole", "hull"] = option(
        "whole",
        "what is seen of a cell: whole (the square round its convex hull) or hull (the inside alone, the rest black)",
        source=f"{PAPER}, 2.2",
    )
    margin: float = option(
        0.2, "free space kept round the hull, in sides of its box, on each side", ge=0, le=2, unit="sides"
    )
    stain: Literal["none", "reinhard"] = option(
        "none",
        "stain normalisation: none, or reinhard (each cell's colours get the mean and spread of the training cells')",
        source=f"{PAPER}, 2.1; Reinhard et al. 2001",
    )
    augment: Literal["copies", "all"] = option(
        "all",
        "what is augmented anew in each epoch: copies (only the copies that the paper adds; its originals stay as they "
        "are) or all (the originals are turned and mirrored too)",
        source=f"{PAPER}, 2.3: copies",
    )
    disease: str = option(
        "auto", "label whose overlooking costs more; auto: a label named ALL or blast, if there is one; none"
    )
    disease_weight: float = option(
        2.5, "weight of the disease in the loss of the combined model", gt=0, le=1000, source=f"{PAPER}, equation 1"
    )
    other_weight: float = option(1.0, "weight of every other label there", gt=0, le=1000, source=f"{PAPER}, equation 1")
    dropout: float = option(
        0.6, "share of units that the combined model's layers drop in training", ge=0, lt=1, source=f"{PAPER}, 2.4"
    )
    hidden: int = option(
        1024, "units of each of the combined model's two layers", unit="units", ge=8, le=8192, source=f"{PAPER}, 2.4"
    )
    extractors: Literal["frozen", "fine_tuned"] = option(
        "frozen",
        "extractors of the combined model: frozen (those of models A and B: a prediction is two passes of a backbone) "
        "or fine_tuned (copies that learn on, so that a prediction is four passes and an artifact twice as large)",
        source=f"{PAPER}, 2.4",
    )
    epochs: int = option(50, "passes over a training set, at most", ge=1, le=10_000, source=f"{PAPER}, 2.5")
    reduce_after: int = option(
        6,
        "epochs without a smaller validation error after which the learning rate is cut to a tenth",
        unit="epochs",
        ge=1,
        source=f"{PAPER}, 2.5",
    )
    stop_after: int = option(
        12,
        "epochs without a smaller validation error after which a training ends",
        unit="epochs",
        ge=1,
        source=f"{PAPER}, 2.5",
    )
    learning_rate: float = option(0.001, "of RMSprop at the start", gt=0, le=1, source=f"{PAPER}, 2.5: Keras's default")
    batch_size: int = option(32, "images a step", ge=2, le=1024, source="Keras's default")
    max_minutes: float | None = option(
        None,
        "time after which no further epoch begins, so that the result depends on the machine",
        unit="minutes",
        gt=0,
    )
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "arithmetic of the backbones: auto uses bfloat16 where the processor has it"
    )
    review_below: float = option(
        0.8, "calibrated probability below which a label is marked for a second look", ge=0, le=1
    )

    @model_validator(mode="after")
    def _stops_after_reducing(self) -> LeukemiaOptions:
        if self.stop_after < self.reduce_after:
            raise ValueError(
                f"stop_after {self.stop_after} lies before reduce_after {self.reduce_after}: the learning rate would "
                "never be cut"
            )
        return self

    def disease_label(self, labels: tuple[str, ...]) -> str | None:
        """The label whose overlooking costs more, None where there is none. Raises `ValueError` for an unknown one."""
        if self.disease == "none":
            return None
        if self.disease == "auto":
            return next((label for label in labels if label.casefold() in DISEASES), None)
        if self.disease not in labels:
            raise ValueError(f"disease: found {self.disease!r}, expected auto, none, or one of {list(labels)}")
        return self.disease

    def class_weights(self, labels: tuple[str, ...]) -> tuple[float, ...]:
        """λ of each label (equation 1): tied to the disease, whichever label is the majority."""
        disease = self.disease_label(labels)
        if disease is None:
            return (1.0,) * len(labels)
        return tuple(self.disease_weight if label == disease else self.other_weight for label in labels)
