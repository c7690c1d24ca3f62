"""``python -m hemaloop.simulation FOLDER SEED STRATEGY ROUNDS``: the process of one seed and strategy."""

from __future__ import annotations

import sys
from pathlib import Path

from hemaloop.cli.watching import Watch
from hemaloop.errors import Cancelled, HemaloopError
from hemaloop.simulation.units import Unit, work


def main(arguments: list[str]) -> int:
    """Do the work; 0 where it is done, 1 with a message where it cannot be, 130 where it was stopped."""
    folder, seed, strategy, rounds = arguments
    try:
        with Watch("simulation", kept="what is finished is kept") as watch:
            work(Path(folder), Unit(int(seed), strategy), int(rounds), watch)
    except Cancelled as error:
        sys.stderr.write(f"{error}\n")
        return 130
    except HemaloopError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
