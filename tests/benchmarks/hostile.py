"""10,000 requests that nobody in their right mind sends, to the real server: none may end in a server error."""

from __future__ import annotations

import http.client
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import fuzzing
import web_stage
from benchmarks.rows import percentile, row

COUNT = 10_000
SEED = 7


def measure() -> list[dict[str, Any]]:
    """Answers that are not declared, lines of the log that should not be there, and the time of an answer."""
    with (
        tempfile.TemporaryDirectory(prefix="hemaloop-bench-") as name,
        web_stage.serving(Path(name), HEMALOOP_LOG_LEVEL="INFO") as (address, process, log),
    ):
        faults, statuses, waits = _asked(urlsplit(address).netloc)
        alive = process.poll() is None and web_stage.answers(address)
        told = log.read_text(errors="replace")
    bad = [line for line in told.splitlines() if "Traceback" in line or "unexpected" in line or 'File "/' in line]
    counted = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    return [
        row(
            f"undeclared answers to {COUNT:,} hostile requests ({counted}){'' if alive else ', and it is gone'}",
            *(1, len(faults), "answers", alive and not faults),
        ),
        row("tracebacks in the log of them", 1, len(bad), "lines"),
        row("an answer, p99", 1000, 1000 * percentile(waits, 0.99), "ms"),
    ]


def _asked(host: str) -> tuple[list[str], Counter[int], list[float]]:
    faults: list[str] = []
    statuses: Counter[int] = Counter()
    waits: list[float] = []
    connection = http.client.HTTPConnection(host, timeout=60)
    for asked in fuzzing.requests(COUNT, SEED):
        began = time.perf_counter()
        headers = {key: value.encode("utf-8") for key, value in asked.headers.items()}
        try:
            connection.request(asked.method, quote(asked.path, safe="/%?&=."), asked.body, headers)
            reply = connection.getresponse()
            text = reply.read().decode(errors="replace") + str(reply.headers)
        except (http.client.HTTPException, OSError) as error:
            faults.append(f"{asked.method} {asked.path[:60]}: no answer ({type(error).__name__})")
            connection.close()
            continue
        waits.append(time.perf_counter() - began)
        statuses[reply.status] += 1
        fault = fuzzing.fault_of(reply.status, text)
        if fault:
            faults.append(f"{asked.method} {asked.path[:60]}: {fault}")
    connection.close()
    return faults, statuses, waits
