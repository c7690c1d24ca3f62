"""What a laboratory may set, with units and sources."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from hemaloop.plugin import PluginOptions, option

VERSION = "1.0"
"""Of the family's code; part of every artifact."""

PAPER = "Gräbel et al. 2021"
"""The paper: "Surrounding cell suppression for unsupervised representation learning in hematological cell
classification"."""

PAPER_SIDE = 256
"""px, of the paper's patches; radii, offsets and crops are given for this size and scale with the patch."""
STRIDE = 16
"""The decoder enlarges by this, so that sides are multiples of it."""


class CellVAEOptions(PluginOptions):
    """Options of the representation, of what suppresses the surroundings, and of the classifier."""

    image_size: int = option(
        128, "side of the square that a patch is resized to", unit="px", ge=32, le=512, source=f"{PAPER}, 2: 256"
    )
    representation: Literal["vae", "rae"] = option(
        "vae",
        "vae (a Gaussian latent, variational bound) or rae (a plain residual auto-encoder, the paper's baseline)",
        source=f"{PAPER}, 3.4",
    )
    latent: int = option(
        256, "dimensions of the latent space; the paper's RAE has 1024", ge=2, le=4096, source=f"{PAPER}, 3.4"
    )
    suppression: Literal["none", "noise", "fixed", "sampled", "learned", "crop"] = option(
        "sampled",
        "what keeps surrounding cells out of the representation: noise (3.1), a loss mask of fixed, sampled or learned "
        "radius (3.2), crop (3.3), or none",
        source=f"{PAPER}, 3.1 to 3.3",
    )
    noise: float = option(
        100.0,
        "σ of equation 2, at r_max and beyond, on the scale of 0 to 255",
        ge=0,
        le=1000,
        source=f"{PAPER}, eq. 2: 50, 100, 200",
    )
    noise_target: Literal["noisy", "clean"] = option(
        "noisy",
        "what is reconstructed: the noisy image, as equation 1 has it, or the clean one",
        source=f"{PAPER}, eq. 1",
    )
    radius: float = option(
        50.0,
        "r_max of the loss mask, or the mean that it is drawn with, in px of a patch of 256",
        unit="px/256",
        gt=0,
        le=1024,
        source=f"{PAPER}, 3.4: 50, 90, 126",
    )
    radius_deviation: float = option(
        20.0, "deviation of a drawn radius", unit="px/256", ge=0, le=1024, source=f"{PAPER}, 3.4"
    )
    radius_penalty: float = option(
        0.1,
        "weight of the term that keeps a learned radius from shrinking, 0 for none",
        ge=0,
        source=f"{PAPER}, 3.2: yes or no",
    )
    mask: Literal["sqrt", "linear"] = option(
        "sqrt",
        "how a pixel's weight falls with its distance: sqrt as equation 3, linear as the paper's conclusion says",
        source=f"{PAPER}, eq. 3 and 6",
    )
    mask_mean: Literal["weights", "pixels"] = option(
        "weights",
        "what a masked loss is divided by: the sum of the weights, so that the variational term weighs the "
        "same whatever the radius, or the number of pixels, as in the paper",
        source=f"{PAPER}, eq. 3: pixels",
    )
    crop: float = option(
        172.0, "side of smaller patches", unit="px/256", ge=32, le=256, source=f"{PAPER}, 3.4: 88, 172"
    )
    crop_offset: float = option(
        5.0,
        "σ of the folded Gaussian by which a smaller patch is moved off the middle in training",
        unit="px/256",
        ge=0,
        le=128,
        source=f"{PAPER}, 3.3: 0, 5, 15",
    )
    agreement: float = option(
        0.1,
        "weight, beside the auto-encoder's loss, of what makes two views of one cell look the same (turned, a little "
        "larger or darker, among another cell's neighbours), 0 for none",
        ge=0,
        le=1000,
        source=f"Chen et al. 2020, eq. 1; {PAPER}: 0",
    )
    temperature: float = option(
        0.1, "of that agreement: the lower, the more the cells that look most alike count", gt=0, le=10
    )
    exchange: float = option(0.5, "share of those views whose surroundings are another cell's", ge=0, le=1)
    exchange_radius: float = option(
        50.0,
        "least distance from the middle at which exchanged surroundings begin; it is drawn up to twice as large",
        unit="px/256",
        gt=0,
        le=1024,
    )
    kl_weight: float = option(
        0.0005, "of the Kullback-Leibler term of the variational bound, beside an L1 of pixels in [0, 1]", ge=0, le=1000
    )
    kl_reduction: Literal["mean", "sum"] = option(
        "mean", "over the latent dimensions; the paper leaves it open", source=f"{PAPER}, 3.4"
    )
    classify: Literal["mean", "sample"] = option(
        "mean",
        "what is kept of an image: the mean of its latent Gaussian, or a sample of it, drawn from the image's content",
        source=f"{PAPER}, 3.4: sample",
    )
    views: int = option(
        1,
        "turned (to 4) and mirrored (to 8) views of a patch whose latents are averaged: a representation that knows no "
        "upper side, for that many times the work",
        ge=1,
        le=8,
    )
    epochs: int = option(20, "passes over the images for the representation", ge=1, le=10_000)
    learning_rate: float = option(0.002, "of Adam, for the representation, at its highest", gt=0, le=1)
    batch_size: int = option(128, "images a step at most; a small pool has smaller batches", ge=2, le=1024)
    max_images: int = option(
        20_000, "images that the representation is learned from at most, drawn from the pool", ge=2, le=1_000_000
    )
    max_minutes: float | None = option(
        None,
        "time after which no further epoch begins, so that the result depends on the machine",
        unit="minutes",
        gt=0,
    )
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "arithmetic of encoder and decoder: auto uses bfloat16 where the processor has it"
    )
    hidden: int = option(128, "units of the classifier's first layer; its second has half", ge=4, le=4096)
    class_weights: Literal["balanced", "none"] = option(
        "balanced", "whether each class weighs the same in the classifier's loss, or each image"
    )
    dropout: float = option(0.3, "share of a classifier's units that are dropped in training", ge=0, lt=1)
    head_epochs: int = option(60, "passes over the labelled cells for the classifier, fewer of many", ge=1, le=100_000)
    novelty_weight: float = option(
        1.0, "of novelty beside uncertainty in the relevance, each from 0 to 1", ge=0, le=1000
    )
    review_below: float = option(0.6, "probability below which a label is marked for a second look", ge=0, le=1)

    @model_validator(mode="after")
    def _fits_the_decoder(self) -> CellVAEOptions:
        if self.image_size % STRIDE:
            below = self.image_size // STRIDE * STRIDE
            near = f"such as {below} or {below + STRIDE}"
            raise ValueError(f"image_size: found {self.image_size}, expected a multiple of {STRIDE}, {near}")
        if self.representation == "rae" and self.suppression == "learned":
            raise ValueError(
                "suppression: found 'learned' with representation 'rae', which is implemented for 'vae' alone"
            )
        return self

    def scaled(self, pixels: float) -> float:
        """A length that is given for a patch of 256 px, for a patch of `image_size`."""
        return pixels * self.image_size / PAPER_SIDE

    @property
    def seen_side(self) -> int:
        """Side of what the encoder sees, px: the patch, or the smaller one cut out of it, to a multiple of 16."""
        if self.suppression != "crop":
            return self.image_size
        return max(2, round(self.scaled(self.crop) / STRIDE)) * STRIDE
