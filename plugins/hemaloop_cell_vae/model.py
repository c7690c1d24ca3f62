"""A learned representation, with or without a classifier on it: what it says of cells, and how much they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import NotFitted, PluginError
from hemaloop.networks.arithmetic import arithmetic_for
from hemaloop.networks.artifact import weights_of
from hemaloop.plugin import Classification, Image, Scored
from hemaloop_cell_vae import artifact, relevance
from hemaloop_cell_vae.artifact import Description, HeadDescription
from hemaloop_cell_vae.embedding import Embedder
from hemaloop_cell_vae.head import Head
from hemaloop_cell_vae.network import AutoEncoder
from hemaloop_cell_vae.options import VERSION, CellVAEOptions
from hemaloop_cell_vae.representation import architecture_of

SHOWN = ("image_size", "suppression", "crop", "representation", "latent", "views", "classify")
"""Options that decide what a patch's vector is; they are the artifact's to say once a representation is learned."""


class Model:
    """Immutable once made, so that threads may share it."""

    def __init__(
        self, network: AutoEncoder, labels: tuple[str, ...], options: CellVAEOptions, device: str, head: Head | None
    ) -> None:
        self._weights = weights_of(network)
        self._labels = labels
        self._options = options
        self._device = device
        self._embedder = Embedder(network, options, arithmetic_for(device, options.precision))
        self._shown: dict[str, str | int | float] = {name: getattr(options, name) for name in SHOWN}
        self.name = artifact.name_of(network, self._shown)
        self.head = head

    def with_head(self, head: Head | None, labels: tuple[str, ...], options: CellVAEOptions) -> Model:
        """The same representation with another head, or none."""
        chosen = options.model_copy(update=self._shown)
        made = object.__new__(Model)
        made.__dict__.update(self.__dict__)
        made.head, made._labels, made._options = head, labels, chosen
        return made

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(N, D)."""
        return self._embedder.embed(images)

    def reconstruct(self, embeddings: NDArray[np.float32]) -> list[Image]:
        """(S, S, 3) each."""
        return list(self._embedder.reconstruct(self._checked(embeddings)))

    def score(self, embeddings: NDArray[np.float32]) -> list[Scored]:
        """Each prediction with its relevance, see `relevance`; the vector itself is what the cell looks like."""
        head = self.head
        if head is None:
            raise NotFitted(
                "cell_vae has a representation and no classifier yet: label cells of two classes and call fit_head"
            )
        latents = self._checked(embeddings)
        if not len(latents):
            return []
        shares = head.probabilities(latents)  # (N, C)
        standard = head.standardised(latents)
        unsure = relevance.uncertainty(shares)
        new = relevance.novelty(standard, head.known, head.reach)
        worth = relevance.relevance(unsure, new, self._options.novelty_weight)
        found = []
        for row, features, *parts in zip(shares, standard, unsure.tolist(), new.tolist(), worth.tolist(), strict=True):
            label = int(row.argmax())
            marks = relevance.review_marks(label, float(row[label]), parts[1], self._options.review_below)
            said = {"uncertainty": parts[0], "novelty": parts[1]}
            found.append(Scored(Classification(row.astype(np.float32)), parts[2], marks, said, features))
        return found

    def _checked(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.asarray(embeddings, np.float32)
        if found.ndim != 2 or found.shape[1] != self._options.latent or not np.isfinite(found).all():
            raise PluginError(
                f"embeddings: found shape {found.shape}, expected (N, {self._options.latent}) finite numbers, of the "
                "same representation"
            )
        return found

    def save(self, directory: Path) -> None:
        """Write the artifact into an existing directory."""
        head, made = self.head, architecture_of(self._options)
        said = None
        if head is not None:
            first = head.classifier.layers[1]
            said = HeadDescription(hidden=first.out_features, temperature=head.temperature, reach=head.reach)
        description = Description(
            version=VERSION,
            labels=self._labels,
            seen=made.seen,
            latent=made.latent,
            variational=made.variational,
            learns_radius=made.learns_radius,
            options=self._shown,
            head=said,
        )
        artifact.write(directory, description, self._weights, head)

    @classmethod
    def load(
        cls,
        directory: Path,
        labels: tuple[str, ...],
        options: CellVAEOptions,
        device: str,
        *,
        representation_only: bool = False,
    ) -> Model:
        """Raises `StoreError` naming what does not fit. representation_only: whatever labels it was made for."""
        description = artifact.read_description(directory, None if representation_only else labels)
        network = artifact.read_network(directory, description)
        head = None if representation_only else artifact.read_head(directory, description)
        return cls(network, labels, options.model_copy(update=description.options), device, head)
