"""A trained ensemble: what it says of an image, how sure it is, and how much the image is worth labelling."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch.nn import functional as F

from hemaloop.networks.arithmetic import arithmetic_for
from hemaloop.networks.artifact import weights_of
from hemaloop.networks.pictures import checked_images
from hemaloop.plugin import Classification, Image, Scored
from hemaloop_leukemia_ensemble import artifact, decision, explanation, relevance
from hemaloop_leukemia_ensemble.artifact import Description
from hemaloop_leukemia_ensemble.cells import as_tensor, seen
from hemaloop_leukemia_ensemble.network import Architecture, Ensemble, Look, placed
from hemaloop_leukemia_ensemble.options import LeukemiaOptions
from hemaloop_leukemia_ensemble.preparation import Prepared
from hemaloop_leukemia_ensemble.stain import Look as Stain
from hemaloop_leukemia_ensemble.training import floats


class Model:
    """Immutable once made, so that threads may share it."""

    def __init__(self, network: Ensemble, description: Description, options: LeukemiaOptions, device: str) -> None:
        self._kept = weights_of(network)
        self.description = description
        # what an image looks like to the network is the artifact's to say, not the options'
        self._options = options.model_copy(update={"patch": description.patch, "margin": description.margin})
        self._stain = None if description.stain is None else Stain(*description.stain)
        self._weights = options.class_weights(description.labels)
        self._arithmetic = arithmetic_for(device, options.precision)
        used = copy.deepcopy(network).eval().requires_grad_(False)
        self._used = placed(used, self._arithmetic)

    def logits(self, images: Sequence[Image]) -> NDArray[np.float64]:
        """Of each image, those of A, B and combined, (N, 3, C). Raises `ImageError` naming the one that is not."""
        found = [self._look(image)[1].logits[:, 0] for image in self._checked(images)]
        classes = len(self.description.labels)
        return np.stack([one.double().cpu().numpy() for one in found]) if found else np.zeros((0, 3, classes))

    def predict(self, images: Sequence[Image]) -> list[Classification]:
        """The winning member's probabilities, calibrated: the label is the paper's (section 2.6), how sure is not."""
        return [self._classification(logits) for logits in self.logits(images)]

    def score(self, images: Sequence[Image]) -> list[Scored]:
        """Each prediction with its relevance, see `relevance`."""
        return [self._scored(image) for image in self._checked(images)]

    def explain(self, image: Image) -> NDArray[np.float32]:
        """(H, W) in [0, 1]: where the winning member saw the label that is shown."""
        (image,) = self._checked([image])
        prepared, look = self._look(image)
        member, label = decision.winner(softmax(look.logits[:, 0].double().cpu().numpy(), axis=1))
        heat = explanation.activation(self._used, look, member, label)
        return explanation.on_image(heat, prepared.box, *image.shape[:2])

    def calibrated_on(self, logits: NDArray[np.float64], truths: NDArray[np.int64]) -> Model:
        """The same model with the temperature that fits logits (N, 3, C) of images with these classes."""
        winners = np.stack([decision.winning_logits(one) for one in logits])
        made = copy.copy(self)
        made.description = self.description.model_copy(
            update={"temperature": decision.fit_temperature(winners, truths)}
        )
        return made

    def _checked(self, images: Sequence[Image]) -> list[Image]:
        return checked_images(images)

    @torch.no_grad()
    def _look(self, image: Image) -> tuple[Prepared, Look]:
        """One image at a time, so that no answer depends on what else was asked."""
        prepared = seen(image, self._options, self.description.image_size, self._stain)
        pixels = floats(as_tensor([prepared.pixels])).to(self._arithmetic.device)
        return prepared, self._used.look(pixels, self._arithmetic)

    def _classification(self, logits: NDArray[np.float64]) -> Classification:
        shares = decision.calibrated(decision.winning_logits(logits), self.description.temperature)
        return Classification(shares.astype(np.float32))

    def _scored(self, image: Image) -> Scored:
        prepared, look = self._look(image)
        logits = look.logits[:, 0].double().cpu().numpy()  # (3, C)
        prediction = self._classification(logits)
        members = decision.calibrated(logits, self.description.temperature)
        shown = decision.winner(softmax(logits, axis=1))[1]
        probability = float(prediction.probabilities[shown])
        cost = relevance.expected_cost(members, shown, self._weights)
        marks = relevance.review_marks(members, shown, probability, self.description.labels, self._options.review_below)
        parts = {
            "expected_cost": cost,
            "uncertainty": 1 - probability,
            "disagreement": relevance.disagreement(members),
            "cell_found": float(not prepared.reason),
        }
        joined = torch.cat([F.normalize(pooled[0], dim=0) for pooled in look.pooled])
        features = F.normalize(joined, dim=0).cpu().numpy().astype(np.float32)
        return Scored(prediction, cost, marks, parts, features)

    def save(self, directory: Path) -> None:
        """Write the artifact into an existing directory."""
        artifact.write(directory, self._kept, self.description)

    @classmethod
    def load(cls, directory: Path, labels: tuple[str, ...], options: LeukemiaOptions, device: str) -> Model:
        """Raises `StoreError` naming what does not fit."""
        description = artifact.read_description(directory, labels)
        network = Ensemble(
            Architecture(
                description.backbone, len(labels), description.hidden, description.dropout, description.fine_tuned
            )
        )
        artifact.read_tensors(directory, network)
        return cls(network, description, options, device)
