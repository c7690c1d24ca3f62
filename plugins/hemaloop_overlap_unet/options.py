"""What a laboratory may set, with units and sources."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from hemaloop.plugin import PluginOptions, option

VERSION = "1.1"
"""Of the family's code; part of every artifact."""

EncoderName = Literal["resnet18", "resnet34", "resnet50"]
DecoderName = Literal["nearest", "pixelshuffle"]
PAPER = "Brünggel et al."
"""The paper: "Segmenting Overlapping Red Blood Cells With Classical Image Processing and Deep Learning"."""


class OverlapUNetOptions(PluginOptions):
    """Options of the overlap U-Net."""

    encoder: EncoderName = option("resnet18", "feature extractor of the U-Net", source=f"{PAPER}: resnet50")
    depth: int = option(
        4,
        "halvings of the resolution in the U-Net: 5 uses the whole encoder, 4 leaves out its last stage, whose field "
        "of view is wider than any clump",
        ge=3,
        le=5,
        source=f"{PAPER}: 5",
    )
    decoder: DecoderName = option(
        "nearest",
        "how the U-Net enlarges its maps: nearest (segmentation-models-pytorch's decoder), pixelshuffle (sub-pixel "
        "convolution with ICNR weights, as fastai does)",
        source=f"{PAPER}: pixelshuffle",
    )
    weights: str = option(
        "none",
        "what a training starts from: none (random), imagenet (encoder; needs the network once), starter (the weights "
        "shipped with the family), or the path of a .safetensors file",
        source=f"{PAPER}: imagenet",
    )
    diameter: float = option(
        40.0,
        "diameter of a red cell as the network sees it: images are enlarged or reduced to it",
        unit="px",
        ge=12,
        le=160,
        source=f"{PAPER}: about 40",
    )
    pictures: int = option(
        6000,
        "training pictures that are composed in all",
        unit="pictures",
        ge=1,
        le=10_000_000,
        source=f"{PAPER}: 2342 an epoch",
    )
    window: int = option(224, "side of a training picture", unit="px", ge=64, le=1024, source=f"{PAPER}: 300")
    batch_size: int = option(8, "pictures a step", ge=1, le=256)
    learning_rate: float = option(2e-3, "largest learning rate", gt=0, le=1)
    dice: float = option(
        1.0,
        "weight of the Dice loss beside the cross-entropy: it minds overlaps, which are few pixels",
        ge=0,
        le=10,
        source=f"{PAPER}: 0",
    )
    max_minutes: float | None = option(
        None,
        "time in which a training is finished: its schedule is shortened to fit, so the result depends on the machine",
        unit="minutes",
        gt=0,
    )
    rouleaux: float = option(
        0.12, "share of the pictures that are an image moved over itself", ge=0, le=1, source=f"{PAPER}: 30 of 2342"
    )
    real: float = option(
        0.3,
        "share of the pictures that are corrected images with real overlaps, where there are any; the others are "
        "artificial",
        ge=0,
        le=1,
        source=f"{PAPER}: 12 of 2342 images",
    )
    absorb: float = option(
        0.5,
        "share of the artificial overlaps in which light is absorbed by both cells, where the paper takes the darker "
        "pixel",
        ge=0,
        le=1,
        source=f"Beer-Lambert; {PAPER}: 0",
    )
    foreign: float = option(
        0.6, "mean number of white cells and platelets that are pasted into a picture", unit="cells", ge=0, le=20
    )
    uneven: float = option(
        0.6,
        "share of the artificial pictures in which each cell, and places within cells, absorb more or less light than "
        "they did, so that an overlap is told by its outlines and not by its darkness",
        ge=0,
        le=1,
        source=f"{PAPER}: 0",
    )
    relevance: Literal["doubt", "random"] = option(
        "doubt",
        "what makes an image worth labelling: doubt (share of the cells' area round overlaps that is probably wrong, "
        "averaged over two mirrored looks), random (a baseline)",
    )
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "arithmetic of the network: auto uses bfloat16 where the processor has it"
    )

    @model_validator(mode="after")
    def _fits(self) -> OverlapUNetOptions:
        if self.weights == "starter" and (self.encoder, self.depth, self.decoder) != ("resnet18", 4, "nearest"):
            raise ValueError(
                "weights 'starter' exist for encoder resnet18, depth 4 and decoder nearest only, found "
                f"{self.encoder}, {self.depth} and {self.decoder}"
            )
        if self.window % 2**self.depth:
            raise ValueError(f"window: found {self.window}, expected a multiple of {2**self.depth}")
        return self
