"""Every snippet of plugins/README.md works: commands are run, Python is executed, right and wrong are told apart."""

from __future__ import annotations

import contextlib
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import stub_plugin
from hemaloop.cli import build
from hemaloop.labelconfig import parse_label_config
from hemaloop.projects import faults
from hemaloop.testing import LAWS, LawBroken, Subject

GUIDE = (Path(__file__).parents[2] / "plugins" / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
BY_LAW = {law.__name__: law for law in LAWS}


def snippets(language: str) -> list[str]:
    return [text for name, text in SNIPPETS if name == language]


def install(package: Path, name: str) -> None:
    """What `pip install -e .` leaves, without the network: a folder on the path with metadata."""
    info = package / f"hemaloop_{name}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hemaloop-{name}\nVersion: 0.1.0\n")
    entry = re.search(r'plugins"\]\n(\w+) = "(.*)"', (package / "pyproject.toml").read_text())
    assert entry is not None
    (info / "entry_points.txt").write_text(f"[hemaloop.plugins]\n{entry[1]} = {entry[2]}\n")
    sys.path.insert(0, str(package))
    importlib.invalidate_caches()
    stub_plugin.forget()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What each command of the guide says, run one after the other in an empty folder."""
    before, found = list(sys.path), {}
    (commands,) = snippets("bash")
    with contextlib.chdir(tmp_path_factory.mktemp("guide")):
        for line in commands.splitlines():
            program, *arguments = shlex.split(line)
            if program == "cd":
                import os

                os.chdir(arguments[0])
            elif program == "pip":
                install(Path.cwd(), "my_cells")
            else:
                done = CliRunner().invoke(build(), arguments, env={"COLUMNS": "200", "NO_COLOR": "1"})
                assert done.exit_code == 0, (line, done.output, done.exception)
                found[line] = done.output
        yield found
    sys.path[:] = before
    sys.modules.pop("hemaloop_my_cells", None)
    stub_plugin.forget()


@pytest.fixture(scope="module")
def names(said: dict[str, str]) -> dict[str, Any]:
    """Everything that the Python snippets define, executed in order."""
    found: dict[str, Any] = {}
    for text in snippets("python"):
        exec(compile(text, "plugins/README.md", "exec"), found)  # noqa: S102 - our own guide
    return found


JUDGED = [
    pytest.param(*match.groups(), id=match[3])
    for text in snippets("python")
    if (match := re.match(r"# (WRONG|RIGHT) (\w+)\nclass (\w+)", text))
]


def test_the_commands_make_a_family_that_is_listed_and_keeps_every_law(said: dict[str, str]) -> None:
    assert f"{len(LAWS)} of {len(LAWS)} laws kept" in said["hemaloop plugins check my_cells"]
    assert "detection" in said["hemaloop plugins list my_cells"]
    assert "px" in said["hemaloop plugins list my_cells"]


def test_the_labelling_configs_are_served(said: dict[str, str]) -> None:
    for xml in [*snippets("xml"), Path("labeling_config.xml").read_text()]:
        assert faults(parse_label_config(xml)) == []


@pytest.mark.parametrize(("judgement", "law", "name"), JUDGED)
def test_right_keeps_the_law_and_wrong_breaks_it(names: dict[str, Any], judgement: str, law: str, name: str) -> None:
    expected = pytest.raises(LawBroken) if judgement == "WRONG" else contextlib.nullcontext()
    with expected:
        BY_LAW[law](Subject(names[name]))


def test_wrong_and_right_come_in_pairs() -> None:
    laws = [(case.values[1], case.values[0]) for case in JUDGED]
    assert len(laws) == 10
    assert all((law, "RIGHT") in laws and (law, "WRONG") in laws for law, _ in laws)


def test_both_ways_of_writing_a_model_answer(names: dict[str, Any]) -> None:
    theirs = names["Theirs"](label_config=snippets("xml")[0]).predict([{"data": {}}])
    fitted = Subject(names["Ours"]).fitted
    (ours,) = fitted.predict([Subject(names["Ours"]).images[0]])
    assert theirs[0]["result"][0]["value"]["x"] == 10
    assert ours.boxes[0, 0] == pytest.approx(16)


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_a_new_package_of_another_task_keeps_every_law(tmp_path: Path, task: str) -> None:
    before, name = list(sys.path), f"my_{task}"
    made = CliRunner().invoke(build(), ["plugins", "new", name, "--task", task, "--folder", str(tmp_path)])
    assert made.exit_code == 0, made.output
    again = CliRunner().invoke(build(), ["plugins", "new", name, "--task", task, "--folder", str(tmp_path)])
    assert "exists already" in str(again.exception)
    try:
        install(tmp_path / name, name)
        done = CliRunner().invoke(build(), ["plugins", "check", name], env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        assert faults(parse_label_config((tmp_path / name / "labeling_config.xml").read_text())) == []
    finally:
        sys.path[:] = before
        sys.modules.pop(f"hemaloop_{name}", None)
        stub_plugin.forget()


def test_a_name_that_is_no_identifier_is_refused(tmp_path: Path) -> None:
    for name in ("My-Cells", "class", "9cells"):
        done = CliRunner().invoke(build(), ["plugins", "new", name, "--task", "detection", "--folder", str(tmp_path)])
        assert "expected lower-case words" in str(done.exception)


def test_checking_one_law_of_an_unknown_name_lists_the_laws() -> None:
    done = CliRunner().invoke(build(), ["plugins", "check", "faster_rcnn", "--law", "nonsense"])
    assert "check_is_described" in str(done.exception)
