"""The built wheel is whole: what an installed hemaloop needs is in it, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_packages_configs_and_starter_weights_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    families = {"hemaloop_cell_vae", "hemaloop_faster_rcnn", "hemaloop_leukemia_ensemble", "hemaloop_overlap_unet"}
    assert tops == {"hemaloop", *families, "hemaloop-0.1.0.dist-info"}
    assert "hemaloop/py.typed" in names
    assert "hemaloop/labeling_configs/cbc.xml" in names
    for name in ("templates/ui/project.html", "static/page.css", "static/page.js", "static/icon.svg"):
        assert f"hemaloop/web/ui/{name}" in names
    assert "hemaloop/labeling_configs/bone_marrow_cells.xml" in names
    assert "hemaloop/scaffold/templates/detection.py.tmpl" in names
    assert "hemaloop_faster_rcnn/starter/cbc/detector.safetensors" in names
    assert "hemaloop_overlap_unet/starter/rbc_overlap/unet.safetensors" in names
    assert "hemaloop_overlap_unet/starter/classical/unet.json" in names


def test_an_installed_wheel_finds_its_families_and_configs(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import hemaloop, hemaloop.registry as r, sys; from hemaloop.project_setup import shipped_config;"
        "assert hemaloop.__file__.startswith(sys.path[0]), hemaloop.__file__;"
        "p = r.find('faster_rcnn').presets['cbc']; assert p.starter.is_dir();"
        "assert 'model_family' in shipped_config('cbc')"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
