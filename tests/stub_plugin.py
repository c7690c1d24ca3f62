"""The stub model family for tests, in this process and in children; and images that it understands.

`install(monkeypatch)` makes the family known here (the folder of its distribution comes first on `sys.path`) and in
every child process (the folder comes first on `PYTHONPATH`), the way an installed distribution would.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hemaloop import registry

DISTRIBUTION = Path(__file__).parent / "stub_distribution"
COLOURS = {"red": (220, 40, 40), "green": (40, 220, 40), "blue": (40, 40, 220)}
CONFIG = """<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="cells" toName="image" model_family="stub" model_preset="{preset}"{options}>
    <Label value="red"/><Label value="green"/><Label value="blue"/>
  </RectangleLabels>
</View>"""


def config(preset: str = "blobs", **options: object) -> str:
    """A labelling config bound to the stub; `options` are its plugin options."""
    return CONFIG.format(
        preset=preset, options="".join(f' model_option_{name}="{value}"' for name, value in options.items())
    )


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the family for one test, here and in children."""
    monkeypatch.syspath_prepend(str(DISTRIBUTION))
    inherited = os.environ.get("PYTHONPATH")
    backend = str(Path(registry.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(DISTRIBUTION), backend, inherited])))
    forget()


def forget() -> None:
    """Make the registry look again."""
    registry._entries.cache_clear()
    registry.look_up.cache_clear()


def draw(cells: list[tuple[int, int, int, int, str]], width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """uint8 (H, W, 3): dark ground with coloured boxes `(x1, y1, x2, y2, colour)`."""
    image = np.full((height, width, 3), 10, np.uint8)
    for x1, y1, x2, y2, colour in cells:
        image[y1:y2, x1:x2] = COLOURS[colour]
    return image


def random_cells(seed: int, count: int = 4, width: int = 64, height: int = 48) -> list[tuple[int, int, int, int, str]]:
    """Separate boxes on a grid of 16 px, with colours by chance."""
    rng = np.random.default_rng(seed)
    places = [(x, y) for x in range(2, width - 12, 16) for y in range(2, height - 12, 16)]
    chosen = rng.choice(len(places), size=min(count, len(places)), replace=False)
    names = list(COLOURS)
    return [(*places[i], places[i][0] + 8, places[i][1] + 9, names[int(rng.integers(3))]) for i in sorted(chosen)]


def png(image: NDArray[np.uint8]) -> bytes:
    """The image as a file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
