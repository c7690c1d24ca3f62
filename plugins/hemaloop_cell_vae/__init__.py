"""Cells nobody labelled: a representation that ignores the neighbours, and a classifier on it that learns in seconds.

Source: Gräbel et al., "Surrounding cell suppression for unsupervised representation learning in hematological cell
classification" (2021). Importing this package imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hemaloop.networks.frame import NetworkPlugin
from hemaloop.plugin import (
    Classification,
    Embedded,
    Example,
    FitReport,
    Image,
    PluginOptions,
    Prediction,
    Preset,
    Progress,
    Representing,
    Scored,
)
from hemaloop_cell_vae.options import VERSION, CellVAEOptions

if TYPE_CHECKING:
    from hemaloop_cell_vae.model import Model

__all__ = ["CellVAE", "CellVAEOptions"]

MARROW = (
    "Polychromatic erythroblast",
    "Orthochromatic erythroblast",
    "Basophilic erythroblast",
    "Lymphocyte",
    "Eosinophil",
    "Promyelocyte",
    "Myelocyte",
    "Metamyelocyte",
    "Band neutrophil",
    "Segmented neutrophil",
)
"""The ten classes of the paper (section 2)."""


class CellVAE(NetworkPlugin["Model", CellVAEOptions], Representing):
    """Says which class the cell in the middle of a patch is of, from a representation learned without labels.

    The relevance of a patch is the uncertainty of the classifier and the novelty of the cell, each from 0 to 1 (see
    `relevance`); its features are its latent mean in deviations of the labelled cells.
    """

    family: ClassVar[str] = "cell_vae"
    version: ClassVar[str] = VERSION
    description: ClassVar[str] = "VAE that ignores neighbouring cells, and a classifier on it that learns in seconds"
    produces: ClassVar[type[Classification]] = Classification
    Options: ClassVar[type[PluginOptions]] = CellVAEOptions
    presets: ClassVar[Mapping[str, Preset]] = {
        "bone_marrow": Preset(
            description="ten classes of bone-marrow cells, as in the paper, at a size that needs no GPU",
            labels=MARROW,
            options={"image_size": 64, "epochs": 80},
        ),
        "bone_marrow_paper": Preset(
            description="the same at the paper's 256 px, a sample of the latent as representation; wants a GPU",
            labels=MARROW,
            options={"image_size": 256, "mask_mean": "pixels", "classify": "sample", "epochs": 100, "agreement": 0.0},
        ),
    }
    quick_options: ClassVar[Mapping[str, Any]] = {
        "image_size": 32,
        "latent": 16,
        "epochs": 2,
        "batch_size": 4,
        "hidden": 16,
        "head_epochs": 60,
    }
    overfit_options: ClassVar[Mapping[str, Any]] = {"epochs": 10}
    remedy: ClassVar[str] = "call fit with labelled images, or learn with any and then fit_head, or load an artifact"

    @property
    def fitted(self) -> bool:
        """Whether `predict` can answer: there is a classifier too."""
        return self._model is not None and self._model.head is not None

    @property
    def representation(self) -> str:
        """A hash of the encoder and of how patches are shown to it."""
        return self._fitted_model().name

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """The class of each patch's cell."""
        return [one.prediction for one in self.score(images)]

    def score(self, images: Sequence[Image]) -> list[Scored]:
        """`predict` with uncertainty and novelty, and a mark where either is large."""
        model = self._fitted_model()
        return model.score(model.embed(images))

    def _fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> tuple[Model, FitReport]:
        """The representation from these images alone, then the classifier."""
        from hemaloop_cell_vae.fitting import fit

        return fit(self.labels, self._options, self.device, self.seed, train, tune, progress)

    def learn(self, images: Sequence[Image], progress: Progress) -> FitReport:
        """The auto-encoder from nothing; losses of each epoch are reported."""
        from hemaloop_cell_vae.fitting import learn

        self._model, report = learn(self.labels, self._options, self.device, self.seed, images, progress)
        return report

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """The latent mean of each patch, or a sample drawn from its content (option classify)."""
        return self._fitted_model().embed(images)

    def fit_head(self, train: Sequence[Embedded], tune: Sequence[Embedded], progress: Progress) -> FitReport:
        """The classifier alone."""
        from hemaloop_cell_vae.fitting import head_of

        model = self._fitted_model()
        self._model, report = head_of(model, self.labels, self._options, self.seed, train, tune, progress)
        return report

    def score_embedded(self, embeddings: NDArray[np.float32]) -> list[Scored]:
        """What `score` gives for the patches of these vectors."""
        return self._fitted_model().score(embeddings)

    def reconstruct(self, embeddings: NDArray[np.float32]) -> list[Image]:
        """What the decoder makes of latents."""
        return self._fitted_model().reconstruct(embeddings)

    def _load(self, directory: Path) -> Model:
        """The artifact decides the architecture and what the encoder is shown, the options relevance and marks."""
        from hemaloop_cell_vae.model import Model

        return Model.load(directory, self.labels, self._options, self.device)

    def load_representation(self, directory: Path) -> None:
        """The auto-encoder of an artifact, without its classifier."""
        from hemaloop_cell_vae.model import Model

        self._model = Model.load(directory, self.labels, self._options, self.device, representation_only=True)
