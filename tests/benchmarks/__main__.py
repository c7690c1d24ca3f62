"""Run benchmark modules, show their rows as a table and keep them as JSON."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

MODULES = (
    "overhead",
    "webhooks",
    "predicting",
    "prompting",
    "push",
    "creating",
    "relevance",
    "pooling",
    "cells",
    "overlap",
    "annotators",
    "workers",
    "memory",
    "endurance",
    "hostile",
)
REPORT = Path("reports/benchmarks.json")


def main(names: list[str]) -> int:
    """Exit status 1 where a target was missed, 2 where a benchmark could not be run."""
    console = Console()
    unknown = [name for name in names if name not in MODULES]
    if unknown:
        console.print(f"benchmarks: found {unknown}, expected some of {list(MODULES)}")
        return 2
    rows: list[dict[str, Any]] = []
    failed = False
    for name in names or MODULES:
        console.print(f"measuring {name} …", style="dim")
        try:
            rows += [{"benchmark": name, **row} for row in importlib.import_module(f"benchmarks.{name}").measure()]
        except Exception as error:  # noqa: BLE001 - one benchmark that cannot be run leaves the others
            console.print(f"{name}: {type(error).__name__}: {error}", style="red", markup=False)
            failed = True
    console.print(table(rows))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"machine": machine(), "at": time.time(), "rows": rows}, indent=1))
    console.print(f"written to {REPORT}", style="dim")
    return 2 if failed else int(not all(row["ok"] for row in rows))


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows for people."""
    shown = Table("what", "measured", "target", "", title=machine()["processor"])
    for row in rows:
        aimed = bool(row["target"])  # 0: shown beside the others, nobody has asked for it
        mark = "[green]ok[/]" if row["ok"] else "[red]missed[/]"
        target = f"< {row['target']} {row['unit']}" if aimed else ""
        shown.add_row(row["name"], f"{row['measured']} {row['unit']}", target, mark if aimed or not row["ok"] else "")
    return shown


def machine() -> dict[str, Any]:
    """What it was measured on."""
    model = ""
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": f"{model or platform.processor() or platform.machine()}, {cores} cores",
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
