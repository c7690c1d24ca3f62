"""`hemaloop embed`: the space in which a family of two parts sees images, as numbers and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hemaloop.cli.offline import Device


def embed(
    model: Annotated[str, typer.Argument(help="A model's folder, as [bold]hemaloop train[/] writes it.")],
    images: Annotated[Path, typer.Argument(help="A folder of images, or a folder a class.")],
    out: Annotated[Path, typer.Option(help="Folder that is written.")] = Path("embedded"),
    method: Annotated[
        str, typer.Option(help="How the picture is made flat: pca, or umap where umap-learn is installed.")
    ] = "pca",
    device: Device = "auto",
) -> None:
    """Look at the space in which a model sees images.

    Writes vectors.csv (image, label, what the model says, relevance, place in
    the picture), vectors.safetensors, and latent.png: the images in a plane,
    coloured by label and by relevance, with reconstructions beside some.

    Example: [bold]hemaloop embed my-model cells --out look[/]
    """
    from hemaloop.latent_space import look

    look(model, images, out, method=method, device=device)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Without Label Studio")(embed)
