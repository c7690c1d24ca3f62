"""What a process gives back while it rests, and that no answer is another afterwards."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

import web_stage
from hemaloop.labelconfig import parse_label_config
from hemaloop.memory import _untouched
from hemaloop.project_setup import shipped_config
from hemaloop.projects import LiveModel, starter_part
from hemaloop.protocol import TaskRequest
from hemaloop.serving import Inference
from hemaloop.synthetic import render_smear

LIBRARY = "7f0000000000-7f0000002000 r--p 00001000 fe:00 4711 {:20}/usr/lib/libfft.so.12"


def told(mapping: str, anonymous: int = 0, swapped: int | None = 0) -> str:
    """A mapping as /proc/self/smaps tells it."""
    swap = [] if swapped is None else [f"Swap:   {swapped} kB"]
    return "\n".join([mapping.format(""), "Rss:    8 kB", f"Anonymous:  {anonymous} kB", *swap, "VmFlags: rd mr mw me"])


def test_pages_that_are_in_the_file_of_a_library_are_dropped() -> None:
    both = told(LIBRARY) + "\n" + told(LIBRARY.replace("r--p", "r-xp").replace("7f", "7e"))
    assert list(_untouched(both)) == [(0x7F0000000000, 0x7F0000002000), (0x7E0000000000, 0x7E0000002000)]


@pytest.mark.parametrize(
    "mapping",
    [
        told(LIBRARY, anonymous=4),
        told(LIBRARY, swapped=4),
        told(LIBRARY, swapped=None),
        told(LIBRARY.replace("r--p", "rw-p")),
        told(LIBRARY.replace("r--p", "r--s")),
        told(LIBRARY.replace("libfft.so.12", "smears.idx")),
        told("7f0000000000-7f0000002000 r--p 00000000 00:00 0"),
        told("7f0000000000-7f0000002000 r-xp 00000000 00:00 0 [vdso]"),
        told(LIBRARY, anonymous=4) + "\n" + told(LIBRARY.replace("r--p", "rw-p")),
    ],
    ids=["relocated", "swapped", "untold", "writable", "shared", "other file", "no file", "kernel's", "its neighbour"],
)
def test_no_other_page_is(mapping: str) -> None:
    assert list(_untouched(mapping)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which pages can be dropped")
def test_an_inference_process_that_rests_is_small_and_answers_as_before(tmp_path: Path) -> None:
    picture = tmp_path / "smear.png"
    Image.fromarray(render_smear(0).image).save(picture)
    config = parse_label_config(shipped_config("cbc"))
    parts = {control.name: starter_part(control) for control in config.bound}
    live = LiveModel("starter", parts)

    def predicted() -> str:
        (answer,) = inference.predict(web_stage.PROJECT, config, live, [TaskRequest({"image": str(picture)}, 1)], 300)
        assert answer is not None
        assert answer.body is not None
        return str(json.loads(answer.body))

    with Inference(web_stage.settings(tmp_path, inference_processes=1)) as inference:
        before = predicted()
        (pid,) = inference.pids
        busy = psutil.Process(pid).memory_info().rss
        web_stage.wait_until(lambda: psutil.Process(pid).memory_info().rss < 0.93 * busy)
        assert predicted() == before
        assert inference.pids == [pid]
