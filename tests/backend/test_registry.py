"""A family that cannot be imported disables itself alone, and says why."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from hemaloop import registry
from hemaloop.errors import PluginNotFound


def _distribution(folder: Path, module: str, body: str, entry: str) -> None:
    """An installed distribution with one module and one entry point, as pip would leave it."""
    (folder / f"{module}.py").write_text(textwrap.dedent(body))
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{entry}\n")


def _listing(folder: Path) -> str:
    code = "from hemaloop import registry\nfor r in registry.all_registered(): print(r.name, r.source, r.fault)"
    path = [str(folder), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_family_that_fails_to_import_is_reported_and_the_others_work(tmp_path: Path) -> None:
    _distribution(tmp_path, "broken_family", "raise RuntimeError('no such card')", "broken = broken_family:Model")
    lines = _listing(tmp_path).splitlines()
    assert any(line.startswith("broken broken_family 1.0") and "RuntimeError: no such card" in line for line in lines)
    assert any(line.startswith("faster_rcnn") and line.endswith("None") for line in lines)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("Model = 3", "expected a class derived from Plugin"),
        ("from hemaloop.plugin import Plugin\nclass Model(Plugin):\n    family = 'other'", "calls itself 'other'"),
    ],
)
def test_a_family_that_is_something_else_is_reported(tmp_path: Path, body: str, reason: str) -> None:
    (tmp_path / "x").mkdir()
    _distribution(tmp_path, "strange_family", body, "strange = strange_family:Model")
    assert reason in _listing(tmp_path)


def test_an_unknown_family_names_those_that_are_installed() -> None:
    with pytest.raises(PluginNotFound, match=r"'yolo'.*installed: .*faster_rcnn"):
        registry.find("yolo")
