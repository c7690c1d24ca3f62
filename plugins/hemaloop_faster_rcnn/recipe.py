"""How a detector is trained: the paper's way, a better one, one for demonstrations and one of seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hemaloop_faster_rcnn.options import FasterRCNNOptions


@dataclass(frozen=True, slots=True)
class Strength:
    """How far the pictures of an epoch may stray from the smears.

    zoom: smallest and largest magnification relative to the network's own; mosaic: share of mosaics; stain and
    blemish: 0 (none) to 1 (as strong as between laboratories).
    """

    zoom: tuple[float, float]
    mosaic: float
    stain: float
    blemish: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to train.

    epochs: passes over the images, more where they are so few that `min_steps` would not be reached.
    image_size: shorter side in use, px. window: side of a training picture, px; None shows whole images.
    warm_up: share of the training in which the learning rate rises; None keeps it constant.
    settle: share of the training, at its end, that uses `settling` in place of `exploring`.
    average: decay a step of the running average of the weights that becomes the model; 0 takes the last weights.
    clip: largest norm of a gradient.
    balance: share of the pictures that are placed on a cell of a class drawn evenly, so that rare classes are met as
    often as common ones; the others show each smear in turn (compare repeat factors, Gupta et al. 2019, LVIS).
    looks: 0 trains the whole network. Otherwise the box head alone learns, from what the rest sees in so many pictures
    of each smear.
    """

    optimizer: Literal["adamw", "sgd"]
    learning_rate: float
    weight_decay: float
    batch_size: int
    epochs: int
    min_steps: int
    image_size: int
    window: int | None
    warm_up: float | None
    settle: float
    average: float
    clip: float | None
    exploring: Strength
    settling: Strength
    balance: float = 0.0
    looks: int = 0


NOTHING = Strength(zoom=(1.0, 1.0), mosaic=0.0, stain=0.0, blemish=0.0)

DEFAULT = Recipe(
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.05,
    batch_size=4,
    epochs=24,
    min_steps=500,
    image_size=300,
    window=352,
    warm_up=0.08,
    settle=0.45,
    average=0.995,
    clip=5.0,
    exploring=Strength(zoom=(0.7, 1.7), mosaic=0.35, stain=1.0, blemish=1.0),
    settling=Strength(zoom=(0.9, 1.15), mosaic=0.05, stain=0.3, blemish=0.3),
)
"""From random weights to a working detector in half an hour on two processor cores."""

QUICK = replace(
    DEFAULT,
    epochs=1,
    min_steps=170,
    image_size=240,
    window=288,
    settle=0.6,
    average=0.98,
    exploring=Strength(zoom=(0.8, 1.25), mosaic=0.2, stain=0.4, blemish=0.2),
    settling=Strength(zoom=(0.9, 1.1), mosaic=0.0, stain=0.3, blemish=0.1),
)
"""As much as can be learned in two or three minutes from a few dozen smears of one laboratory."""

HEAD = replace(
    DEFAULT,
    epochs=1,
    min_steps=400,
    image_size=480,
    window=480,
    average=0.98,
    exploring=Strength(zoom=(0.9, 1.1), mosaic=0.0, stain=0.1, blemish=0.0),
    looks=2,
)
"""The box head alone, on what weights that know cells see: seconds a training, for few labels and for studies."""

PAPER = Recipe(
    optimizer="sgd",
    learning_rate=0.001,
    weight_decay=0.0,
    batch_size=4,
    epochs=5,
    min_steps=0,
    image_size=800,
    window=None,
    warm_up=None,
    settle=0.0,
    average=0.0,
    clip=None,
    exploring=NOTHING,
    settling=NOTHING,
)
"""The paper's: SGD with learning rate 0.001 and momentum 0.9, batches of 4, five epochs, torchvision's sizes."""

REFINE = replace(DEFAULT, learning_rate=0.3 * DEFAULT.learning_rate, epochs=6, min_steps=150, settle=1.0)
"""For weights that know cells already: small steps, on pictures as they will be met."""

RECIPES = {"default": DEFAULT, "quick": QUICK, "head": HEAD, "refine": REFINE, "paper": PAPER}

SHORTER = {"default": REFINE, "quick": replace(REFINE, epochs=1, min_steps=60)}
"""What the recipes become with the weights shipped with the family."""

MOMENTUM = 0.9


def recipe_of(options: FasterRCNNOptions) -> Recipe:
    """The recipe that the options name, with what they set themselves."""
    recipe = RECIPES[options.recipe]
    if options.weights == "starter" and options.recipe in SHORTER:
        recipe = SHORTER[options.recipe]
    if options.epochs is not None:
        recipe = replace(recipe, epochs=options.epochs, min_steps=0)
    if options.image_size is not None:
        # a training picture keeps its size relative to the image; multiples of 32 are what the pyramid needs
        window = recipe.window and max(64, round(recipe.window * options.image_size / recipe.image_size / 32) * 32)
        recipe = replace(recipe, image_size=options.image_size, window=window)
    if options.balance is not None:
        recipe = replace(recipe, balance=options.balance)
    if options.batch_size is not None:
        recipe = replace(recipe, batch_size=options.batch_size)
    if options.learning_rate is not None:
        recipe = replace(recipe, learning_rate=options.learning_rate)
    return recipe
