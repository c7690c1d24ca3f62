"""A new model family as a package of its own, complete and passing, to be filled with a real model.

::

    write_package(Path("."), "my_cells", "detection")    # my_cells/pyproject.toml, my_cells/hemaloop_my_cells/…
"""

from __future__ import annotations

import keyword
import re
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Literal

from hemaloop.errors import PluginError

Task = Literal["detection", "segmentation", "classification"]

TEMPLATES = Path(__file__).parent / "templates"
_TAGS = {"detection": "RectangleLabels", "segmentation": "BrushLabels", "classification": "Choices"}
_LABELS = {
    "detection": ("RBC", "WBC", "Platelets"),
    "segmentation": ("RBC", "Overlap"),
    "classification": ("Healthy", "Suspicious"),
}
_COLOURS = ("#1f77b4", "#9467bd", "#2ca02c")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def write_package(folder: Path, name: str, task: Task) -> list[Path]:
    """Write the package of family `name` into `folder`/`name`; the files that were written.

    Raises `PluginError` for a name that is no lower-case Python identifier, and where the folder exists: nothing is
    ever overwritten.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise PluginError(f"name of a model family: found {name!r}, expected lower-case words such as 'my_cells'")
    root = folder / name
    if root.exists():
        raise PluginError(f"{root} exists already; choose another name, or delete it first")
    words = _words(name, task)
    files = {
        root / "pyproject.toml": "pyproject.toml",
        root / "README.md": "README.md",
        root / "labeling_config.xml": "labeling_config.xml",
        root / words["package"] / "__init__.py": f"{task}.py",
        root / "tests" / f"test_{name}.py": "tests.py",
    }
    for path, template in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (TEMPLATES / f"{template}.tmpl").read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(words), encoding="utf-8")
    return list(files)


def _words(name: str, task: Task) -> dict[str, str]:
    kind = "Choice" if task == "classification" else "Label"
    lines = [
        f'    <{kind} value="{label}" background="{colour}" hotkey="{number}"/>'
        for number, (label, colour) in enumerate(zip(_LABELS[task], _COLOURS, strict=False), 1)
    ]
    return {
        "name": name,
        "class_name": "".join(word.capitalize() for word in name.split("_")),
        "package": f"hemaloop_{name}",
        "distribution": f"hemaloop-{name.replace('_', '-')}",
        "task": task,
        "tag": _TAGS[task],
        "labels": "\n".join(lines),
        "names": ", ".join(f'"{label}"' for label in _LABELS[task]),
        "hemaloop": version("hemaloop"),
    }
