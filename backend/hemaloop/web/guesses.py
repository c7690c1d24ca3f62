"""Guessing of passwords over Basic auth slowed down, without shutting out a Label Studio that is set up wrong.

What counts are different wrong credentials from one address: a project whose backend was connected with a password of
last year sends the same one all day, and that is no guess.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

FREE = 10
"""Different wrong credentials that an address may send before it has to wait."""
FIRST_SECONDS = 2.0
LONGEST_SECONDS = 300.0
FORGET_SECONDS = 3600.0
_ADDRESSES = 10_000
_KEPT = 64
"""Credentials remembered of an address; one that has sent more is guessing, whatever it sends again."""


@dataclass(slots=True)
class _Sender:
    """What an address has sent: hashes of wrong credentials, how many different ones, and when the last came (s)."""

    known: set[bytes] = field(default_factory=set)
    count: int = 0
    last: float = 0.0


class Guesses:
    """Wrong credentials by address. Thread-safe; bounded, so that a flood of addresses costs no memory."""

    def __init__(self) -> None:
        self._senders: OrderedDict[str, _Sender] = OrderedDict()
        self._lock = threading.Lock()
        self._key = secrets.token_bytes(32)

    def wait(self, address: str) -> float:
        """Seconds until the address may try again, 0 where it may now."""
        with self._lock:
            sender = self._senders.get(address)
            if sender is None or sender.count <= FREE:
                return 0.0
            pause: float = min(FIRST_SECONDS * 2.0 ** min(sender.count - FREE - 1, 16), LONGEST_SECONDS)
            return max(0.0, sender.last + pause - time.monotonic())

    def wrong(self, address: str, said: str) -> None:
        """The address has sent these credentials, and they are wrong. Only a keyed hash of them is kept."""
        digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).digest()
        now = time.monotonic()
        with self._lock:
            sender = self._senders.pop(address, None) or _Sender()
            if now - sender.last > FORGET_SECONDS:
                sender = _Sender()
            if digest not in sender.known:
                sender.count += 1
                sender.last = now
                if len(sender.known) < _KEPT:
                    sender.known.add(digest)
            self._senders[address] = sender
            while len(self._senders) > _ADDRESSES:
                self._senders.popitem(last=False)
