"""Laws of explain, for families that can tell where they looked."""

from __future__ import annotations

import numpy as np

from hemaloop.errors import PluginError
from hemaloop.plugin import Plugin
from hemaloop.testing.subject import Subject, demand


def check_explanations_lie_on_the_image(subject: Subject) -> None:
    """A heat map has the image's height and width, is float32 and lies in [0, 1]; a family without one says so."""
    for image in (*subject.images[:2], np.full((9, 31, 3), 230, np.uint8)):
        try:
            heat = subject.fitted.explain(image)
        except PluginError:
            demand(
                subject.plugin.explain is Plugin.explain,
                "explain raised PluginError: a family that defines it must answer for every image, with 0 where "
                "nothing speaks for what it says",
            )
            return
        demand(
            heat.shape == image.shape[:2] and heat.dtype == np.float32,
            f"explain gave {heat.dtype} {heat.shape} for an image of {image.shape[:2]}: it is float32 (H, W)",
        )
        demand(
            bool(np.isfinite(heat).all() and (heat >= 0).all() and (heat <= 1).all()),
            "explain must lie in [0, 1]: clip what speaks against it and divide by the largest value",
        )
