"""torchvision without torch's compiler, on stand-ins for both that ask for little, or for more than is known."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASKS = "from torch._dynamo.utils import is_compile_supported{}\nseen = is_compile_supported\n"
LOOK = """
import sys
import hemaloop.networks
import torchvision.ops.roi_align as asking
print("torch._dynamo" in sys.modules, asking.seen("cpu"), asking.seen("none"), "torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize(
    ("more", "told"), [("", "False True False True"), (", something_else", "True True False True")], ids=["one", "more"]
)
def test_the_compiler_is_imported_when_it_is_asked_or_when_more_is_wanted_of_it(
    tmp_path: Path, more: str, told: str
) -> None:
    answers = "def is_compile_supported(device):\n    return device == 'cpu'\nsomething_else = 1\n"
    files = {"torch/_dynamo/utils.py": answers, "torchvision/ops/roi_align.py": ASKS.format(more)}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
        for folder in (path.parent, path.parent.parent):
            (folder / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == told, done.stderr
