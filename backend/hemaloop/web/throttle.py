"""Guessing slowed down: after a few wrong passwords an address has to wait, longer each time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

FREE = 5
"""Wrong passwords in a row that cost nothing: people mistype."""
FIRST_SECONDS = 2.0
LONGEST_SECONDS = 300.0
FORGET_SECONDS = 3600.0
_ADDRESSES = 10_000


class Throttle:
    """Wrong answers by address. Thread-safe; bounded, so that a flood of addresses costs no memory."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, address: str) -> float:
        """Seconds until the address may try again, 0 where it may now."""
        with self._lock:
            count, last = self._failures.get(address, (0, 0.0))
        if count <= FREE:
            return 0.0
        pause: float = min(FIRST_SECONDS * 2 ** (count - FREE - 1), LONGEST_SECONDS)
        return max(0.0, last + pause - time.monotonic())

    def wrong(self, address: str) -> None:
        """The address has given a wrong password."""
        now = time.monotonic()
        with self._lock:
            count, last = self._failures.pop(address, (0, now))
            self._failures[address] = (1 if now - last > FORGET_SECONDS else count + 1, now)
            while len(self._failures) > _ADDRESSES:
                self._failures.popitem(last=False)

    def right(self, address: str) -> None:
        """The address has given the right one."""
        with self._lock:
            self._failures.pop(address, None)
