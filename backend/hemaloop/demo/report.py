"""What a run saw, step by step: shown while it goes on, as a table at the end, and as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hemaloop.children import Watch
from hemaloop.errors import HemaloopError

REPEAT_SECONDS = 15.0
"""How often a log that nobody redraws is told what is waited for."""


class NotSeen(HemaloopError):
    """A step did not happen where it had to be seen."""


@dataclass(slots=True)
class Step:
    """One line of the report. seen: what was observed, in the words of people."""

    name: str
    seen: list[str] = field(default_factory=list)
    seconds: float = 0.0
    ok: bool = False

    def saw(self, text: str) -> None:
        """Note something that was observed."""
        self.seen.append(text)


class Report:
    """The steps of a run. It is a success where each one was seen."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.steps: list[Step] = []
        self.failed = False

    @property
    def ok(self) -> bool:
        """Whether there were steps, each was seen, and nothing failed between them."""
        return bool(self.steps) and not self.failed and all(step.ok for step in self.steps)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """A step that counts as seen where its body ends without an error; an error is noted and goes on up."""
        step = Step(name)
        self.steps.append(step)
        began = time.monotonic()
        try:
            yield step
            step.ok = True
        except HemaloopError as error:
            step.saw(str(error))
            raise
        finally:
            step.seconds = round(time.monotonic() - began, 1)
            mark = "[green]✓[/]" if step.ok else "[red]✗[/]"
            self.console.print(f"{mark} {name} [dim]({step.seconds:.0f} s)[/]")
            for line in step.seen:
                self.console.print(f"   {line}", style="dim" if step.ok else "red", markup=False, highlight=False)

    def table(self) -> Table:
        """Every step with what was seen and how long it took."""
        table = Table("step", "what was seen", "seconds", "ok", show_lines=True)
        for step in self.steps:
            table.add_row(step.name, "\n".join(step.seen), f"{step.seconds:.1f}", "yes" if step.ok else "NO")
        return table

    def write(self, path: Path) -> None:
        """The same as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"ok": self.ok, "steps": [asdict(step) for step in self.steps]}
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def telling(console: Console, name: str) -> Iterator[Callable[[str], None]]:
    """A line that says how far something is: redrawn in a terminal, told now and then where there is none."""
    if console.is_terminal:
        with console.status(name) as status:
            yield status.update
        return
    told = time.monotonic()

    def tell(text: str) -> None:
        nonlocal told
        if time.monotonic() - told >= REPEAT_SECONDS:
            told = time.monotonic()
            console.print(f"  … {text}", highlight=False)

    yield tell


@contextmanager
def waiting(console: Console, name: str) -> Iterator[Watch]:
    """A line that shows how long something has been waited for, and that it came."""
    with telling(console, name) as tell:
        yield lambda seconds: tell(f"{name} [dim]{seconds:.0f} s[/]")
    console.print(f"[green]✓[/] {name}")
